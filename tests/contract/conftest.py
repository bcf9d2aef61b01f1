"""The engines that the contract of `store.base.Store` is tested with. One joins by an entry in `ENGINES`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from store.base import Store
from tests.unit.store.samples import open_store

Opener = Callable[[], Awaitable[Store]]


def sqlite(directory: Path) -> Opener:
    async def opener() -> Store:
        return await open_store(directory / "contract.db")

    return opener


ENGINES = {"sqlite": sqlite}


@pytest.fixture(params=list(ENGINES))
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return ENGINES[request.param](tmp_path)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    opened = await opener()
    yield opened
    await opened.close()
