"""The Dockerfile, as far as it can be judged without building it; `make test-image` builds and runs it."""

import re
import subprocess
from pathlib import Path

from tests.needed import tool

PROJECT = Path(__file__).parents[2]


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [tool("hadolint"), "--no-color", "Dockerfile"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_both_stages_are_on_one_base_that_is_pinned_by_digest() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    assert re.search(
        r"^ARG PYTHON_IMAGE=docker\.io/library/python:\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE
    )
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2


def test_what_it_copies_is_let_through_by_the_ignore_file() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignore = (PROJECT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!").removesuffix("/**") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert copied == let_through
