"""Entities that have no table: what memory has of them is all that there is, their internal ids included."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from store.base import Page, Position
from store.entry import Column, Entry, Key
from store.memory import MemoryTier, next_position


class Rowless:
    """For entities in memory what `Rows` is for those of a database.

    Each has the internal id `derive_id(key, 0)`, which is that of an entity without a row. `usable_until(entry)`: when
    it is of no use any more (epoch seconds).
    """

    def __init__(
        self,
        memory: MemoryTier,
        *,
        derive_id: Callable[[Key, int], str],
        usable_until: Callable[[Entry], float],
    ) -> None:
        self._memory = memory
        self._derive_id = derive_id
        self._usable_until = usable_until

    def as_put(self, entry: Entry) -> Entry:
        """The entry on its way into memory, with its id and version."""
        if entry.key.variant or entry.absent or entry.item is None:
            return entry
        held = self._memory.look_at(entry.key)  # nobody has asked for it
        if held is None or held.absent:
            return replace(entry, internal_id=self._derive_id(entry.key, 0), version=1)
        version = held.version + (held.item != entry.item)
        return replace(entry, internal_id=held.internal_id, version=version)

    def as_shown(self, entry: Entry) -> Entry:
        """The entry as it may be shown; as memory holds it, if that is the same item."""
        if entry.internal_id is not None:
            return entry
        held = self._memory.get(entry.key)
        if held is not None and held.item == entry.item and held.internal_id is not None:
            return held
        return replace(entry, internal_id=self._derive_id(entry.key, 0))

    def find(self, resource: str, internal_id: str) -> str | None:
        """The external id of the entity with that internal id (lower-case UUID), if there is one."""
        entry = self._memory.find(resource, internal_id)
        return None if entry is None else entry.key.id

    def change(self, key: Key, local: Mapping[str, Column], synced_at: float | None) -> Entry | None:
        """Set the time of last sync (epoch seconds); the entry as it stands then, or None if there is none.

        Raises ValueError for a local attribute: nothing would keep it.
        """
        if local:
            raise ValueError("what has no row has no local attributes")
        entry = self._memory.get(key)
        if entry is None or entry.absent:
            return None
        if synced_at is not None:
            entry = replace(entry, last_synced_at=synced_at)
            self._memory.put(entry, self._usable_until(entry))
        return entry

    def longest_unsynced(self, resource: str, *, before: float, after: Position | None, limit: int) -> Page:
        """As `TieredStore.longest_unsynced` says."""
        entries = self._memory.longest_unsynced(resource, before=before, after=after, limit=limit)
        return Page(entries, next_position(entries, limit))
