"""What a database has besides that replicas share: leases, and a log of changes."""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from store.base import Store
from store.entry import Entry, Key

Kind = Literal["invalidated", "erased", "changed"]
"""An entity lost its representation, or all that there was of it; or something of ours in its row changed, or the row
came by an import, or a fetch brought another item than what had stood there."""


class Claim(Struct, frozen=True):
    """What came of the wish to fetch an entity."""

    is_granted: bool
    """Whether it is the caller who fetches it."""
    row: Entry | None
    """As it stands, read after that."""
    holder: float = 0.0
    """Until when somebody has the lease (epoch seconds of the server), 0 if nobody has: it changes with who has it."""


class Change(Struct, frozen=True):
    """One line of the log."""

    key: Key
    kind: Kind


class Cursor(Struct, frozen=True):
    """How far the log has been read."""

    snapshot: str
    """Which transactions had come to their end by then, in the server's words."""
    incarnation: str
    """Which server it is, and which of its lives: another one may have lost what this one had."""


class News(Struct, frozen=True):
    """What has come since."""

    cursor: Cursor
    changes: Sequence[Change]
    is_broken: bool = False
    """There may have been changes that the log does not have any more, or has too many of: none is listed then, and all
    that is in memory may be out of date."""


class SharedStore(Store, Protocol):
    """A database of many replicas. All calls may raise StoreError.

    A lease says who fetches an entity: the others wait for its row. Until it ends by itself, is released, or something
    is stored or happens to the entity, nobody else is granted it, unless by force. What bears its token
    (`Write.lease`) is stored only while that stands, so that nothing is stored that was fetched before an invalidation.
    """

    @property
    def is_there(self) -> bool:
        """Whether the server was there when it was last spoken to."""
        ...

    async def claim_many(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool = False
    ) -> dict[Key, Claim]:
        """Take the leases, for so many seconds, of those entities that nobody has them of, or, by force, of all. What
        has no row here has no claim either."""
        ...

    async def release_many(self, keys: Sequence[Key], token: int) -> None:
        """Give up leases under which nothing is going to be stored."""
        ...

    async def lead(self, role: str, token: int, *, seconds: float) -> bool:
        """Take a role that one replica has at a time, for so many seconds; whether it could be had: nobody has it, or
        whoever had it has no longer, or has the same token."""
        ...

    async def changes_begin(self) -> Cursor:
        """The end of the log, as of now."""
        ...

    async def changes_since(self, cursor: Cursor) -> News:
        """What other replicas have changed since."""
        ...
