"""Messages of owners: what each does to a row, and that it has been delivered, in one transaction."""

from store.base import DeriveId
from store.effects import Applied, Decide, Delivery, Forget, Keep, Replace
from store.entry import Key
from store.postgres import changes, leases
from store.postgres.pool import Connection
from store.postgres.reading import Tables, get_all
from store.postgres.rows import is_text, text_of
from store.postgres.statements import text
from store.postgres.writing import put_all


async def apply(
    connection: Connection,
    tables: Tables,
    key: Key,
    decide: Decide,
    delivery: Delivery,
    *,
    derive_id: DeriveId,
    origin: str,
) -> Applied:
    """Do to the row of the key what `decide` says, and log it for the other replicas, unless the message was delivered
    before.

    Of a key that has no row here the message is remembered, and the others forget the entity. Raises the driver's
    errors and what `decide` raises: then nothing has happened, and the message may come again.
    """
    async with connection.transaction():
        if not await connection.fetchval(text("deliver"), delivery.id, delivery.remembered_for):
            return Applied(None)
        is_row = key.resource in tables and is_text(key.id)
        if is_row:
            before = (await get_all(connection, tables, [key])).get(key)
            if isinstance(effect := decide(before), Keep):
                # Others may have variants that are older.
                await changes.write(connection, [key], "invalidated", origin)
                return Applied(effect, before, before)
        if is_text(key.id):
            # Before the row is locked, as whoever stores does it. What others have fetched and are about to store, or
            # have in memory, is out of date.
            await leases.void(connection, [key])
            await changes.write(connection, [key], "invalidated", origin)
        return await _applied(connection, tables, key, decide, derive_id) if is_row else Applied(Keep())


async def _applied(
    connection: Connection, tables: Tables, key: Key, decide: Decide, derive_id: DeriveId
) -> Applied:
    statements, reader = tables[key.resource]
    row = await connection.fetchrow(statements.standing, text_of(key.id))
    before = None if row is None else reader.entry(row)
    effect = decide(before)
    entry = before
    match effect:
        case Forget(source_version):
            row = await connection.fetchrow(statements.outdate, text_of(key.id), source_version)
            entry = None if row is None else reader.entry(row)
        case Replace(write):
            stored = await put_all(tables, [write._replace(lease=None)], derive_id, connection)
            entry = stored[key]
    return Applied(effect, before, entry)
