"""The change log: what happens to entities, as each replica learns of it.

How far it has been read is a snapshot: which transactions had come to their end by then. The numbers of a sequence do
not say it, for they are given before a commit, and not in the order of commits. See PostgreSQL's documentation,
"Transaction ID and Snapshot Information Functions".
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from store.entry import Key
from store.postgres.pool import Connection
from store.postgres.rows import of_text, text_of
from store.postgres.statements import log_text, text
from store.shared import Change, Cursor, Kind, News

KEPT: Final = 3600.0
"""Seconds for which a change stands in the log. Whoever has not heard of it by then forgets all that it has in memory,
which costs a read of each row: nothing is gained by remembering for days."""

MOST: Final = 10_000
"""Changes that are read at a time. Behind by more than that, it is cheaper to forget all that is in memory."""


ALL: Final = "all"
"""In place of a kind: every entity lost its representation."""


async def begin(connection: Connection) -> Cursor:
    """The end of the log, as of now. An incarnation is the server and its timeline: after a failover a transaction's
    number may be used anew."""
    row = await connection.fetchrow(log_text("log_begin"))
    assert row is not None  # noqa: S101 - it has no WHERE
    return Cursor(row[0], row[1])


async def read(connection: Connection, cursor: Cursor, origin: str) -> News:
    """What others than `origin` have logged since."""
    rows: list[Any] = await connection.fetch(log_text("log_read"), cursor.snapshot, MOST + 1)
    snapshot, incarnation, is_pruned = rows[0][:3]
    is_broken = incarnation != cursor.incarnation or is_pruned or len(rows) > MOST
    others = [row for row in rows if row[3] is not None and row[6] != origin]
    is_broken = is_broken or any(row[5] == ALL for row in others)
    changes = [Change(Key(row[3], of_text(row[4])), cast("Kind", row[5])) for row in others]
    return News(Cursor(snapshot, incarnation), () if is_broken else changes, is_broken)


async def write(connection: Connection, keys: Sequence[Key], kind: str, origin: str) -> None:
    """Log it, a `Kind` or ALL, in the transaction that is under way, and wake all who listen once that is committed."""
    for resource, ids in by_resource(keys).items():
        await connection.execute(text("log"), resource, ids, kind, origin)


async def prune(connection: Connection) -> None:
    """Forget what was logged long ago."""
    await connection.execute(text("log_prune"), KEPT)


def by_resource(keys: Sequence[Key]) -> dict[str, list[str]]:
    """The ids of each resource, as the server has them, each once and in the order in which rows are locked."""
    ids: dict[str, set[str]] = {}
    for key in keys:
        ids.setdefault(key.resource, set()).add(text_of(key.id))
    return {resource: sorted(ids[resource], key=str.encode) for resource in sorted(ids)}
