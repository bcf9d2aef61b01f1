"""What the tests of tracing have in common: a receiver of spans, and an upstream of users."""

from collections.abc import AsyncIterator

import pytest

from proxy.demo.services import Services
from tests.integration.otlp import Receiver, receiving
from tests.integration.people import services


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def upstream() -> AsyncIterator[Services]:
    async with services() as one:
        yield one
