"""What memory still has of a database that was lost, and of writes that it could not take."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from store.base import Store, StoreError
from store.entry import Entry, Key, Write
from store.memory import MemoryTier

_SLICE = 500
"""Rows that are written or looked at in one go: some 10 ms of the database."""

_SLICE_BYTES = 256 << 10
"""Bytes of items that are read for their columns in one go: some milliseconds of the event loop."""


class CatchUp:
    """Brings a database up to what memory has. For one event loop.

    `as_write(entry)` gives the entry with the columns of its table, or None if they can't be told: then its row comes
    back without its item. `has_row(key)`: whether the database has a place for it. Keys of failed writes are
    remembered up to `max_missed`: what comes beyond is stored when it is next fetched.
    """

    def __init__(
        self,
        memory: MemoryTier,
        *,
        as_write: Callable[[Entry], Write | None],
        derive_id: Callable[[Key, int], str],
        has_row: Callable[[Key], bool],
        max_missed: int,
    ) -> None:
        self._memory = memory
        self._as_write = as_write
        self._derive_id = derive_id
        self._has_row = has_row
        self._max_missed = max_missed
        self._missed: dict[Key, None] = {}
        # Internal ids and local attributes that could not be made again, and that memory is about to lose or has lost
        # while no database had confirmed what came after. Bounded by `max_missed`, and by what memory held when a
        # database was lost.
        self._known: dict[Key, Entry] = {}
        self._aging: set[Key] = set()

    def __len__(self) -> int:
        """Keys of which a database that works again is to be told."""
        return len(self._missed)

    def missed(self, key: Key) -> None:
        """The database could not take a write."""
        if len(self._missed) < self._max_missed:
            self._missed[key] = None

    def replaced(self, key: Key) -> None:
        """What memory has of the key is about to go, before a database has confirmed what comes instead."""
        if len(self._known) < self._max_missed:
            self._note(self._memory.look_at(key))

    def learned(self, row: Entry) -> None:
        """The database has this row now, and memory may not get it: something that no database has is newer there."""
        self._known.pop(row.key, None)
        if len(self._known) < self._max_missed:
            self._note(row)

    def confirmed(self, key: Key) -> None:
        """The database has what came last, in a row with what it knows itself."""
        self._missed.pop(key, None)
        self._known.pop(key, None)

    def forget(self, key: Key) -> None:
        """The entity is erased."""
        self.confirmed(key)

    def settled(self) -> None:
        """The database works: it knows its rows itself. What was noted since the last call is kept until the next:
        a write of it may still be under way. So is that of a write that failed."""
        for key in self._aging - self._missed.keys():
            self._known.pop(key, None)
        self._aging = set(self._known)

    async def remember(self) -> None:
        """A database is lost: keep the internal ids and local attributes that only it and memory know."""
        keys = self._memory.keys()
        for start in range(0, len(keys), _SLICE):
            for key in keys[start : start + _SLICE]:
                self._note(self._memory.look_at(key))
            await asyncio.sleep(0)

    def _note(self, entry: Entry | None) -> None:
        if entry is not None and self._is_row(entry) and self._is_own(entry):
            self._known[entry.key] = replace(entry, item=None, headers=())
            self._aging.discard(entry.key)

    def clear(self) -> None:
        """What was known of the rows may not be so any more."""
        self._missed.clear()
        self._known.clear()
        self._aging.clear()

    async def bring_back(self, database: Store) -> None:
        """Write into a new database what memory held of the lost one, each row with the id and attributes it had.

        Raises StoreError. The newest come first. What does not fit any more is left out, and memory does not call it
        durable any more; of a row that could not be made again the item alone is left out.
        """
        is_full = False
        left_out: list[Key] = []
        for entries in self._slices(await self._newest_first()):
            if not is_full:
                try:
                    await database.adopt_many([self._as_adopted(entry) for entry in entries])
                    continue
                except StoreError:
                    is_full = True
            own = [replace(entry, item=None, headers=()) for entry in entries if self._is_own(entry)]
            if own:
                await database.adopt_many([Write(entry, {}) for entry in own])
            left_out += (entry.key for entry in entries if not self._is_own(entry))
        await self.unconfirm(left_out)

    async def unconfirm(self, keys: Sequence[Key]) -> None:
        """The database may not have these rows, but for those that could not be made again."""
        for start in range(0, len(keys), _SLICE):
            for key in keys[start : start + _SLICE]:
                entry = self._memory.look_at(key)
                if entry is not None and not self._is_own(entry):
                    self._memory.unconfirm(key)
            await asyncio.sleep(0)

    async def missing(self) -> list[Write]:
        """What memory still has of the writes that failed."""
        writes: list[Write] = []
        size = 0
        for key in list(self._missed):
            entry = self._memory.look_at(key)
            write = None
            if entry is not None and entry.item is not None and not (entry.durable or entry.absent):
                write = self._as_write(entry)
                size += len(entry.item)
            if write is None:
                self._missed.pop(key, None)
            else:
                writes.append(write)
            if size >= _SLICE_BYTES:
                size = 0
                await asyncio.sleep(0)
        return writes

    def again(self, writes: Iterable[Write], queue: Callable[[Write], bool]) -> None:
        """Queue what was missing, as far as there is room. What was replaced meanwhile is for the next time."""
        for write in writes:
            key = write.entry.key
            if self._memory.look_at(key) is write.entry:
                if not queue(write):
                    return
                self._missed.pop(key, None)

    async def _newest_first(self) -> list[Key]:
        """All that there is to bring back."""
        keys: list[Key] = []
        synced: list[float] = []
        everything = list(dict.fromkeys((*self._known, *self._memory.keys())))
        for start in range(0, len(everything), _SLICE):
            for key in everything[start : start + _SLICE]:
                entry = self._standing(key)
                if entry is not None:
                    keys.append(key)
                    synced.append(entry.last_synced_at)
            await asyncio.sleep(0)
        # By numbers alone: some 20 ms for 65,000.
        return [keys[place] for place in sorted(range(len(keys)), key=synced.__getitem__, reverse=True)]

    def _slices(self, keys: Iterable[Key]) -> Iterator[list[Entry]]:
        """As they stand when it comes to them."""
        entries: list[Entry] = []
        size = 0
        for key in keys:
            entry = self._standing(key)
            if entry is not None:
                entries.append(entry)
                size += len(entry.item or b"")
            if len(entries) == _SLICE or size >= _SLICE_BYTES:
                yield entries
                entries, size = [], 0
        if entries:
            yield entries

    def _standing(self, key: Key) -> Entry | None:
        """As memory has it now, if that is a row's; else what was remembered of the row."""
        entry = self._memory.look_at(key)
        if entry is not None and self._is_row(entry):
            return entry
        return self._known.get(key)

    def _is_row(self, entry: Entry) -> bool:
        return entry.durable and entry.internal_id is not None and self._has_row(entry.key)

    def _is_own(self, entry: Entry) -> bool:
        """Whether the row could not be made again out of what the upstream says."""
        return bool(entry.local) or entry.internal_id != self._derive_id(entry.key, 0)

    def _as_adopted(self, entry: Entry) -> Write:
        write = None if entry.item is None else self._as_write(entry)
        return Write(replace(entry, item=None, headers=()), {}) if write is None else write
