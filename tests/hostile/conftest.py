"""What is hostile is tried with the fast lane and without it."""

from collections.abc import Iterator

import pytest

from tests.integration import transcript


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where copies are what an attack is about, also on a developer's machine; elsewhere in CI."""
    transcript.twice(metafunc, {"test_poisoning"})


@pytest.fixture(autouse=True)
def lane(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether the proxies have the lane; True where nobody has said."""
    yield from transcript.compared(request)
