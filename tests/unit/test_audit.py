"""`make audit` never takes silence for health: what pip-audit said, and what came of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from supply import audit

GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "unknown", "version": "3", "skip_reason": "Dependency not found"}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock.txt"


def stand_in(directory: Path, said: str, code: int) -> str:
    """A pip-audit that says this, and what it was told."""
    (directory / "said").write_text(said)
    program = directory / "pip-audit"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {directory}/told\ncat {directory}/said\necho "a (b" >&2\nexit {code}\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("releases", "options", "code", "printed"),
    [
        ([GOOD], [], 0, "1 of 1 releases were looked up, 0 have"),
        ([GOOD], ["--if-reachable"], 0, "1 of 1"),
        ([GOOD, BAD], [], 1, "bad 2: PYSEC-1, fixed in: 2.1"),
        ([GOOD, BAD, UNKNOWN], ["--if-reachable"], 1, "bad 2: PYSEC-1"),
        ([GOOD, UNKNOWN], [], 3, "nothing is known of unknown"),
        ([GOOD, UNKNOWN], ["--if-reachable"], 3, "nothing is known of unknown"),
        ([UNKNOWN], [], 3, "nothing is known of any of them"),
        ([UNKNOWN], ["--if-reachable"], 0, "NOT DONE"),
        ([], [], 3, "nothing is known"),
    ],
)
def test_what_came_of_it(
    lock: Path,
    releases: list[dict[str, Any]],
    options: list[str],
    code: int,
    printed: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = stand_in(lock.parent, json.dumps({"dependencies": releases}), 1)
    assert audit.main([str(lock), "--program", program, *options]) == code
    output = capsys.readouterr()
    assert printed in output.out + output.err
    told = (lock.parent / "told").read_text()
    assert f"--requirement {lock}" in told
    assert "--require-hashes" in told


@pytest.mark.parametrize(("options", "code"), [([], 3), (["--if-reachable"], 0)])
def test_a_service_that_does_not_end_is_no_clean_lock(
    lock: Path,
    options: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = lock.parent / "pip-audit"
    program.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    program.chmod(0o755)
    monkeypatch.setattr(audit, "_PATIENCE", 0.05)
    assert audit.main([str(lock), "--program", str(program), *options]) == code
    assert "pypi did not answer" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "code"), [([], 3), (["--if-reachable"], 0)])
def test_a_service_that_does_not_answer_is_no_clean_lock(
    lock: Path, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stand_in(lock.parent, "", 1)
    assert audit.main([str(lock), "--program", program, "--service", "osv", *options]) == code
    assert "osv could not be asked: a" in capsys.readouterr().err
    assert "--vulnerability-service osv" in (lock.parent / "told").read_text()
