"""The bound of the shared database: the oldest rows go, by one replica at a time, in small transactions."""

from datetime import UTC, datetime
from math import ceil
from typing import Final

from store.base import DeriveId
from store.entry import Key
from store.postgres import changes
from store.postgres.pool import Connection
from store.postgres.reading import Tables
from store.postgres.rows import of_text
from store.postgres.statements import TableStatements
from store.row_values import HELD, INVALIDATED, PRUNED
from store.times import moment

_LOCK: Final = 0x68616E647368616C
"""Of the advisory lock: one replica evicts, the others have nothing to do."""

_ROWS: Final = 500
"""Rows of one transaction: some 10 ms."""

_BATCHES: Final = 200
"""Of one call: what is too much then is for the next, in a minute."""

_FULL, _ROOMY = 0.90, 0.80
"""Shares of the bound: above the first, eviction begins; it ends below the second, so that it is rare."""

_SAMPLED_PAGES: Final = 1_000
"""Pages whose rows the size of all is estimated by."""

_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_LEASE_KEPT: Final = 300.0
"""Seconds after which a lease is nobody's any more: no call takes so long."""


class Room:
    """Evicts. Raises the driver's errors."""

    def __init__(
        self,
        tables: Tables,
        *,
        max_bytes: int,
        derive_id: DeriveId,
    ) -> None:
        self._statements = [statements for statements, _ in tables.values()]
        self._max_bytes = max_bytes
        self._derive_id = derive_id

    async def prune(self, connection: Connection, *, older_than: float) -> int:
        """Evict what was last synced before (epoch seconds), and more above 90 % of the bound, until below 80 %.

        What the log and the leases have for nobody goes, too. Returns how many representations went."""
        before = moment(older_than)
        gone = 0
        for statements in self._statements:
            gone += await self._evict_before(connection, statements, HELD, before)
            await self._evict_before(connection, statements, INVALIDATED, before)
        gone += await self._squeeze(connection)
        async with connection.transaction():
            if await _is_mine(connection):
                await changes.prune(connection)
                await connection.execute(
                    "DELETE FROM handshake_proxy.leases WHERE until < clock_timestamp() - make_interval(secs => $1)",
                    _LEASE_KEPT,
                )
        return gone

    async def evict_some(self, connection: Connection) -> int:
        """Evict the oldest rows, as many as one transaction takes; how many there were."""
        return sum([await self._evict(connection, one, HELD, _NEVER, _ROWS) for one in self._statements])

    async def _evict_before(
        self, connection: Connection, statements: TableStatements, state: int, before: datetime
    ) -> int:
        total = 0
        for _ in range(_BATCHES):
            evicted = await self._evict(connection, statements, state, before, _ROWS, as_one=True)
            total += evicted
            if evicted < _ROWS:
                break
        return total

    async def _squeeze(self, connection: Connection) -> int:
        used = {one: await _used(connection, one) for one in self._statements}
        if sum(used.values()) <= _FULL * self._max_bytes:
            return 0
        too_much = 1 - _ROOMY * self._max_bytes / sum(used.values())
        total = 0
        for statements in used:
            held = await connection.fetchval(statements.held)
            wanted = ceil(held * too_much)
            for start in range(0, min(wanted, _BATCHES * _ROWS), _ROWS):
                rows = min(_ROWS, wanted - start)
                total += await self._evict(connection, statements, HELD, _NEVER, rows, as_one=True)
        return total

    async def _evict(
        self,
        connection: Connection,
        statements: TableStatements,
        state: int,
        before: datetime,
        rows: int,
        *,
        as_one: bool = False,
    ) -> int:
        """Remove up to so many rows of that state that were last synced before, the oldest first; how many there were.

        A row that could not be made again stays without its representation: one with local attributes, or whose id was
        not derived. `as_one`: only if no other replica is at it.
        """
        async with connection.transaction():
            if as_one and not await _is_mine(connection):
                return 0
            found = await connection.fetch(statements.oldest, state, before, rows)
            is_own = {
                row[0]: row[2] or row[0] != self._derive_id(Key(statements.resource, of_text(row[1])), 0)
                for row in found
            }
            emptied = [internal_id for internal_id, own in is_own.items() if own]
            await connection.execute(statements.empty, emptied, PRUNED)
            await connection.execute(statements.evict, [one for one, own in is_own.items() if not own])
            return len(found)


async def _is_mine(connection: Connection) -> bool:
    """Until the end of the transaction that is under way."""
    mine: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK)
    return mine


async def _used(connection: Connection, statements: TableStatements) -> float:
    pages: int = await connection.fetchval(
        "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint",
        statements.table,
    )
    share = 100.0 if pages <= _SAMPLED_PAGES else 100.0 * _SAMPLED_PAGES / pages
    used: float | None = await connection.fetchval(statements.used, share)
    return used or 0.0  # no rows, or so many that were never analyzed: autovacuum comes within a minute
