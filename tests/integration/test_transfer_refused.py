"""What stops an import or an export, and what it leaves behind."""

import itertools
import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy import transfer
from proxy.core import json_lines
from proxy.transfer import export_to, import_from
from store.sqlite_files import Files
from tests.integration.lines import configured, user, users, write_lines


@pytest.mark.parametrize("batch", [2, 3, 10])
def test_an_import_stops_at_a_bad_line_and_is_started_again(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "_BATCH_ROWS", batch)
    config = configured(tmp_path)
    lines: list[dict[str, Any] | bytes] = [user("a"), b"", user("b"), b" \r", user("c"), user("")]
    file = write_lines(tmp_path / "in", [*lines, user("d")])
    assert import_from(file, config) == 1
    assert capfd.readouterr().err == (
        "line 6: externalId: must be text of 1 to 1,024 bytes\n"
        "The lines before it are imported (3 rows). Correct it, then the import may be started again: what is there"
        " already is recognized.\n"
    )
    assert set(users(config)) == {"a", "b", "c"}
    write_lines(file, [*lines[:-1], user("corrected"), user("d")])
    assert import_from(file, config) == 0
    assert "imported 5 rows (added 2, updated 3, renamed 0, replaced 0) in " in capfd.readouterr().err
    assert set(users(config)) == {"a", "b", "c", "corrected", "d"}


def test_the_last_line_needs_no_line_feed(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "in").write_text(json.dumps(user("a")))
    assert import_from(tmp_path / "in", config) == 0
    assert set(users(config)) == {"a"}


def test_a_resource_in_memory_has_no_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "in", [{"resource": "place", "externalId": "a"}])
    assert import_from(file, configured(tmp_path)) == 1
    assert capfd.readouterr().err.startswith(
        "line 1: resource: must be one that has storage: database (user, business)\n"
    )


def test_a_line_has_a_bound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, HANDSHAKE_LIMITS__CACHED_RESPONSE="3KiB")
    bound = (4 << 10) + (1 << 20)
    fits = json.dumps(user("a")).encode()
    fits += b" " * (bound - len(fits) - 1)
    file = write_lines(tmp_path / "in", [fits, b" " + fits, user("b")])
    assert import_from(file, config) == 1
    assert capfd.readouterr().err.startswith(
        "line 2: is longer than 1,052,672 bytes (see limits.cached_response)\n"
    )
    assert set(users(config)) == {"a"}


def test_large_rows_are_a_batch_before_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BATCH_BYTES", 1_000)
    config = configured(tmp_path)
    lines = [user(name, item={"id": name, "n": "x" * 600}) for name in "abcde"]
    assert import_from(write_lines(tmp_path / "in", lines), config) == 0
    assert set(users(config)) == set("abcde")


def test_at_the_bound_an_import_says_which_key_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "_BATCH_ROWS", 50)
    lines = [user(f"u-{number}", item={"id": f"u-{number}", "n": "x" * 1_000}) for number in range(500)]
    file = write_lines(tmp_path / "in", lines)
    small = configured(tmp_path, HANDSHAKE_STORE__MAX_BYTES="256KiB")
    assert import_from(file, small) == 1
    told = capfd.readouterr().err
    assert "the database is full: raise store.max_bytes (256KiB now)" in told
    # Nothing that was there made room for it.
    assert set(users(small)) == {f"u-{number}" for number in range(len(users(small)))}
    assert f"{len(users(small)):,} rows are imported, none of the batch that follows them" in told
    assert len(users(small)) % 50 == 0
    assert import_from(file, configured(tmp_path)) == 0
    assert len(users(small)) == 500


def test_a_database_that_another_process_has_is_let_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    file = write_lines(tmp_path / "in", [user("a")])
    other = Files(tmp_path / "handshake.db")
    try:
        assert import_from(file, config) == 1
    finally:
        other.release()
    assert "in use by another process: stop `handshake-proxy serve` first" in capfd.readouterr().err
    assert import_from(file, config) == 0


def test_a_database_that_is_corrupt_is_not_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    (tmp_path / "handshake.db").write_bytes(b"no database" * 1_000)
    file = write_lines(tmp_path / "in", [user("a")])
    for run in (partial(import_from, file), partial(export_to, None)):
        assert run(config) == 1
        assert "open: SQLITE_NOTADB" in capfd.readouterr().err
    assert (tmp_path / "handshake.db").read_bytes().startswith(b"no database")
    assert not list(tmp_path.glob("*.set-aside"))


def test_a_file_that_is_not_there_is_named_and_no_database_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert import_from(tmp_path / "in", configured(tmp_path)) == 1
    assert capfd.readouterr().err == f"{tmp_path / 'in'}: No such file or directory\n"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        where = f"127.0.0.1:{nobody.getsockname()[1]}/proxy"
        config = configured(tmp_path, HANDSHAKE_STORE__URL=f"postgresql://proxy:secret@{where}")
        file = write_lines(tmp_path / "in", [user("a")])
        for run in (partial(import_from, file), partial(export_to, None)):
            assert run(config) == 1
            said = f"postgresql://proxy:***@{where}: open: ConnectionRefusedError (Connection refused)\n"
            assert capfd.readouterr().err == said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_half_written(
    number: signal.Signals,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)  # whoever runs this in the background has it ignored
    config = configured(tmp_path / "store")
    file = write_lines(tmp_path / "in", [user(name) for name in "abcdef"])
    monkeypatch.setattr(transfer, "_BATCH_ROWS", 2)
    monkeypatch.setattr(transfer, "_PAGE_ROWS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "parse", _killing(json_lines.parse, number, at=4))
        assert import_from(file, config) == code
    assert capfd.readouterr().err == "stopped: imported 2 rows so far\n"
    assert set(users(config)) == {"a", "b"}
    assert import_from(file, config) == 0
    assert "(added 4, updated 2," in capfd.readouterr().err
    (tmp_path / "out").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "render", _killing(json_lines.render, number, at=4))
        assert export_to(tmp_path / "out", config) == code
    assert capfd.readouterr().err == "stopped: exported 2 rows so far\n"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "in", "out"}
    assert (tmp_path / "out").read_text() == "old"
    assert signal.getsignal(signal.SIGINT) is before


def _killing(function: Callable[..., Any], number: signal.Signals, *, at: int) -> Callable[..., Any]:
    """The function, but its call number `at` has a signal sent to the process."""
    calls = itertools.count(1)

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), number)
        return function(*arguments, **named)

    return call
