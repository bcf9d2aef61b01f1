"""The contract of every database behind the memory tier; one test-suite (tests/contract) runs on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from store.entry import Entry, Key, Write


class StoreError(Exception):
    """The store could not do what was asked; nothing was half-written. The message names no entity."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How one resource stands in a database."""

    resource: str
    columns: tuple[str, ...]
    """Names of the columns that are taken out of the item, as the operator configured them."""
    local_columns: tuple[tuple[str, str], ...] = ()
    """Attributes that are ours and survive refreshes: (name, SQL type)."""

    @property
    def table(self) -> str:
        """`user` stands in `users`, `business` in `businesses`."""
        suffix = "es" if self.resource.endswith(("s", "x", "z", "ch", "sh")) else "s"
        return self.resource + suffix

    @property
    def id_column(self) -> str:
        """The column of the external id: `user_id`."""
        return f"{self.resource}_id"


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What the ops listener shows of a database."""

    bytes: int
    """Size of its files."""
    entities: dict[str, int]
    """Rows with a representation, by resource."""


class Store(Protocol):
    """A durable table per resource, with one row an external id: keys with a variant have none. All calls may raise
    StoreError."""

    def holds(self, resource: str) -> bool:
        """Whether the resource has a table here."""
        ...

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The entries that there are; an invalidated row comes back as a husk.

        All comes back exactly, `last_synced_at` to the millisecond.
        """
        ...

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """Store in one transaction; return each as it now stands, with its internal id, once it is durable.

        The internal id of a known external id never changes; local attributes stay. `version` counts up when
        the item's bytes differ from those stored, also when they were invalidated in between. Of several writes of
        one key the last stands. Raises ValueError for what is no representation or has no row here.
        """
        ...

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """Forget the representations for every use; keep rows, ids and local attributes."""
        ...

    async def stats(self) -> StoreStats:
        """Sizes and counts, for metrics."""
        ...

    async def prune(self, *, older_than: float) -> int:
        """Evict what was last synced before `older_than` (epoch seconds), and, while the files are over their
        bound, what was synced longest ago. Returns how many representations went."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then close. Idempotent."""
        ...
