"""The change log: what happens to entities, as each replica learns of it."""

from collections.abc import Sequence
from typing import Any, Final, Literal, cast

from msgspec import Struct

from store.entry import Key
from store.postgres.pool import Connection
from store.postgres.rows import of_text, text_of
from store.postgres.statements import log_text, text

Kind = Literal["invalidated", "erased", "changed", "all"]
"""An entity lost its representation, or all that there was of it; something of ours in its row changed, or the row came
by an import; every entity lost its representation."""

KEPT: Final = 3600.0
"""Seconds for which a change stands in the log. Whoever has not heard of it by then forgets all that it has in memory,
which costs a read of each row: nothing is gained by remembering for days."""

MOST: Final = 10_000
"""Changes that are read at a time. Behind by more than that, it is cheaper to forget all that is in memory."""


class Change(Struct, frozen=True):
    """One line of the log."""

    key: Key
    kind: Kind


class Cursor(Struct, frozen=True):
    """How far the log has been read: a snapshot, that is which transactions had come to their end by then.

    Compare PostgreSQL's documentation, "Transaction ID and Snapshot Information Functions".
    """

    snapshot: str
    incarnation: str
    """Which server it is, and which of its lives: another one may have lost what this one had, and have used its
    transactions' numbers anew."""


class News(Struct, frozen=True):
    """What has come since."""

    cursor: Cursor
    changes: Sequence[Change]
    is_broken: bool = False
    """There may have been changes that the log does not have any more, or has too many of."""


async def begin(connection: Connection) -> Cursor:
    """The end of the log, as of now."""
    row = await connection.fetchrow(log_text("log_begin"))
    assert row is not None  # noqa: S101 - it has no WHERE
    return Cursor(row[0], row[1])


async def read(connection: Connection, cursor: Cursor, origin: str) -> News:
    """What others than `origin` have logged since."""
    rows: list[Any] = await connection.fetch(log_text("log_read"), cursor.snapshot, MOST + 1)
    snapshot, incarnation, is_pruned = rows[0][:3]
    is_broken = incarnation != cursor.incarnation or is_pruned or len(rows) > MOST
    changes = [
        Change(Key(resource, of_text(external_id)), cast("Kind", kind))
        for _, _, _, resource, external_id, kind, by in rows
        if resource is not None and by != origin
    ]
    is_broken = is_broken or any(change.kind == "all" for change in changes)
    return News(Cursor(snapshot, incarnation), () if is_broken else changes, is_broken)


async def write(connection: Connection, keys: Sequence[Key], kind: Kind, origin: str) -> None:
    """Log it in the transaction that is under way, and wake all who listen once that is committed."""
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
