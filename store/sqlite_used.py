"""When entities were last used: noted in their rows, and read from them, a slice at a time.

There is no index of it. It would be written at random places with each note, four times as much as the rows are, for
one read at the start. So rows are noted in the order in which they stand in the file, neighbours together: in any other
order each of them would cost a page.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from heapq import heappush, heappushpop
from typing import Any, Final

from store.entry import Key
from store.sqlite_table import Table

NOTED: Final = 500
"""Rows of one transaction: some 10 ms, so that others pass in between."""

_READ: Final = 2_000
"""Rows of one read: some milliseconds of the reading thread."""

Places = list[tuple[int, str, float]]
"""Rows in a table's file: rowid, external id, and when it was last used."""

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
    latest: dict[str, dict[str, float]] = {}
    for key, used_at in uses:
        if key.resource in tables and not key.variant:
            of_one = latest.setdefault(key.resource, {})
            of_one[key.id] = max(used_at, of_one.get(key.id, used_at))
    for resource, times in latest.items():
        places: Places = []
        ids = list(times)
        for start in range(0, len(ids), _READ):
            await read(partial(_find, tables[resource], places, times, ids[start : start + _READ]))
        await read(partial(_sort, places))
        for start in range(0, len(places), NOTED):
            await write(partial(_note, tables[resource], places[start : start + NOTED]))


async def recent(tables: Mapping[str, Table], limit: int, *, read: OnConnection) -> list[tuple[Key, float]]:
    """Of all tables up to `limit` (from 1) whose representations were used last, and when, the last one first."""
    latest: list[tuple[float, Key]] = []  # a heap
    for table in tables.values():
        after: int | None = 0
        while after is not None:
            after = await read(partial(_scan, table, latest, limit, after))
    ordered: list[tuple[Key, float]] = await read(
        lambda _: [(key, at) for at, key in sorted(latest, reverse=True)]
    )
    return ordered


def _find(
    table: Table,
    found: Places,
    times: Mapping[str, float],
    ids: Sequence[str],
    connection: sqlite3.Connection,
) -> None:
    found += ((rowid, name, times[name]) for rowid, name in table.places(connection, ids))


def _sort(places: Places, _connection: sqlite3.Connection) -> None:
    places.sort()  # of 65,000 it would hold up the event loop


def _note(table: Table, places: Places, connection: sqlite3.Connection) -> None:
    for rowid, external_id, used_at in places:
        table.note_used(connection, rowid, external_id, used_at)


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
