"""Rows that are stored, reserved and changed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from store.base import DeriveId
from store.entry import Column, Entry, Key, Write
from store.postgres.changes import by_resource
from store.postgres.pool import Connection
from store.postgres.reading import Tables
from store.postgres.rows import Reader, of_text, parameters_of, text_of
from store.postgres.statements import TableStatements
from store.row_values import local_of
from store.times import moment

MAX_ATTEMPTS: Final = 8
"""Ids that are tried for a new entity. The first is taken only if it was imported for another one, the second only
if somebody aims at it."""


async def put_all(
    tables: Tables,
    writes: Sequence[Write],
    derive_id: DeriveId,
    connection: Connection,
    *,
    origin: str | None = None,
) -> dict[Key, Entry]:
    """Store each, one write a key, in one transaction; what was stored, as it now stands. The other replicas are told
    of what has changed by that, in the name of `origin`; None: by the caller."""
    resources = sorted({write.entry.key.resource for write in writes})
    for attempt in range(MAX_ATTEMPTS):
        puts = [
            _Put(tables[resource][0], [write for write in writes if write.entry.key.resource == resource])
            for resource in resources
        ]
        try:
            if len(puts) == 1:  # most often, and one call of the server
                return await puts[0].done(connection, derive_id, origin, is_surely=attempt > 0)
            async with connection.transaction():
                stored: dict[Key, Entry] = {}
                for put in puts:
                    stored |= await put.done(connection, derive_id, origin, is_surely=attempt > 0)
                return stored
        except asyncpg.UniqueViolationError:
            # An id was imported for another entity, or another replica has just stored a new one: look, and try again.
            if attempt == MAX_ATTEMPTS - 1:
                raise
    raise RuntimeError("the last attempt either returns or raises")


class _Put:
    """Of one resource."""

    def __init__(self, statements: TableStatements, writes: Sequence[Write]) -> None:
        self._statements = statements
        self._writes = {text_of(write.entry.key.id): write for write in writes}

    async def done(
        self, connection: Connection, derive_id: DeriveId, origin: str | None, *, is_surely: bool
    ) -> dict[Key, Entry]:
        statements, writes = self._statements, self._writes
        if is_surely:
            ids = await free_ids(connection, statements, list(writes), derive_id)
        else:
            ids = [derive_id(write.entry.key, 0) for write in writes.values()]
        parameters = parameters_of(list(writes.values()), ids, statements.columns)
        stored: dict[Key, Entry] = {}
        for row in await connection.fetch(statements.put, statements.resource, *parameters, origin):
            entry = writes[row[0]].entry
            stored[entry.key] = entry.confirmed(
                internal_id=row[1], version=row[2], local=local_of(statements.locals, tuple(row[3:-1]))
            )
        return stored


async def reserve_all(
    connection: Connection, tables: Tables, keys: Sequence[Key], derive_id: DeriveId, *, at: float
) -> None:
    """Make a husk, last synced `at` (epoch seconds), for each key that has no row."""
    async with connection.transaction():
        for resource, ids in by_resource(keys).items():
            statements, _ = tables[resource]
            given = await free_ids(connection, statements, ids, derive_id)
            await connection.execute(statements.reserve, given, ids, moment(at), at)


async def change_row(
    connection: Connection,
    statements: TableStatements,
    reader: Reader,
    key: Key,
    local: Mapping[str, Column],
    synced_at: float | None,
) -> Entry | None:
    """Set those local attributes, and the time of last sync if there is one. None: there is no such row."""
    named = [name for name in statements.locals if name in local]
    values: list[Any] = [stored_value(local[name]) for name in named]
    if synced_at is not None:
        values.append(moment(synced_at))
    sql = statements.change(named, is_synced=synced_at is not None)
    row = await connection.fetchrow(sql, text_of(key.id), *values)
    return None if row is None else reader.entry(row)


async def free_ids(
    connection: Connection, statements: TableStatements, external_ids: Sequence[str], derive_id: DeriveId
) -> list[str]:
    """For each external id, as the server has it, the first derived id that no other entity has.

    What has a row keeps the id of that, whatever is given.
    """

    def derived(external_id: str, attempt: int) -> str:
        return derive_id(Key(statements.resource, of_text(external_id)), attempt)

    ids = {external_id: derived(external_id, 0) for external_id in external_ids}
    for attempt in range(1, MAX_ATTEMPTS):
        rows = await connection.fetch(statements.taken, list(ids.values()), list(ids))
        if not rows:
            break
        ids |= {row[0]: derived(row[0], attempt) for row in rows}
    return list(ids.values())


def stored_value(value: Column) -> Column:
    """A local attribute as the server has it: a flag is a number there."""
    return int(value) if isinstance(value, bool) else value
