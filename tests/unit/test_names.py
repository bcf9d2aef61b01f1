"""The names of the packages are common words: each has to be this project's own."""

import importlib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["proxy", "store", "config"])
def test_a_package_is_the_one_of_this_project(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__ is not None, f"{name} is no package with an __init__.py"
    assert Path(package.__file__).resolve() == PROJECT / name / "__init__.py"
    assert [Path(path).resolve() for path in package.__path__] == [PROJECT / name]


def test_the_program_knows_its_version() -> None:
    assert importlib.import_module("proxy").__version__
