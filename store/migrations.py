# ruff: noqa: S608 - every name that goes into a statement is quoted or a constant
"""The schema of the SQLite database, in numbered steps, and what follows from the configuration.

Two kinds of change. What a new version of the program needs is a step here, recorded in the database by
sqlite-utils and never taken back. What a new configuration needs (a table, a column) is added at each opening;
nothing is ever dropped because it is no longer configured.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from store.base import TableSpec
from store.row_values import HELD, INVALIDATED
from store.sqlite_files import FOREIGN_ERRORS, REWRITE_DUE, OpenError, open_error

if TYPE_CHECKING:
    from sqlite_utils import Database

MIGRATION_SET = "handshake-proxy"

REGISTRY = "_resources"
"""Which tables hold entities, also those that are not configured any more, and how many each represents now."""

FRESH_UNTIL = "received_at + lifetime - initial_age"
"""When the freshness of a row ends, in epoch seconds, as the index of it has it."""

_STALE_COLUMNS = (
    ("stale_while_revalidate", "REAL"),
    ("stale_if_error", "REAL"),
    ("must_revalidate", "INTEGER NOT NULL DEFAULT 0"),
    ("shareable", "INTEGER NOT NULL DEFAULT 0"),
)

_USED_AT = (("used_at", "REAL"),)
"""When somebody last used the entity, in epoch seconds; NULL: that was never noted."""

FIXED_COLUMNS = (
    ("last_synced_at", "TEXT NOT NULL"),
    ("received_at", "REAL NOT NULL"),
    ("lifetime", "REAL NOT NULL"),
    ("initial_age", "REAL NOT NULL"),
    ("version", "INTEGER NOT NULL DEFAULT 1"),
    ("source_version", "TEXT"),
    ("invalidated", f"INTEGER NOT NULL DEFAULT {HELD}"),
    ("headers", "TEXT"),
    ("item", "TEXT"),
    *_STALE_COLUMNS,
    *_USED_AT,
)

DELIVERIES = "_deliveries"
"""Messages that were delivered, and until when each is remembered (epoch seconds)."""

_FILLED_BY_ANOTHER = "_forgotten"
"""What a table is called while its representations are dropped, within a transaction."""

_LOCAL_TYPES = ("TEXT", "INTEGER", "REAL")


def _registry(db: "Database") -> None:
    db.execute(
        f"CREATE TABLE {REGISTRY} (resource TEXT PRIMARY KEY, table_name TEXT UNIQUE NOT NULL,"
        " entities INTEGER NOT NULL DEFAULT 0)"
    )


def _stale_columns(db: "Database") -> None:
    _add_columns(db, _STALE_COLUMNS)


def _rewrite(db: "Database") -> None:
    # Earlier versions did not overwrite what they deleted. The step itself is done in a transaction, as a rewrite can
    # not be, and without room for it the database is of use all the same.
    if db.execute(f"SELECT 1 FROM {REGISTRY}").fetchone():
        db.execute(f"PRAGMA user_version = {REWRITE_DUE}")


def _filled_by(db: "Database") -> None:
    # Empty until the next opening: who has filled the rows of an earlier version nobody knows.
    db.execute(f"ALTER TABLE {REGISTRY} ADD COLUMN filled_by TEXT")


def _deliveries(db: "Database") -> None:
    db.execute(f"CREATE TABLE {DELIVERIES} (id TEXT PRIMARY KEY NOT NULL, until REAL NOT NULL) WITHOUT ROWID")
    db.execute(f"CREATE INDEX {DELIVERIES}_until ON {DELIVERIES} (until)")


def _used_at(db: "Database") -> None:
    _add_columns(db, _USED_AT)


def _add_columns(db: "Database", columns: Sequence[tuple[str, str]]) -> None:
    # Of a table that a person has dropped the registry still knows.
    tables = f"SELECT table_name FROM {REGISTRY} JOIN sqlite_master ON type = 'table' AND name = table_name"
    for (table,) in db.execute(tables).fetchall():
        # A column of the configuration could have the name that this one has now.
        there = {row[1].lower() for row in db.execute(f"PRAGMA table_info({quoted(table)})").fetchall()}
        for name, kind in columns:
            if name not in there:
                db.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {name} {kind}")


STEPS: tuple[tuple[str, Callable[["Database"], None]], ...] = (
    ("0001_registry", _registry),
    ("0002_stale_columns", _stale_columns),
    ("0003_rewrite", _rewrite),
    ("0004_filled_by", _filled_by),
    ("0005_deliveries", _deliveries),
    ("0006_used_at", _used_at),
)
"""Applied in this order. A step that changes the entities' tables goes through the registry."""


def quoted(name: str) -> str:
    """An SQL identifier, whatever is in the name."""
    return '"' + name.replace('"', '""') + '"'


def prepare(connection: sqlite3.Connection, tables: Sequence[TableSpec]) -> list[str]:
    """Bring the schema up to date, and look at a little of everything. The cost does not grow with the rows, except
    after an upgrade, which may want a new index, and for the resources that are returned: their rows were filled in
    another's name than they would be now, and have lost their representations.

    Raises OpenError or the driver's errors, having changed nothing of the step that failed.
    """
    connection.execute("PRAGMA schema_version").fetchone()
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not _is_up_to_date(connection):
        _migrate(connection)
    try:
        forgotten = _follow_configuration(connection, tables)
    except FOREIGN_ERRORS as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise open_error("migrate", error) from None
    for spec in tables:
        # Lengths, so that nothing is decoded: one text that is none is the fault of a row, and not of the file.
        names = [spec.id_column, *spec.columns, *(name for name, _ in (*spec.local_columns, *FIXED_COLUMNS))]
        lengths = ", ".join(f"length(CAST({quoted(name)} AS BLOB))" for name in names)
        connection.execute(f"SELECT {lengths} FROM {quoted(spec.table)} LIMIT 1").fetchone()
    return forgotten


def there(connection: sqlite3.Connection, tables: Sequence[TableSpec]) -> list[TableSpec]:
    """As much of the tables as the database has; to be read, not to be migrated.

    Raises OpenError for another schema than the program's, and the driver's errors.
    """
    if not _is_up_to_date(connection):
        message = "open: the database has not been migrated yet: start the proxy once"
        raise OpenError(message, "migration")
    found = []
    for spec in tables:
        # SQLite would read the name of a column that is not there as a text.
        names = _columns(connection, spec.table)
        if names:
            local = tuple(column for column in spec.local_columns if column[0].lower() in names)
            columns = tuple(name for name in spec.columns if name.lower() in names)
            found.append(replace(spec, columns=columns, local_columns=local))
    return found


def check_layout(tables: Sequence[TableSpec]) -> None:
    """Raises ValueError for names that can't stand beside each other in one database."""
    taken = {REGISTRY, DELIVERIES, _FILLED_BY_ANOTHER}
    for spec in tables:
        if spec.table.lower() in taken:
            raise ValueError(f"two resources would share the table {spec.table!r}")
        taken.add(spec.table.lower())
        columns = [
            "id",
            spec.id_column,
            *(name for name, _ in FIXED_COLUMNS),
            *(n for n, _ in spec.local_columns),
        ]
        for name in (*columns, *spec.columns):
            if sum(other.lower() == name.lower() for other in (*columns, *spec.columns)) > 1:
                raise ValueError(
                    f"the column {name!r} of {spec.resource!r} is there twice or has a reserved name"
                )
        if any(kind not in _LOCAL_TYPES for _, kind in spec.local_columns):
            raise ValueError(f"local columns are one of {_LOCAL_TYPES}")


def _is_up_to_date(connection: sqlite3.Connection) -> bool:
    applied = _applied(connection)
    unknown = applied - {name for name, _ in STEPS}
    if unknown:
        raise OpenError(f"open: the database is newer than the program (it has {max(unknown)})", "newer")
    return len(applied) == len(STEPS)


def _applied(connection: sqlite3.Connection) -> set[str]:
    # Read without sqlite-utils, whose import costs 60 ms and is for nothing when all has been applied.
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'"
    if connection.execute(known).fetchone() is None:
        return set()
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,))
    return {name for (name,) in rows}


def _migrate(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 - heavy, and only a new database needs it

    migrations = Migrations(MIGRATION_SET)
    for name, step in STEPS:
        migrations(name=name)(step)
    try:
        migrations.apply(Database(connection, execute_plugins=False))
    except FOREIGN_ERRORS as error:
        raise open_error("migrate", error) from None
    except Exception as error:  # noqa: BLE001 - a step may fail in any way; it has been rolled back
        raise OpenError(f"migrate: {type(error).__name__}", "migration") from None


def _follow_configuration(connection: sqlite3.Connection, tables: Sequence[TableSpec]) -> list[str]:
    forgotten = []
    connection.execute("BEGIN IMMEDIATE")
    for spec in tables:
        table = quoted(spec.table)
        if is_another := bool(_columns(connection, spec.table)) and _is_filled_by_another(connection, spec):
            connection.execute(f"ALTER TABLE {table} RENAME TO {_FILLED_BY_ANOTHER}")
        connection.execute(_table_sql(spec))
        if is_another:
            # Before there are indexes and triggers of the new table, which have the names of the old one's.
            _keep_ids_alone(connection, spec, _FILLED_BY_ANOTHER)
            forgotten.append(spec.resource)
        names = _columns(connection, spec.table)
        for name, kind in _configured(spec):
            if name.lower() not in names:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {kind}")
        connection.execute(
            f"INSERT OR IGNORE INTO {REGISTRY} (resource, table_name) VALUES (?, ?)",
            (spec.resource, spec.table),
        )
        connection.execute(
            f"UPDATE {REGISTRY} SET filled_by = :word WHERE resource = :resource AND filled_by IS NOT :word",
            {"word": spec.filled_by, "resource": spec.resource},
        )
        # The longest unsynced first, among those that hold an item or among those that lost it; by id among those of
        # the same time, so that a list goes on behind any of them. An earlier version had the index without the id.
        connection.execute(f"DROP INDEX IF EXISTS {quoted(f'{spec.table}_last_synced_at')}")
        index = quoted(f"{spec.table}_unsynced")
        connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} (invalidated, last_synced_at, id)")
        # What is stale is counted at each scrape. Without the columns that the expression is made of SQLite would look
        # into every row that it counts.
        index = quoted(f"{spec.table}_fresh_until")
        columns = f"invalidated, {FRESH_UNTIL}, received_at, lifetime, initial_age"
        connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({columns})")
        _count(connection, spec)
    connection.execute("COMMIT")
    return forgotten


def _is_filled_by_another(connection: sqlite3.Connection, spec: TableSpec) -> bool:
    told = f"SELECT 1 FROM {REGISTRY} WHERE resource = ? AND filled_by <> ?"
    return connection.execute(told, (spec.resource, spec.filled_by)).fetchone() is not None


def _keep_ids_alone(connection: sqlite3.Connection, spec: TableSpec, filled: str) -> None:
    """Fill the new table from the old one, as an invalidation of every row would, and drop that.

    To overwrite each representation would take half a minute for 256 MiB, and as much log. So they are dropped as they
    are, and the opening ends with a rewrite (`REWRITE_DUE`), which is quick now that there is little left.
    """
    kept = ["id", spec.id_column, "version", "last_synced_at", "received_at", "lifetime", "initial_age"]
    kept += [name for name, _ in spec.local_columns if name.lower() in _columns(connection, filled)]
    names = ", ".join(map(quoted, kept))
    connection.execute(
        f"INSERT INTO {quoted(spec.table)} ({names}, invalidated)"
        f" SELECT {names}, max(invalidated, {INVALIDATED}) FROM {quoted(filled)}"
    )
    connection.execute("PRAGMA secure_delete = OFF").fetchall()
    try:
        connection.execute(f"DROP TABLE {quoted(filled)}")
    finally:
        connection.execute("PRAGMA secure_delete = ON").fetchall()
    connection.execute(f"UPDATE {REGISTRY} SET entities = 0 WHERE resource = ?", (spec.resource,))
    if connection.execute("PRAGMA user_version").fetchone() == (0,):
        connection.execute(f"PRAGMA user_version = {REWRITE_DUE}")


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Of the table as it is, in lower case; none if there is no table."""
    return {row[1].lower() for row in connection.execute(f"PRAGMA table_info({quoted(table)})")}


def _configured(spec: TableSpec) -> list[tuple[str, str]]:
    return [*((name, "TEXT") for name in spec.columns), *spec.local_columns]


def _table_sql(spec: TableSpec) -> str:
    columns = (("id", "TEXT PRIMARY KEY NOT NULL"), (spec.id_column, "TEXT UNIQUE NOT NULL"))
    lines = [f"  {quoted(name)} {kind}" for name, kind in (*columns, *_configured(spec), *FIXED_COLUMNS)]
    return f"CREATE TABLE IF NOT EXISTS {quoted(spec.table)} (\n" + ",\n".join(lines) + "\n)"


def _count(connection: sqlite3.Connection, spec: TableSpec) -> None:
    """Keep the count of representations by triggers: exact in every transaction, also in a person's, and read
    without counting a million rows. A refresh does not touch it."""
    resource = "'" + spec.resource.replace("'", "''") + "'"
    for event, when, change in (
        ("INSERT", f"new.invalidated = {HELD}", "1"),
        ("DELETE", f"old.invalidated = {HELD}", "-1"),
        (
            "UPDATE OF invalidated",
            f"(old.invalidated = {HELD}) <> (new.invalidated = {HELD})",
            f"(new.invalidated = {HELD}) - (old.invalidated = {HELD})",
        ),
    ):
        name = quoted(f"{spec.table}_counted_on_{event.split()[0].lower()}")
        connection.execute(
            f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {quoted(spec.table)} WHEN {when} BEGIN"
            f" UPDATE {REGISTRY} SET entities = entities + ({change}) WHERE resource = {resource}; END"
        )
