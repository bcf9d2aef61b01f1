"""The engines that the contract of `store.base.Store` is tested with. One joins by an entry in `ENGINES`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from store.base import Store
from tests.postgres.fixtures import database, postgres
from tests.postgres.server import Database
from tests.unit.store.samples import open_shared, open_store

__all__ = ["database", "postgres"]

Opener = Callable[[], Awaitable[Store]]


def sqlite(request: pytest.FixtureRequest) -> Opener:
    directory: Path = request.getfixturevalue("tmp_path")

    async def opener() -> Store:
        return await open_store(directory / "contract.db")

    return opener


def postgresql(request: pytest.FixtureRequest) -> Opener:
    one: Database = request.getfixturevalue("database")

    async def opener() -> Store:
        return await open_shared(one.url)

    return opener


ENGINES = {"sqlite": sqlite, "postgresql": postgresql}


@pytest.fixture(params=list(ENGINES))
def opener(request: pytest.FixtureRequest) -> Opener:
    return ENGINES[request.param](request)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    opened = await opener()
    yield opened
    await opened.close()
