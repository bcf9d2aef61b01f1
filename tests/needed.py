"""What a test needs and a machine may lack: skipped with the reason, except in CI, where it fails."""

import os
import shutil
import sysconfig
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip, but never where a skip would go unseen."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str, how: str = "install requirements/dev.txt") -> str:
    """The path of a program, from beside this Python or from the system; `how` says how to get it."""
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    return shutil.which(name, path=places) or missing(f"{name} is missing: {how}")
