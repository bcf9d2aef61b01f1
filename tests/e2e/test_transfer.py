"""Export and import as a person runs them: pipes, signals, and a proxy that serves beside them."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.demo.services import Services
from tests.e2e.process import PATIENCE, serving

pytestmark = pytest.mark.e2e


def _settings(directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
        "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
    }


def _start(directory: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "proxy.cli", *arguments],
        env=_settings(directory),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )


def _run(directory: Path, *arguments: str, given: bytes = b"") -> tuple[int, bytes, str]:
    with _start(directory, *arguments) as process:
        out, err = process.communicate(given, timeout=PATIENCE)
    return process.returncode, out, err.decode()


def _lines(count: int) -> bytes:
    return b"".join(
        b'{"resource":"user","externalId":"u%d","item":{"id":"u%d","n":"%s"}}\n'
        % (number, number, b"x" * 200)
        for number in range(count)
    )


async def test_a_store_moves_while_it_is_served_and_answers_as_before(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    ids = [f"u{number}" for number in range(50)]
    services = Services()
    services.users.update({one: json.dumps({"id": one}).encode() for one in ids})
    await services.start()
    try:
        async with serving(services.url, old) as proxy:
            answered = await proxy.users(*ids)
            async with asyncio.timeout(PATIENCE), proxy.client("ops") as ops:
                while b'stored_entities{resource="user"} 50.0' not in (await ops.get("/metrics")).body:
                    pass
            code, out, err = await asyncio.to_thread(_run, old, "export", str(tmp_path / "rows"))
            assert (code, out) == (0, b""), err
            assert err.startswith("exported 50 rows in ")
            code, _, err = await asyncio.to_thread(_run, old, "import", str(tmp_path / "rows"))
            assert code == 1
            assert "in use by another process: stop `handshake-proxy serve` first" in err
            assert await proxy.terminate() == 0
        code, _, err = await asyncio.to_thread(_run, new, "import", str(tmp_path / "rows"))
        assert code == 0, err
        assert err.startswith("imported 50 rows (added 50, updated 0, renamed 0, replaced 0) in ")
        services.forget()
        async with serving(services.url, new) as proxy:
            again = await proxy.users(*ids)
            assert again.body == answered.body
            assert again.field("cache-status").startswith("handshake-proxy; hit")
            assert not services.calls
    finally:
        await services.stop()


@pytest.mark.slow
def test_an_import_that_waits_for_its_pipe_ends_with_the_signal(tmp_path: Path) -> None:
    with _start(tmp_path, "import", "-") as process:
        assert process.stdin is not None
        process.stdin.write(_lines(1))
        process.stdin.flush()
        lock = tmp_path / "handshake.db-wal"
        while not lock.exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"stopped: imported 0 rows so far\n"
    assert _run(tmp_path, "import", "-", given=_lines(1))[0] == 0


@pytest.mark.slow
def test_an_export_ends_with_its_reader_and_with_a_signal(tmp_path: Path) -> None:
    code, _, err = _run(tmp_path, "import", "-", given=_lines(3_000))
    assert code == 0, err
    for end, expected in (("close", (1, b"")), ("signal", (130, b"stopped: exported 0 rows so far\n"))):
        with _start(tmp_path, "export") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1) == b"{"
            if end == "close":
                process.stdout.close()
            else:
                process.send_signal(signal.SIGINT)
            code = process.wait(timeout=PATIENCE)
            assert (code, process.stderr.read()) == expected
    assert len(_run(tmp_path, "export", "-")[1].splitlines()) == 3_000


def test_a_bad_line_is_told_without_what_it_says(tmp_path: Path) -> None:
    given = _lines(2) + b'{"resource":"user","externalId":"secret","email":"secret@example.org"}\n'
    code, out, err = _run(tmp_path, "import", "-", given=given)
    assert (code, out) == (1, b"")
    assert err.startswith("line 3: email: is not known\nThe lines before it are imported (2 rows).")
    assert "secret" not in err
    connection = sqlite3.connect(tmp_path / "handshake.db")
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
    connection.close()
