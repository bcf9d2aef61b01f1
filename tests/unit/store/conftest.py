"""A tiered store over a database that a test holds by the hand."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.store.fakes import Database, World


@pytest.fixture
async def database() -> Database:
    return Database()


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database)
    await made.store.start()
    yield made
    database.may_write.set()
    await made.store.close()
