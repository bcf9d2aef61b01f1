"""When entities were last used: noted by any replica, and read by one that starts."""

import asyncio
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from store.entry import Key
from store.postgres.pool import Connection
from store.postgres.reading import Tables
from store.postgres.rows import of_text, text_of

NOTED: Final = 500
"""Rows of one transaction: some 20 ms, in which others may wait for one of them."""

_SLICE: Final = 5_000
"""Rows that are made keys of before others have their turn: some milliseconds."""


async def note(connection: Connection, tables: Tables, uses: Sequence[tuple[Key, float]]) -> None:
    """Note the times (epoch seconds) of those that have rows; of each the latest stays, whichever replica noted it."""
    latest: dict[str, dict[str, float]] = {}
    for key, used_at in uses:
        of_one = latest.setdefault(key.resource, {})
        text = text_of(key.id)
        of_one[text] = max(used_at, of_one.get(text, used_at))
    for resource, times in sorted(latest.items()):
        await connection.execute(tables[resource][0].note, list(times), list(times.values()))


async def recent(connection: Connection, tables: Tables, limit: int) -> list[tuple[Key, float]]:
    """Of all tables those whose representations were used last, and when (epoch seconds), the last one first."""
    found: list[tuple[Key, float]] = []
    for resource, (statements, _) in tables.items():
        rows = await connection.fetch(statements.recent, limit)
        for start in range(0, len(rows), _SLICE):
            found += [(Key(resource, of_text(row[0])), row[1]) for row in rows[start : start + _SLICE]]
            await asyncio.sleep(0)
    return sorted(found, key=itemgetter(1), reverse=True)[:limit]
