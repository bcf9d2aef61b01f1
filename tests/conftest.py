"""Properties are judged by what they say, never by how long they take. CI has the time to try four times as many."""

import gc
import os

import pytest
from hypothesis import settings

EXAMPLES = 100 if os.environ.get("CI") else 25

settings.register_profile("project", deadline=None, max_examples=EXAMPLES)
settings.register_profile("deep", deadline=None, max_examples=2 * EXAMPLES)
"""For what has many states."""
settings.load_profile("project")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected lives to the end: the garbage collector need not go through it in each full collection."""
    gc.collect()
    gc.freeze()
