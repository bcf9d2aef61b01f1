"""The bound of the database: what grows is held to it, and the oldest go for the newest."""

import asyncio
import sqlite3
from collections.abc import Collection
from functools import partial
from math import ceil
from typing import TypeVar

from store.base import DeriveId
from store.row_values import HELD, INVALIDATED
from store.sqlite_files import Files, error_name
from store.sqlite_pragmas import bounded, checkpoint, rewrite, used, vacuum
from store.sqlite_table import Table, representations
from store.sqlite_writer import Connection, Run, Writer
from store.times import rfc3339

T = TypeVar("T")

_LAST = "~"
"""Sorts behind every time."""

_ROOM_ATTEMPTS = 3
"""How often a write at the bound may make room: other writes can fill what it has made."""

_PRUNE_ROWS = 200
"""Rows evicted in one transaction: a few milliseconds, so that writes pass in between."""

_FULL, _ROOMY = 0.90, 0.80
"""Shares of the bound: above the first, eviction begins; it ends below the second, so that it is rare."""


class Room:
    """Eviction, in small transactions between those of others. Raises the driver's errors, and StoreError once the
    writer is closed."""

    def __init__(
        self,
        files: Files,
        writer: Writer,
        reader: Connection,
        tables: Collection[Table],
        *,
        max_bytes: int,
        derive_id: DeriveId,
    ) -> None:
        self._files = files
        self._writer = writer
        self._reader = reader
        self._tables = tables
        self.max_bytes = max_bytes
        self._derive_id = derive_id
        self.making = asyncio.Lock()

    async def grow(self, run: Run[T], *, rows: int = 1, may_evict: bool = True) -> T:
        """Run it in a transaction, within the bound; where it does not fit and it may, the oldest go for it."""
        run = partial(self._bounded, run)
        for _ in range(_ROOM_ATTEMPTS if may_evict else 0):
            try:
                return await self._writer.submit(run, rows=rows)
            except sqlite3.OperationalError as error:
                if error_name(error) != "SQLITE_FULL":
                    raise
            await self.make()
        return await self._writer.submit(run, rows=rows)

    async def prune(self, *, older_than: float) -> int:
        """Evict what was last synced before (epoch seconds), and more above 90 % of the bound, until below 80 %.

        Returns how many representations went.
        """
        before = rfc3339(older_than)
        gone = await self._evict_before(HELD, before)
        emptied = await self._evict_before(INVALIDATED, before)
        is_over = await self._reader.run(self._used_with_log) > _FULL * self.max_bytes
        squeezed = await self.make() if is_over else 0
        if gone or emptied or is_over:
            await self._give_back()
        return gone + squeezed

    async def empty(self) -> None:
        """Evict everything."""
        await self._evict_before(HELD, _LAST)

    async def make(self) -> int:
        """At its bound the database lets the oldest go for the newest. One caller does it for all that wait.

        Returns how many representations went.
        """
        async with self.making:
            is_roomy = await self._reader.run(used) <= _ROOMY * self.max_bytes
            return 0 if is_roomy else await self._evict_for_space()

    def _bounded(self, run: Run[T], connection: sqlite3.Connection) -> T:
        with bounded(connection, self.max_bytes):
            return run(connection)

    async def _evict_before(self, state: int, before: str) -> int:
        total = 0
        for table in self._tables:
            evicted = _PRUNE_ROWS
            while evicted == _PRUNE_ROWS:
                evict = partial(
                    table.evict, state=state, before=before, limit=_PRUNE_ROWS, derive_id=self._derive_id
                )
                evicted = await self._writer.submit(evict, rows=_PRUNE_ROWS)
                total += evicted
        return total

    async def _evict_for_space(self) -> int:
        in_use = await self._reader.run(used)
        counted = await self._reader.run(representations)
        held = sum(counted[table.resource] for table in self._tables)
        wanted = ceil(held * (1 - _ROOMY * self.max_bytes / in_use))
        total = 0
        while total < wanted:
            evicted = await self._writer.submit(self._evict_oldest, rows=_PRUNE_ROWS)
            if not evicted:
                break
            total += evicted
        # Rows that were not neighbours leave holes in pages that stay in use: only a rewrite gives those back.
        if total and await self._reader.run(used) > _ROOMY * self.max_bytes:
            await self._writer.submit(rewrite, is_alone=True)
        return total

    def _evict_oldest(self, connection: sqlite3.Connection) -> int:
        firsts = [(first, table) for table in self._tables if (first := table.first(connection))]
        if not firsts:
            return 0
        _, table = min(firsts, key=lambda pair: pair[0])
        return table.evict(connection, state=HELD, before=_LAST, limit=_PRUNE_ROWS, derive_id=self._derive_id)

    def _used_with_log(self, connection: sqlite3.Connection) -> int:
        return used(connection) + self._files.log_size()

    async def _give_back(self) -> None:
        while await self._writer.submit(vacuum, is_alone=True):
            pass
        await self._writer.submit(checkpoint, is_alone=True)
