"""What holds for every test."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Properties are judged by what they say, never by how long they take.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(autouse=True)
def _goes_on_being_measured() -> Iterator[None]:
    """Input that nests deeply ends in a RecursionError, and one within coverage's own function makes Python call that no
    more: what runs after it would count as not tested."""
    trace = sys.gettrace()
    yield
    if sys.gettrace() is not trace:
        sys.settrace(trace)
