"""The fixtures of a real PostgreSQL. A package of tests has them by importing their names in its conftest.py."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.postgres.relay import Relay
from tests.postgres.server import Database, Server, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server of all tests of this process: whoever stops it, or changes its settings, has `own_postgres`."""
    with running() as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    """An empty one."""
    with postgres.database() as one:
        yield one


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Server]:
    """A server that the tests of a module stop and start as they like; each leaves it running."""
    with running() as server:
        yield server


@pytest.fixture
async def relay(postgres: Server) -> AsyncIterator[Relay]:
    """In front of the server, and well until the test says otherwise."""
    async with Relay(postgres.port) as one:
        yield one
