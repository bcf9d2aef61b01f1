"""What the tests of tracing have in common: a receiver of spans, and an upstream of users. And the fast lane, with
which the tests of the transparent listener run, and without."""

from collections.abc import AsyncIterator, Iterator

import pytest

from proxy.demo.services import Services
from tests.integration import transcript
from tests.integration.otlp import Receiver, receiving
from tests.integration.people import services


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where single hits are what a module is about, also on a developer's machine; elsewhere in CI."""
    transcript.twice(metafunc, {"test_single"})


@pytest.fixture(autouse=True)
def lane(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether the proxies have the lane; True where nobody has said."""
    yield from transcript.compared(request)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def upstream() -> AsyncIterator[Services]:
    async with services() as one:
        yield one
