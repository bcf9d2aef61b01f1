"""What was used last: noted in the database, so that the next start has it in memory before somebody asks."""

import asyncio
from collections.abc import Callable, Collection
from heapq import heappush, heappushpop
from math import inf
from typing import Final

from store.base import Store, StoreError
from store.entry import Entry, Key
from store.memory import OVERHEAD, MemoryTier, size_of
from store.rows import Rows
from store.slot import Slot

MOVED_BY: Final = 60.0
"""Seconds by which the last use of an entity has to be later than the noted one to be noted again."""

_BATCH: Final = 500
"""Rows that are read at a time: some 10 ms of a database."""

_LOOKED_AT: Final = 2_000
"""Places in memory that are looked at before others have their turn: about a millisecond."""

_FULL: Final = 0.9
"""Part of memory that is filled: what requests bring meanwhile has room in the rest."""


class Warming:
    """Notes when entities were used, and loads what was used last. For one event loop.

    `limit`: up to so many entities, of the resources that have `tables` in the database. `usable_until(entry)`: when
    an entry is of no use any more (epoch seconds). `on_error(operation)` is told once of what the database failed:
    note or warm.
    """

    def __init__(
        self,
        memory: MemoryTier,
        database: Store,
        rows: Rows,
        *,
        limit: int,
        tables: Collection[str],
        usable_until: Callable[[Entry], float],
        on_error: Callable[[str], None],
    ) -> None:
        self._memory = memory
        self._database = database
        self._rows = rows
        self._limit = limit
        self._tables = sorted(tables)
        self._usable_until = usable_until
        self._on_error = on_error

    async def note(self, *, moved_by: float = MOVED_BY) -> None:
        """Write when the most recently used entities of memory were used, of those whose time has moved by more than
        `moved_by` (seconds) since it was last noted."""
        slots, uses = await self._due(moved_by)
        if not uses:
            return
        try:
            await self._database.note_used(uses)
        except StoreError:
            self._on_error("note")
            return
        for start in range(0, len(uses), _LOOKED_AT):
            part = slice(start, start + _LOOKED_AT)
            for slot, (_, used_at) in zip(slots[part], uses[part], strict=True):
                slot.noted_at = used_at
            await asyncio.sleep(0)

    async def warm(self) -> int:
        """Take into memory what was used last, the last one first, until memory is nearly full; what it has of them
        by then is left alone. Whatever requests bring meanwhile counts as more recent.

        Returns how many entities were taken."""
        times: dict[Key, float] = {}
        taken = 0

        def take(entry: Entry) -> bool:
            nonlocal taken
            if self._memory.bytes + size_of(entry) > _FULL * self._memory.max_bytes:
                return False
            taken += self._memory.put_last(entry, self._usable_until(entry), used_at=times[entry.key])
            return True

        try:
            # More than that would not fit, whatever they are.
            recent = await self._database.recently_used(min(self._limit, self._memory.max_bytes // OVERHEAD))
            for start in range(0, len(recent), _BATCH):
                times = dict(recent[start : start + _BATCH])
                if not await self._rows.read_ahead(list(times), take):
                    break
        except StoreError:
            self._on_error("warm")
        return taken

    async def _due(self, moved_by: float) -> tuple[list[Slot], list[tuple[Key, float]]]:
        places = [slot for resource in self._tables for slot in self._memory.places(resource)]
        slices = [places[start : start + _LOOKED_AT] for start in range(0, len(places), _LOOKED_AT)]
        latest: list[float] = []  # a heap
        for part in slices:
            for slot in part:
                if _row_of(slot) is None:
                    continue
                if len(latest) < self._limit:
                    heappush(latest, slot.used_at)
                else:
                    heappushpop(latest, slot.used_at)
            await asyncio.sleep(0)
        since = latest[0] if len(latest) == self._limit else -inf
        slots: list[Slot] = []
        uses: list[tuple[Key, float]] = []
        for part in slices:
            for slot in part:
                used_at, entry = slot.used_at, _row_of(slot)
                if entry is not None and used_at >= since and used_at - slot.noted_at > moved_by:
                    slots.append(slot)
                    uses.append((entry.key, used_at))
            await asyncio.sleep(0)
        return slots[: self._limit], uses[: self._limit]


def _row_of(slot: Slot) -> Entry | None:
    """What stands there, if it is a representation that the database has."""
    entry = slot.entry
    return entry if entry is not None and entry.durable and entry.item is not None else None
