"""`make image` with stand-ins for the engines: which is taken, and what it is told."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ENGINES = ("docker", "podman", "buildah")
# `info` ends with the status that the file `<engine>.info` holds, `build` tells what it was given.
STAND_IN = """#!/bin/sh
case $1 in
  info) exit "$(cat "$0.info")" ;;
  build) echo "$(basename "$0") format=$BUILDAH_FORMAT $*"; exit "$(cat "$0.build")" ;;
esac
"""


class Engines:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def install(self, name: str, *, works: bool = True, build: int = 0) -> None:
        program = self.directory / name
        program.write_text(STAND_IN)
        program.chmod(0o755)
        program.with_name(f"{name}.info").write_text("0" if works else "1")
        program.with_name(f"{name}.build").write_text(str(build))

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        environment["PATH"] = f"{self.directory}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            ["make", "--no-print-directory", "image", *arguments],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    """None works: a machine's own engines are hidden behind stand-ins."""
    engines = Engines(tmp_path)
    for name in ENGINES:
        engines.install(name, works=False)
    return engines


@pytest.mark.parametrize("name", ENGINES)
def test_the_engine_that_works_builds(engines: Engines, name: str) -> None:
    engines.install(name)
    done = engines.make()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{name} format=docker build ")


def test_the_first_that_works_is_taken_unless_one_is_named(engines: Engines) -> None:
    engines.install("podman")
    engines.install("buildah")
    assert "podman format=docker build " in engines.make().stdout
    assert "buildah format=docker build " in engines.make("BUILDER=buildah").stdout


def test_when_none_works_it_says_so(engines: Engines) -> None:
    done = engines.make()
    assert done.returncode != 0
    assert "none of docker podman buildah is installed and works" in done.stderr


def test_a_build_that_fails_is_not_tried_with_another_engine(engines: Engines) -> None:
    engines.install("podman", build=3)
    engines.install("buildah")
    done = engines.make()
    assert done.returncode != 0
    assert "buildah format" not in done.stdout


def test_the_build_is_told_what_it_is_and_what_the_user_wants(engines: Engines) -> None:
    engines.install("docker")
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    plain = engines.make().stdout
    assert f"--tag handshake-proxy:{version} " in plain
    assert f"--build-arg VERSION={version} " in plain
    assert re.search(r"--build-arg REVISION=([0-9a-f]{40}(-dirty)?|unknown) ", plain)
    assert re.search(r"--build-arg CREATED=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", plain)
    assert "PYTHON_IMAGE" not in plain
    told = engines.make("IMAGE=r.example/p:1", "PYTHON_IMAGE=base@sha256:0", "BUILD_ARGS=--pull-never").stdout
    assert "--tag r.example/p:1 " in told
    assert "--build-arg PYTHON_IMAGE=base@sha256:0 --pull-never ." in told
