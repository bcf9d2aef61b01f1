"""Replicas' stores on one database, and a person at its shell."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from store.postgres.store import PostgresStore
from tests.postgres.fixtures import database, postgres, relay
from tests.postgres.server import Database
from tests.shared.replicas import Person
from tests.unit.store.samples import open_shared

__all__ = ["database", "postgres", "relay"]


@pytest.fixture
async def replicas(database: Database) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two of them."""
    async with AsyncExitStack() as stack:
        both = (await open_shared(database.url), await open_shared(database.url))
        for store in both:
            stack.push_async_callback(store.close)
        yield both


@pytest.fixture
async def person(database: Database) -> AsyncIterator[Person]:
    connection: Person = await asyncpg.connect(database.url)
    yield connection
    await connection.close()
