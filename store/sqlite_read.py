"""Reading a database beside the process that serves it: nothing is locked, migrated or written."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from store.base import StoreError, TableSpec
from store.entry import Entry
from store.migrations import there
from store.sqlite_files import FOREIGN_ERRORS, SuspectError, open_error, store_error
from store.sqlite_pragmas import is_whole, set_up_reader
from store.sqlite_table import Table, filled, representations
from store.sqlite_writer import Connection, Run

T = TypeVar("T")


class SqliteReader:
    """The reading half of a store, for an export. Make it with `open`.

    What is configured and not in the file yet has no rows and no values. If no process has the database open, SQLite
    may leave an empty log beside it, which the next one takes away.
    """

    def __init__(
        self, path: Path, connection: Connection, resources: Sequence[str], tables: Sequence[Table]
    ) -> None:
        self._path = path
        self._connection = connection
        self._resources = resources
        self._tables = {table.resource: table for table in tables}
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path | str, tables: Sequence[TableSpec]) -> "SqliteReader":
        """Raises OpenError (a StoreError) for what is missing, corrupt, or of another version than the program."""
        path = Path(path)
        connection = Connection(path, read_only=True)
        try:
            await connection
            await connection.run(set_up_reader)
            found = await connection.run(partial(there, tables=tables))
        except BaseException as error:
            await connection.close()
            if isinstance(error, FOREIGN_ERRORS):
                raise open_error("open", error) from None
            raise
        return cls(path, connection, [spec.resource for spec in tables], [Table(spec) for spec in found])

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """Up to `limit` rows, husks too, in the order of their internal ids, from behind that of `after` on.

        Between two pages nothing is held that would keep the other process from its upkeep. Raises StoreError.
        """
        table = self._tables.get(resource)
        if table is None:
            return []
        run, read = partial(self._run, "page"), partial(table.page, after=after)
        try:
            return await filled(run, read, limit)
        except SuspectError as error:
            # As the process that serves does it: a person's edit is no reason not to export all the others.
            if not await self._run("page", is_whole):
                raise store_error("page", error) from None
            table.is_lenient = True
            return await filled(run, read, limit)

    @property
    def left_out(self) -> int:
        """How many rows of the pages were not what had been put there, and are left out."""
        return sum(table.left_out for table in self._tables.values())

    async def count(self) -> int:
        """How many rows have a representation. Raises StoreError."""
        return await self._run("count", self._count)

    async def close(self) -> None:
        """Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            await self._connection.close()

    async def _run(self, operation: str, run: Run[T]) -> T:
        if self._is_closed:
            raise StoreError(f"{operation}: the store is closed")
        try:
            return await self._connection.run(run)
        except SuspectError:
            raise
        except FOREIGN_ERRORS as error:
            raise store_error(operation, error) from None

    def _count(self, connection: sqlite3.Connection) -> int:
        counted = representations(connection)
        return sum(counted.get(resource, 0) for resource in self._resources)
