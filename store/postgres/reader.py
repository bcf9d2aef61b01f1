"""A look at the shared database, which changes nothing: for an export, beside replicas of whatever version."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from store.base import StoreError, TableSpec
from store.entry import Entry
from store.postgres.errors import FOREIGN_ERRORS, store_error
from store.postgres.pool import Connection, Pool
from store.postgres.reading import page
from store.postgres.rows import Reader
from store.postgres.schema import check
from store.postgres.statements import TableStatements

T = TypeVar("T")

_WITHIN: Final = 60.0
"""Seconds for a page, or for the count."""


class PostgresReader:
    """Make it with `open`."""

    def __init__(self, pool: Pool, tables: Sequence[TableSpec]) -> None:
        self._pool = pool
        self._tables = {spec.resource: (TableStatements(spec), Reader(spec)) for spec in tables}

    @classmethod
    async def open(cls, url: str, tables: Sequence[TableSpec], *, prepared: bool) -> "PostgresReader":
        """Connect. Raises StoreError, also for a schema of another version."""
        pool = Pool(url, connections=1, prepared=prepared)
        there = await pool.open(partial(check, tables=tables), within=_WITHIN)
        return cls(pool, there)

    @property
    def left_out(self) -> int:
        """How many rows were left out, for they were not what had been put there."""
        return sum(reader.left_out for _, reader in self._tables.values())

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """As `store.base.Store.page`. Raises StoreError."""
        if resource not in self._tables:
            return []
        return await self._run("page", partial(page, table=self._tables[resource], after=after, limit=limit))

    async def count(self) -> int:
        """How many rows have a representation. Raises StoreError."""

        async def work(connection: Connection) -> int:
            counts = [await connection.fetchval(one.held) for one, _ in self._tables.values()]
            return sum(counts)

        return await self._run("count", work)

    async def close(self) -> None:
        """Idempotent."""
        await self._pool.close()

    async def _run(self, operation: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await self._pool.run(work, within=_WITHIN)
        except StoreError:
            raise
        except FOREIGN_ERRORS as error:
            raise store_error(operation, error) from None
