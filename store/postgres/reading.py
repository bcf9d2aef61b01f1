"""Rows that are read: by their ids, in lists, and counted."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final, NamedTuple

from store.base import Position
from store.entry import Entry, Key
from store.postgres.changes import by_resource
from store.postgres.pool import Connection
from store.postgres.rows import Reader, of_text
from store.postgres.statements import TableStatements, text
from store.times import moment

Tables = Mapping[str, tuple[TableStatements, Reader]]
"""By resource."""

_COUNT_SHARE: Final = 100.0
"""A count is good for so many times as long as it took: all replicas' cost a hundredth of the server's time."""

_DEAR: Final = 0.05
"""Seconds above which a count is dear."""

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_FIRST: Final = "00000000-0000-0000-0000-000000000000"
"""No UUID comes before it."""


async def get_all(connection: Connection, tables: Tables, keys: Sequence[Key]) -> dict[Key, Entry]:
    """The rows that there are of these, all of which may have one."""
    found: dict[Key, Entry] = {}
    for resource, ids in by_resource(keys).items():
        statements, reader = tables[resource]
        entries = reader.entries(await connection.fetch(statements.get, ids))
        found |= {entry.key: entry for entry in entries}
    return found


async def find(connection: Connection, statements: TableStatements, internal_id: str) -> str | None:
    """The external id of the row with that internal id, a UUID."""
    found: str | None = await connection.fetchval(statements.find, internal_id)
    return None if found is None else of_text(found)


async def page(
    connection: Connection, table: tuple[TableStatements, Reader], after: str | None, limit: int
) -> list[Entry]:
    """Up to `limit` rows in the order of their ids, from behind that of `after` on; fewer, too, when there are more."""
    statements, reader = table
    entries: list[Entry] = []
    while not entries:
        rows = await connection.fetch(statements.page, after, limit)
        entries = reader.entries(rows)
        if not rows:
            break
        after = rows[-1][1]  # all of a page may have been left out
    return entries


async def unsynced(
    connection: Connection,
    table: tuple[TableStatements, Reader],
    before: float,
    after: Position | None,
    limit: int,
) -> list[Entry]:
    """Up to `limit` representations in the order of their last sync, from behind `after` on."""
    statements, reader = table
    place = (moment(after.last_synced_at), after.internal_id) if after else (_EARLIEST, _FIRST)
    return reader.entries(await connection.fetch(statements.unsynced, moment(before), *place, limit))


class Count(NamedTuple):
    """Of one table."""

    held: int
    """Representations."""
    stale: int
    """Those of them that are past their freshness."""
    bytes: int
    """Of the table's files, its indexes' too."""


async def count_all(connection: Connection, tables: Tables, at: float) -> dict[str, Count]:
    """Of each table; what is stale `at` that time (epoch seconds). Of many rows the last count is given again for a
    while, whichever replica has made it."""
    rows = await connection.fetch(text("counted"), _COUNT_SHARE)
    counts = {row[0]: Count(*row[1:]) for row in rows if row[0] in tables}
    for resource in tables.keys() - counts.keys():
        began = monotonic()
        counts[resource] = Count(*await connection.fetchrow(tables[resource][0].count, at))
        took = monotonic() - began
        if took > _DEAR:
            await connection.execute(text("count_kept"), resource, *counts[resource], took)
    return counts
