"""What memory still has of a database that was lost, and of writes that it could not take."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from store.base import Store, StoreError
from store.entry import Entry, Key, Write
from store.memory import MemoryTier

_SLICE = 500
"""Rows that are written at a time: some 10 ms of the database, and less than one of the event loop."""


class CatchUp:
    """Brings a database up to what memory has. For one event loop.

    `as_write(entry)` gives the entry with the columns of its table. `has_row(key)`: whether the database has a place
    for it. Keys of failed writes are remembered up to `max_missed`: what comes beyond is stored when it is next
    fetched.
    """

    def __init__(
        self,
        memory: MemoryTier,
        *,
        as_write: Callable[[Entry], Write],
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
        held = self._memory.look_at(key)
        if len(self._known) < self._max_missed:
            self._note(held)

    def confirmed(self, key: Key) -> None:
        """The database has what came last, in a row with what it knows itself."""
        self._missed.pop(key, None)
        self._known.pop(key, None)

    def forget(self, key: Key) -> None:
        """The entity is erased."""
        self.confirmed(key)

    def settled(self) -> None:
        """The database works: it knows its rows itself. What was noted since the last call is kept until the next:
        a write of it may still be under way."""
        for key in self._aging:
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

    async def bring_back(self, database: Store) -> None:
        """Write into a new database what memory held of the lost one, each row with the id and attributes it had.

        Raises StoreError. What does not fit any more is left out, unless the row could not be made again.
        """
        is_full = False
        for keys in self._slices():
            entries = [entry for key in keys if (entry := self._standing(key)) is not None]
            if entries and not is_full:
                try:
                    await database.adopt_many([self._as_adopted(entry) for entry in entries])
                    continue
                except StoreError:
                    is_full = True
            own = [replace(entry, item=None, headers=()) for entry in entries if self._is_own(entry)]
            if own:
                await database.adopt_many([Write(entry, {}) for entry in own])

    def again(self, queue: Callable[[Write], bool]) -> None:
        """Queue what memory still has of the writes that failed, as far as there is room."""
        for key in list(self._missed):
            entry = self._memory.look_at(key)
            is_missing = entry is not None and not (entry.durable or entry.absent or entry.item is None)
            if entry is not None and is_missing and not queue(self._as_write(entry)):
                return
            del self._missed[key]

    def _slices(self) -> Iterator[list[Key]]:
        keys = list(dict.fromkeys((*self._known, *self._memory.keys())))
        for start in range(0, len(keys), _SLICE):
            yield keys[start : start + _SLICE]

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
        return Write(entry, {}) if entry.item is None else self._as_write(entry)
