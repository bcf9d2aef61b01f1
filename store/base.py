"""The contract of every database behind the memory tier; one test-suite (tests/contract) runs on each."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from store.effects import Applied, Decide, Delivery
from store.entry import NO_LOCALS, Column, Entry, Key, Write


class StoreError(Exception):
    """The store could not do what was asked; nothing was half-written. The message names no entity."""


class Unfinished(StoreError):
    """What was asked for is done and durable, but bytes of what is gone are still in the files; it is tried again."""


DeriveId = Callable[[Key, int], str]
"""Names a new entity, attempt by attempt from 0."""


class TableSpec(Struct, frozen=True):
    """How one resource stands in a database."""

    resource: str
    columns: tuple[str, ...]
    """Names of the columns that are taken out of the item, as the operator configured them."""
    local_columns: tuple[tuple[str, str], ...] = ()
    """Attributes that are ours and survive refreshes: (name, SQL type)."""
    identify: Callable[[bytes], str | None] | None = None
    """The external id that an item names, None if it is no item: what is read and says otherwise is damaged."""
    filled_by: str = ""
    """In whose name the owner is asked for rows, in a word: what was asked for in another's is forgotten at opening."""

    @property
    def table(self) -> str:
        """`user` stands in `users`, `business` in `businesses`."""
        suffix = "es" if self.resource.endswith(("s", "x", "z", "ch", "sh")) else "s"
        return self.resource + suffix

    @property
    def id_column(self) -> str:
        """The column of the external id: `user_id`."""
        return f"{self.resource}_id"


class StoreStats(Struct, frozen=True):
    """What the ops listener shows of a database."""

    bytes: int
    """Size of its files."""
    entities: dict[str, int]
    """Rows with a representation, by resource."""
    stale: dict[str, int]
    """Those of them that are past their freshness."""


class Position(NamedTuple):
    """A place in a list of entities by last sync, the longest unsynced first: behind this one."""

    last_synced_at: float
    """Epoch seconds."""
    internal_id: str


class Page(NamedTuple):
    """Entities by last sync, the longest unsynced first."""

    entries: list[Entry]
    next: Position | None
    """Behind this the next page begins; None when there is none."""


class Adopted(Struct, frozen=True):
    """What came of a batch of an import."""

    added: int = 0
    updated: int = 0
    """Rows that there were already; those that follow are among them."""
    renamed: int = 0
    """Rows that kept their internal id, and have another external id now."""
    replaced: int = 0
    """External ids that have another internal id now: the one that the import gave."""


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

    async def invalidate_all(self) -> None:
        """Forget every representation for every use, in many transactions. Rows go, unless they could not be made
        again: those keep ids and local attributes."""
        ...

    async def find(self, resource: str, internal_id: str) -> str | None:
        """The external id of the row with that internal id (lower-case UUID), if there is one."""
        ...

    async def reserve_many(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        """Each as it stands, once that is durable; a husk, last synced `at` (epoch seconds), where there was no row.

        So an entity has its internal id although what the upstream says of it may not be stored. Raises ValueError
        for what has no row here.
        """
        ...

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        """Set local attributes by column, or the time of last sync (epoch seconds); what is not named stays.

        Returns the entry as it stands then, once it is durable, or None if there is no row. `version` counts up when
        a local attribute differs from what was stored; freshness never moves. Raises ValueError for a column that is
        no local one of the resource.
        """
        ...

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        """Do to an entity what a message of its owner says, and remember the message, in one transaction.

        `decide` is called with the entity as it stands, and nothing else happens to that meanwhile. A message that is
        remembered does nothing. Of a key that has no row here the message alone is remembered, and, where others share
        the store, they are told to forget the entity. Once this returns it is durable. Raises StoreError and what
        `decide` raises: then nothing has happened, and the message may come again.
        """
        ...

    async def erase_many(self, keys: Sequence[Key]) -> None:
        """Forget the entities altogether: rows, ids, local attributes.

        Once this returns it is durable, and no file of the store has a plain byte of them. If that alone fails, the
        rows being gone, it raises Unfinished and goes on trying behind. Without keys it is what earlier erasures left
        to do that is done.
        """
        ...

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """Up to `limit` representations that were last synced before `before` (epoch seconds), the longest unsynced
        first, from behind `after` on. Its cost does not grow with the rows."""
        ...

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """Up to `limit` rows, husks too, in the order of their internal ids, from behind that of `after` on."""
        ...

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        """Take rows over, in one transaction, as another store or table had them; all or none of them.

        The internal id that an entry gives wins: a row that has it gets the entry's external id, and what had that
        external id before gives way. Without one, the row of the external id keeps its own, or gets a derived one.
        Local attributes that the entry names are set. The representation, if there is one, is taken unless what is
        stored was synced later; `version` never goes down. Raises StoreError, also when the bound of the store is
        reached: nothing is evicted for an import.
        """
        ...

    async def note_used(self, uses: Sequence[tuple[Key, float]]) -> None:
        """Note when entities were last used (epoch seconds), of those that have rows; an earlier time than the noted
        one changes nothing. In small transactions; nothing else of a row changes, and nobody is told."""
        ...

    async def recently_used(self, limit: int) -> list[tuple[Key, float]]:
        """Up to `limit` entities with representations, and when each was last used, as noted (epoch seconds): the most
        recently used first."""
        ...

    async def check(self) -> None:
        """Find out whether the database can be read and written now. Raises StoreError."""
        ...

    async def stats(self, *, at: float) -> StoreStats:
        """Sizes and counts, for metrics; what is stale `at` that time (epoch seconds)."""
        ...

    async def prune(self, *, older_than: float) -> int:
        """Evict what was last synced before `older_than` (epoch seconds), and, while the files are over their
        bound, what was synced longest ago. Returns how many representations went."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then close. Idempotent."""
        ...
