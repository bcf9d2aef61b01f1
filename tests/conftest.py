"""Properties are judged by what they say, never by how long they take. CI has the time to try four times as many."""

import gc
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

EXAMPLES = 100 if os.environ.get("CI") else 25

settings.register_profile("project", deadline=None, max_examples=EXAMPLES)
settings.register_profile("deep", deadline=None, max_examples=2 * EXAMPLES)
"""For what has many states."""
settings.load_profile("project")

MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a directory of its own in it
ROOM = 4 * 2**30
"""Bytes. What the tests write is less than a tenth of it; a container's usual 64 MiB would not do."""

# Each database is synced to the disk, which takes a developer's run a fifth of its time. CI has a real disk below it.
if not os.environ.get("CI") and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected lives to the end: the garbage collector need not go through it in each full collection."""
    gc.collect()
    gc.freeze()
