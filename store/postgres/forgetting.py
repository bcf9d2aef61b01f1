"""What is forgotten, here and, by the change log, in the memory of every replica."""

from collections.abc import Sequence

from store.entry import Key
from store.postgres import changes, leases
from store.postgres.changes import by_resource
from store.postgres.pool import Connection
from store.postgres.reading import Tables


async def invalidate(connection: Connection, tables: Tables, keys: Sequence[Key], origin: str) -> None:
    """Take the representations out of the rows that there are."""
    await _forget(connection, tables, keys, origin, is_erasure=False)


async def erase(connection: Connection, tables: Tables, keys: Sequence[Key], origin: str) -> None:
    """Delete the rows that there are."""
    await _forget(connection, tables, keys, origin, is_erasure=True)


async def _forget(
    connection: Connection, tables: Tables, keys: Sequence[Key], origin: str, *, is_erasure: bool
) -> None:
    async with connection.transaction():
        # First: a row that is being stored now is found by the statement that follows.
        await leases.void(connection, keys)
        for resource, ids in by_resource([key for key in keys if key.resource in tables]).items():
            statements, _ = tables[resource]
            await connection.execute(statements.erase if is_erasure else statements.invalidate, ids)
        await changes.write(connection, keys, "erased" if is_erasure else "invalidated", origin)


async def forget_all(connection: Connection, resources: Sequence[str], origin: str) -> None:
    """Log that every representation of these is forgotten, and have nothing stored that was fetched before."""
    async with connection.transaction():
        for resource in resources:
            await leases.void_all(connection, resource)
        await changes.write(connection, [Key("", "")], changes.ALL, origin)
