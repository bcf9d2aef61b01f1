"""What may be shown to somebody who keeps it: an entity with the internal id that the database has for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from store.base import StoreError
from store.entry import Entry, Key, Write
from store.generation import Watch
from store.memory import MemoryTier
from store.pending import Invalidated
from store.rowless import Rowless
from store.rows import Rows
from store.write_behind import WriteBehind


class Confirming:
    """Waits for the rows of what is in memory alone, or has them made.

    `behind` and `rows` are those of the database, None without one. `is_rowless(key)`: whether it is meant to have no
    row; `standing(keys)`: the rows that there are. `queue(write)` sends a write to the database and says whether it is
    on its way.
    """

    def __init__(
        self,
        memory: MemoryTier,
        rowless: Rowless,
        behind: WriteBehind | None,
        rows: Rows | None,
        *,
        is_rowless: Callable[[Key], bool],
        standing: Callable[[Sequence[Key]], Awaitable[dict[Key, Entry]]],
        queue: Callable[[Write], bool],
    ) -> None:
        self._memory = memory
        self._rowless = rowless
        self._behind = behind
        self._rows = rows
        self._is_rowless = is_rowless
        self._standing = standing
        self._queue = queue

    async def confirm(self, writes: Sequence[Write], *, at: float, unerased: Watch) -> dict[Key, Entry]:
        """These entities, none of them a variant, as they may be shown to somebody who keeps their internal ids.

        An entity that has a row already is given back with what that row has of ours, and waits for nothing. Of a new
        one what is on its way to the database is waited for, and given back as the database holds it, also when it is
        newer; what could not be queued or stored is tried once more, while memory still has it. What the database does
        not get to hold has its internal id reserved (last synced `at`, epoch seconds, if there is no row). Missing is a
        key for which the database failed, and one that was erased since `unerased` watches: an erasure wins over what
        was under way, and its row must not come back.
        """
        shown: dict[Key, Entry] = {}
        waiters: dict[Key, asyncio.Future[Entry]] = {}
        unheld: list[Entry] = []
        rows = await self._standing([write.entry.key for write in writes if not write.entry.durable])
        for write in writes:
            entry = write.entry
            if self._is_rowless(entry.key):
                shown[entry.key] = self._rowless.as_shown(entry)
            elif entry.durable:
                shown[entry.key] = entry
            elif (held := self._memory.get(entry.key)) and held.durable and held.item == entry.item:
                shown[entry.key] = held  # its write has arrived since
            elif (row := rows.get(entry.key)) is not None:
                # What is on its way there makes another version of it.
                version = row.version + (held is entry and row.item != entry.item)
                shown[entry.key] = replace(
                    entry, internal_id=row.internal_id, version=version, local=row.local, durable=False
                )
            elif (waiter := self._written(write)) is not None:
                waiters[entry.key] = waiter
            else:
                unheld.append(entry)
        outcomes = await asyncio.gather(*waiters.values(), return_exceptions=True)
        written = dict(zip(waiters, outcomes, strict=True))
        shown |= {key: outcome for key, outcome in written.items() if isinstance(outcome, Entry)}
        unheld += (entry for entry, _, _ in writes if isinstance(written.get(entry.key), Invalidated))
        shown |= await self._reserved([entry for entry in unheld if unerased.is_current(entry.key)], at)
        # Of a copy that had an id before, that stands, whatever the database can say now.
        for entry in (write.entry for write in writes if write.entry.key not in shown):
            held = self._memory.get(entry.key)
            if held is not None and held.internal_id is not None and held.item == entry.item:
                shown[entry.key] = held
        return {key: entry for key, entry in shown.items() if unerased.is_current(key)}

    async def _reserved(self, entries: Sequence[Entry], at: float) -> dict[Key, Entry]:
        if not entries or self._rows is None:
            return {}
        try:
            rows = await self._rows.reserve([entry.key for entry in entries], at=at)
        except StoreError:  # counted where it happened
            return {}
        return {
            entry.key: replace(
                entry, internal_id=row.internal_id, version=row.version, local=row.local, durable=False
            )
            for entry in entries
            if (row := rows.get(entry.key)) is not None
        }

    def _written(self, write: Write) -> asyncio.Future[Entry] | None:
        """The write that is on its way, or of one more attempt; None when there is nothing to wait for."""
        key = write.entry.key
        if self._behind is None:
            return None
        waiter = self._behind.written(key)
        # Sent again only if memory still has it: otherwise it was invalidated, replaced or stored.
        if (
            waiter is None
            and self._memory.get(key) is write.entry
            and not write.entry.durable
            and self._queue(write)
        ):
            waiter = self._behind.written(key)
        return waiter
