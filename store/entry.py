"""What is remembered of one entity: immutable values, no behaviour but arithmetic."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

RawHeaders = tuple[tuple[bytes, bytes], ...]
"""Header fields as they stood on the wire: order, case and bytes."""

Column = str | int | float | None
"""A value that was taken out of an item for a person to read in the table."""


# Seconds by which a clock may have been put right between two runs without a doubt about what is held.
_CLOCKS_DIFFER = 60.0
AT_LEAST: Final = "~"
"""Before a version of the owner's: what is held is of that one, or of a later one."""

NO_LOCALS: Final[Mapping[str, Column]] = MappingProxyType({})


class Key(NamedTuple):
    """Names one entity: the resource as configured, and the id that its owner gave it."""

    resource: str
    id: str
    variant: str = ""
    """Which of several representations of the entity: a digest of what in a request selects it, empty where that is
    nothing. One with a variant lives in memory alone: a table has one row an external id."""


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """A stored representation of an entity, or the knowledge that there is none.

    Three kinds, told apart by two members: a representation (`item` is its bytes), an absence (`absent`: the
    upstream left the id out or said 404), and the husk of an invalidated row (`item` None, not `absent`), whose
    ids and local attributes live on. Times are seconds since the epoch, durations are seconds.

    `gc=False`: it is part of no cycle, and a full memory has so many that each collection would stop all else.
    """

    key: Key
    item: bytes | None
    """The very bytes that the upstream sent for this entity."""
    received_at: float
    """When the response that brought it had arrived."""
    lifetime: float
    """Freshness lifetime (RFC 9111 section 4.2.1), jitter already taken off, counted from age zero."""
    initial_age: float = 0.0
    """Corrected initial age (RFC 9111 section 4.2.3)."""
    stale_while_revalidate: float | None = None
    """How long after the end of its freshness it may be used while it is refreshed (RFC 5861 section 3); None: the
    operator's limit goes."""
    stale_if_error: float | None = None
    """How long after the end of its freshness it may be used while the upstream fails (RFC 5861 section 4); None:
    likewise."""
    must_revalidate: bool = False
    """The origin forbids any stale use (RFC 9111 section 5.2.2.2)."""
    shareable: bool = False
    """The origin allows answering requests with credentials with it (RFC 9111 section 3.5)."""
    absent: bool = False
    status: int = 200
    """Status of a single GET's answer; only absences (404, 410) have another, and those live in memory alone."""
    headers: RawHeaders = ()
    """End-to-end response fields of a single GET; empty when the item came out of a bulk answer."""
    internal_id: str | None = None
    """Lower-case UUID, given when the entity was first stored; None until a database has confirmed it, if there is one
    for it."""
    local: Mapping[str, Column] = NO_LOCALS
    """Local attributes by column, those that are set: ours, not the upstream's. Known of what a database has
    confirmed."""
    version: int = 1
    """How often what we hold of the entity has changed, from 1."""
    source_version: str | None = None
    """The owner's version of the item, as the item or a message of the owner names it; with AT_LEAST before it if the
    item came later, and names none. Of a husk: the newest that is known. None: nobody has named one."""
    last_synced_at: float = 0.0
    """When the upstream last confirmed it."""
    durable: bool = False
    """Whether a database holds it: it would survive a crash."""

    def age(self, now: float) -> float:
        """Current age in seconds (RFC 9111 section 4.2.3), never below zero, whatever the clock does.

        What seems to come from the future was received before the clock was set back, nobody knows how long ago: it has
        come to the end of its freshness.
        """
        if self.received_at - now > _CLOCKS_DIFFER:
            return max(self.initial_age, self.lifetime)
        return max(0.0, self.initial_age + now - self.received_at)

    def ttl(self, now: float) -> float:
        """Seconds of freshness left; negative when stale."""
        return self.lifetime - self.age(now)

    def confirmed(
        self, *, internal_id: str, version: int, local: Mapping[str, Column] = NO_LOCALS
    ) -> "Entry":
        """The same entry as a database holds it."""
        return replace(self, internal_id=internal_id, version=version, local=local, durable=True)

    def with_version_known(self, known: str | None) -> "Entry":
        """The same entry, if it names no version of the owner's, with what is known of that: it came later."""
        if known is None or self.source_version is not None:
            return self
        return replace(self, source_version=AT_LEAST + known.removeprefix(AT_LEAST))

    def unconfirmed(self) -> "Entry":
        """The same entry as long as no database holds it."""
        return replace(self, internal_id=None, local=NO_LOCALS, durable=False)


class Write(NamedTuple):
    """An entry on its way into a store, with the columns for the person who reads the table."""

    entry: Entry
    columns: dict[str, Column]
    lease: int | None = None
    """The token of the lease under which it was fetched, where replicas share the store: it is stored only while that
    stands. None: whatever has happened meanwhile."""
