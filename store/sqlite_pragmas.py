"""Connections to the database: how they are set up, and the upkeep that is said in PRAGMAs."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from store.base import TableSpec
from store.migrations import prepare, quoted
from store.sqlite_files import FOREIGN_ERRORS, Files, open_error
from store.sqlite_writer import Connection, Run

BUSY_TIMEOUT_MS = 1_000
"""How long a person's shell may hold the write lock before we give up: with an upstream's whole time before it, within
a client's own 5 s."""

_LOG_PAGES = 1_000
"""Pages after which SQLite empties its write-ahead log: its own default, 4 MB. Less where the bound is small."""

_LOG_SHARE = 4
"""The log is at most this part of the bound, while nobody reads for long."""

_VACUUM_PAGES = 1_000
"""Pages given back at a time, 4 MB: some 10 ms, so that writes pass in between."""

_INCREMENTAL = 2
"""Value of auto_vacuum."""

_LARGE_CACHE_KIB = 65_536
"""For many rows in one transaction: SQLite's own 2 MB let the pages of its indexes go and come again for each row."""

_ANY_PAGES = 1_073_741_823
"""As many as SQLite allows by default: no bound."""


async def connect(
    files: Files, tables: Sequence[TableSpec], max_bytes: int, *, upkeep: Run[None]
) -> tuple[Connection, Connection, list[str]]:
    """The writer's connection, on which `upkeep` has been run, and the reader's, the schema being up to date; and the
    resources that `prepare` has forgotten.

    Raises OpenError.
    """
    writer, reader = Connection(files.path), Connection(files.path)
    try:
        await writer
        forgotten = await writer.run(partial(_set_up, tables=tables, max_bytes=max_bytes))
        await writer.run(partial(_keep_temporary_files_in, files.path.absolute().parent))
        await writer.run(upkeep)
        await reader
        await reader.run(set_up_reader)
        await reader.run(lambda _: files.note_places())
    except BaseException as error:
        for connection in (reader, writer):
            with suppress(*FOREIGN_ERRORS):  # a damaged file may fail to be closed; its thread has ended
                await connection.close()
        if isinstance(error, FOREIGN_ERRORS):
            raise open_error("open", error) from None
        raise
    return writer, reader, forgotten


def used(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use."""
    pages, free, size = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


@contextmanager
def bounded(connection: sqlite3.Connection, max_bytes: int) -> Iterator[None]:
    """Meanwhile the file does not grow above the bound: what would need it to fails with SQLITE_FULL.

    Held to it is what brings something: puts, reservations, changes, imports. To move an entry of an index or to
    empty a row can need a page, too, but an invalidation must not fail for that, and eviction is what makes the room.
    They have no bound of their own: with every row of a full database invalidated it grew by 1.2 % at items of 1,000
    bytes, by 5.5 % at 60 bytes.
    """
    # Set anew each time: SQLite takes the size of the file instead where that is larger.
    connection.execute(f"PRAGMA max_page_count = {_pages(connection, max_bytes)}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA max_page_count = {_ANY_PAGES}")


@contextmanager
def with_large_cache(connection: sqlite3.Connection) -> Iterator[None]:
    """Meanwhile up to 64 MiB of memory spare the disk: a third of the time of an import of a million rows."""
    before = _pragma(connection, "cache_size")
    connection.execute(f"PRAGMA cache_size = -{_LARGE_CACHE_KIB}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA cache_size = {before}")


def checkpoint(connection: sqlite3.Connection, *, wait_ms: int = 0) -> bool:
    """Empty the log into the database, unless somebody reads: the writer must not wait for a person's shell.

    Returns whether all of it went, within `wait_ms`.
    """
    connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        is_busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not is_busy
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def empty_for_good(connection: sqlite3.Connection, files: Files) -> bool:
    """What a connection does last: whether all that was committed is in the file that has the database's name.

    A log without a name goes with its connections. Somebody who reads keeps it from being emptied, and then the file
    has some of its pages and not others: therefore a copy of all takes the file's place. Raises the driver's errors.
    """
    if files.displaced() != "log":
        # If the log can't be emptied now, the next opening does it.
        checkpoint(connection)
        return True
    with suppress(*FOREIGN_ERRORS):
        files.replace(lambda path: _copy(connection, path))
        return True
    # No room for it, most likely.
    return checkpoint(connection)


def touch(connection: sqlite3.Connection) -> None:
    """Write what is there already: a page that goes into the log and onto the disk, as any write does."""
    connection.execute(f"PRAGMA user_version = {_pragma(connection, 'user_version')}")


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether all pages and all entries of the indexes are as they should be."""
    found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return found == "ok"


def rewrite(connection: sqlite3.Connection) -> None:
    """Write the whole database anew. Readers go on; writers wait, invalidations as well: 0.8 to 1.0 s measured at
    the default bound of 256 MiB, which is rare enough to be borne."""
    connection.execute("VACUUM")


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("VACUUM INTO ?", (str(path),))


def vacuum(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the file system; whether there are more."""
    before = _pragma(connection, "freelist_count")
    connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    # A file that was made without auto_vacuum keeps its pages: it must not be asked for ever.
    return 0 < _pragma(connection, "freelist_count") < before


def _set_up(connection: sqlite3.Connection, *, tables: Sequence[TableSpec], max_bytes: int) -> list[str]:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # Before the first table, or not at all. Where it is so already SQLite would write it again, and wait for the disk
    # five times.
    if _pragma(connection, "auto_vacuum") != _INCREMENTAL:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # What an answer has shown must survive power loss.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    # What is deleted is overwritten; some builds of SQLite do it by themselves, others do not.
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    with with_large_cache(connection):
        forgotten = prepare(connection, tables)
    # What an upgrade has written would stand in the log as well, and count for the bound: enough to evict for.
    checkpoint(connection)
    log_pages = min(_LOG_PAGES, max(1, _pages(connection, max_bytes) // _LOG_SHARE))
    connection.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
    connection.execute(f"PRAGMA journal_size_limit = {log_pages * _pragma(connection, 'page_size')}")
    return forgotten


def set_up_reader(connection: sqlite3.Connection) -> None:
    """What it reads with can not write."""
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only = ON")
    # A damaged page is to be noticed, and not read as something else.
    connection.execute("PRAGMA cell_size_check = ON")
    # The files of the log are opened with the first read: later there may be no descriptor for them.
    _pragma(connection, "schema_version")


def set_up_direct(connection: sqlite3.Connection) -> None:
    """The same for a connection of the event loop's, which must wait for nobody."""
    set_up_reader(connection)
    connection.execute("PRAGMA busy_timeout = 0")


def _keep_temporary_files_in(directory: Path, connection: sqlite3.Connection) -> None:
    """Have a rewrite copy the database to beside it, and not to /var/tmp or /tmp, which may have no room for it.

    For the whole process, unless the operator chose a place with SQLITE_TMPDIR. That variable itself would be set
    too late here: SQLite reads it once, when Python's module is imported.
    """
    if "SQLITE_TMPDIR" in os.environ:
        return
    # Where no new file can be made SQLite looks for another place, as it does when it is not told.
    with suppress(sqlite3.OperationalError):
        connection.execute(f"PRAGMA temp_store_directory = {quoted(str(directory))}")


def _pages(connection: sqlite3.Connection, max_bytes: int) -> int:
    return max(1, max_bytes // _pragma(connection, "page_size"))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
