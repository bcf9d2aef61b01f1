"""The schema of the shared database: numbered steps, each applied once by whoever comes first, and what the
configuration asks for. Nothing is ever dropped because it is no longer configured."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from store.base import TableSpec
from store.entry import Key
from store.postgres import changes, leases
from store.postgres.errors import OpenError
from store.postgres.pool import Connection
from store.postgres.statements import LOCAL_TYPES, SCHEMA, TableStatements, migrations, quoted, text

_LOCK: Final = 0x68616E647368616B
"""Of the advisory lock, one number for all versions: "handshak". It ends with its transaction, so that a pooler may
stand between."""


async def prepare(connection: Connection, tables: Sequence[TableSpec], origin: str) -> list[str]:
    """Bring the schema up to date. Returns the resources whose rows have lost their representations: they were filled
    in another's name than they would be now. The other replicas are told, by `origin`.

    Raises OpenError or the driver's errors, having changed nothing.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await _migrate(connection)
        forgotten = [spec.resource for spec in tables if await _follow(connection, spec)]
        if forgotten:
            await changes.write(connection, [Key("", "")], changes.ALL, origin)
        return forgotten


async def check(connection: Connection, tables: Sequence[TableSpec]) -> list[TableSpec]:
    """As much of the tables as there is; to be read, not to be migrated.

    Raises OpenError for another schema than the program's, and the driver's errors.
    """
    applied = await _applied(connection)
    if not applied:
        raise OpenError("open: there is no store in this database yet: start the proxy once")
    if applied != set(migrations()):
        raise OpenError("open: the database has the schema of another version of the program")
    found = []
    for spec in tables:
        known = await _columns(connection, TableStatements(spec).table)
        if known:
            local = tuple(column for column in spec.local_columns if column[0] in known)
            columns = tuple(name for name in spec.columns if name in known)
            found.append(replace(spec, columns=columns, local_columns=local))
    return found


async def _migrate(connection: Connection) -> None:
    # Whoever may not make a schema may still use one that was made for it.
    applied = await _applied(connection)
    if not applied:
        if await connection.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None:
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(text("prepare"))
    steps = migrations()
    if unknown := applied - set(steps):
        raise OpenError(f"open: the database is newer than the program (it has {max(unknown)})")
    for step in steps:
        if step not in applied:
            await connection.execute(text(f"migrations/{step}"))
            await connection.execute(f"INSERT INTO {SCHEMA}.migrations (name) VALUES ($1)", step)  # noqa: S608


async def _follow(connection: Connection, spec: TableSpec) -> bool:
    """Make the table, or the columns, that are not there; whether the representations had to go."""
    statements = TableStatements(spec)
    if await connection.fetchval("SELECT to_regclass($1)", statements.table) is None:
        await connection.execute(statements.make)
    known = await _columns(connection, statements.table)
    # When somebody last used the entity, in epoch seconds, as a replica has noted it: tables had been made without it.
    # Not indexed, so that a note can stay in its row's page: it is read once, by a replica that starts.
    configured = [("used_at", "double precision"), *((name, "text") for name in spec.columns)]
    configured += [(name, LOCAL_TYPES[kind]) for name, kind in spec.local_columns]
    for name, kind in configured:
        if name not in known:
            await connection.execute(f"ALTER TABLE {statements.table} ADD COLUMN {quoted(name)} {kind}")
    filled_by = await connection.fetchval(
        f"SELECT filled_by FROM {SCHEMA}.resources WHERE resource = $1",  # noqa: S608 - a constant
        spec.resource,
    )
    if filled_by == spec.filled_by:
        return False
    await connection.execute(
        f"INSERT INTO {SCHEMA}.resources (resource, table_name, filled_by) VALUES ($1, $2, $3)"  # noqa: S608
        " ON CONFLICT (resource) DO UPDATE SET filled_by = excluded.filled_by",
        spec.resource,
        spec.table,
        spec.filled_by,
    )
    if filled_by is None:
        return False
    await connection.execute(statements.forget)
    await leases.void_all(connection, spec.resource)
    return True


async def _columns(connection: Connection, table: str) -> set[str]:
    """Of the table as it is; none if there is no table."""
    rows = await connection.fetch(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0"
        " AND NOT attisdropped",
        table,
    )
    return {row[0] for row in rows}


async def _applied(connection: Connection) -> set[str]:
    """The steps that were; none if there is no schema."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.migrations") is None:
        return set()
    return {row[0] for row in await connection.fetch(f"SELECT name FROM {SCHEMA}.migrations")}  # noqa: S608
