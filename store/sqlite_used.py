"""When entities were last used: noted in their rows, and read from them, a slice at a time.

There is no index of it: it would be written at random places with each note, six times as many bytes for 65,000 rows,
for one read at the start. And rows are noted in the order in which they stand in the file, neighbours together: in any
other order each of them would cost a page, and all of them thirty times as many bytes.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush, heappushpop
from math import inf
from typing import Any, Final

from store.entry import Key
from store.sqlite_table import Table

NOTED: Final = 500
"""Rows of one transaction: some 10 ms, so that others pass in between."""

_READ: Final = 2_000
"""Rows of one read: some milliseconds of the reading thread."""

Places = dict[int, tuple[str, float]]
"""Rows in a table's file: by rowid the external id, and when it was last used."""

OnConnection = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]
"""Runs something in the connection's thread."""


async def note(
    tables: Mapping[str, Table],
    uses: Sequence[tuple[Key, float]],
    *,
    read: OnConnection,
    write: OnConnection,
) -> None:
    """Note the times (epoch seconds) of those that have rows; of each the latest stays."""
    places: dict[str, Places] = {resource: {} for resource in tables}
    for start in range(0, len(uses), _READ):
        await read(partial(_find, tables, places, uses[start : start + _READ]))
    for resource, found in places.items():
        rowids = sorted(found)
        for start in range(0, len(rowids), NOTED):
            await write(partial(_note, tables[resource], found, rowids[start : start + NOTED]))


async def recent(tables: Mapping[str, Table], limit: int, *, read: OnConnection) -> list[tuple[Key, float]]:
    """Of all tables up to `limit` (from 1) whose representations were used last, and when, the last one first."""
    latest: list[tuple[float, Key]] = []  # a heap
    for table in tables.values():
        after: int | None = 0
        while after is not None:
            after = await read(partial(_scan, table, latest, limit, after))
    ordered: list[tuple[Key, float]] = []
    while latest:
        await read(partial(_take_earliest, latest, ordered))
    ordered.reverse()
    return ordered


def _find(
    tables: Mapping[str, Table],
    places: dict[str, Places],
    uses: Sequence[tuple[Key, float]],
    connection: sqlite3.Connection,
) -> None:
    times: dict[str, dict[str, float]] = {}
    for key, used_at in uses:
        if key.resource in tables and not key.variant:
            of_one = times.setdefault(key.resource, {})
            of_one[key.id] = max(used_at, of_one.get(key.id, used_at))
    for resource, of_one in times.items():
        found = places[resource]
        for rowid, external_id in tables[resource].places(connection, list(of_one)):
            _, before = found.get(rowid, ("", -inf))
            found[rowid] = external_id, max(before, of_one[external_id])


def _note(table: Table, places: Places, rowids: Sequence[int], connection: sqlite3.Connection) -> None:
    for rowid in rowids:
        table.note_used(connection, rowid, *places[rowid])


def _scan(
    table: Table, latest: list[tuple[float, Key]], limit: int, after: int, connection: sqlite3.Connection
) -> int | None:
    """Look at the rows behind that one; the last of them, None if there are no more."""
    rows = table.used(connection, after, _READ)
    for _, external_id, used_at in rows:
        # A person may have put anything there.
        if isinstance(used_at, float) and isinstance(external_id, str):
            use = used_at, Key(table.resource, external_id)
            if len(latest) < limit:
                heappush(latest, use)
            else:
                heappushpop(latest, use)
    return rows[-1][0] if len(rows) == _READ else None


def _take_earliest(
    latest: list[tuple[float, Key]], ordered: list[tuple[Key, float]], _connection: sqlite3.Connection
) -> None:
    # A sort of all would hold up every thread.
    for _ in range(min(_READ, len(latest))):
        used_at, key = heappop(latest)
        ordered.append((key, used_at))
