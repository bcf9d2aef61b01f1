"""Who of all replicas fetches an entity now, or has a role, and what may still be stored."""

from collections.abc import Sequence

from store.entry import Key
from store.postgres.changes import by_resource
from store.postgres.pool import Connection
from store.postgres.reading import Tables
from store.postgres.rows import of_text
from store.postgres.statements import text
from store.shared import Claim


async def claim(
    connection: Connection,
    tables: Tables,
    keys: Sequence[Key],
    token: int,
    *,
    seconds: float,
    is_forced: bool,
) -> dict[Key, Claim]:
    """Take the lease of each entity that nobody has, or, if `is_forced`, of each; and see what its row is."""
    claims: dict[Key, Claim] = {}
    for resource, ids in by_resource(keys).items():
        statements, reader = tables[resource]
        granted = {
            row[0] for row in await connection.fetch(text("lease"), resource, ids, token, seconds, is_forced)
        }
        for row in await connection.fetch(statements.leased, ids, resource):
            entry = None if row[2] is None else reader.entry(row[2:])
            key = Key(resource, of_text(row[0]))
            claims[key] = Claim(row[0] in granted, entry, row[1] or 0.0)
    return claims


async def release(connection: Connection, keys: Sequence[Key], token: int) -> None:
    """Give up what is not going to be stored: the others need not wait for it."""
    for resource, ids in by_resource(keys).items():
        await connection.execute(text("release"), resource, ids, token)


async def lead(connection: Connection, *, role: str, token: int, seconds: float) -> bool:
    """Take a role that one replica has at a time; whether it could be had."""
    return await connection.fetchval(text("lead"), role, token, seconds) is not None


async def void_all(connection: Connection, resource: str) -> None:
    """The same of all entities of a resource."""
    await connection.execute("DELETE FROM handshake_proxy.leases WHERE resource = $1", resource)


async def void(connection: Connection, keys: Sequence[Key]) -> None:
    """Nothing that was fetched before may be stored any more."""
    for resource, ids in by_resource(keys).items():
        await connection.execute(text("unlease"), resource, ids)
