"""The demo as a person runs it: a process of its own, its output and its exit status."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.e2e

DEMO = (sys.executable, "-m", "proxy.cli", "demo")
PATIENCE = 30.0


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_the_story_is_told_and_ends_well() -> None:
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = _lines(done.stdout)
    assert max(len(line) for line in lines) <= 80
    assert not any("…" in line or "\x1b" in line for line in lines)
    for row in (
        r" 1 First login +user-01 +200 +upstream +1 id +[\d.]+ ms",
        r" 2 Returning login +user-01 +200 +cache +- +[\d.]+ ms",
        r" 3 Business switch +biz-02 +200 +upstream +1 id +[\d.]+ ms",
        r" 6 Bulk read, all +20 users +200 +cache 8, upstream 12 +12 ids +[\d.]+ ms",
        r" 7 Herd of 50 +user-21, 50 times +200 +upstream +1 id +[\d.]+ ms",
        r" 8 Proxy restart +20 users +200 +cache +- +[\d.]+ ms",
        r" 9 Upstream outage +20 users +200 +cache +- +[\d.]+ ms",
        r" +user-24 +503 +no answer to give +- +[\d.]+ ms",
        r"10 25 h later +20 users +200 +stale copy +- +[\d.]+ ms",
        r"11 Recovery +user-24 +200 +upstream +1 id +[\d.]+ ms",
    ):
        assert any(re.fullmatch(row, line) for line in lines), row
    assert "hit ratio" in done.stdout
    assert lines[-1] == "Every answer was checked, and each is as it should be."


@pytest.mark.slow
def test_an_output_that_is_not_utf_8_is_no_obstacle() -> None:
    environment = {"PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    done = subprocess.run(DEMO, capture_output=True, timeout=PATIENCE, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"####" in done.stdout


@pytest.mark.slow
def test_a_wrong_outcome_is_said_and_ends_badly() -> None:
    # Without the business switch, what follows it is not held.
    program = (
        "import sys; from proxy.demo import story;"
        "story.STEPS = [step for step in story.STEPS if step.name != 'Business switch'];"
        "sys.exit(story.play(keep=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert _lines(done.stdout)[-2:] == [
        "Not everything is as it should be:",
        "  The same again: business biz-02: source should be cache, is upstream",
    ]


def test_it_leaves_no_files_behind_when_it_is_ended(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (143, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_keep_leaves_it_running_until_told(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *DEMO, "--keep", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            assert process.stdout is not None
            told = b""
            while b"Ctrl-C" not in told:
                told += await process.stdout.readline()
            found = re.search(r"curl -si (http://\S+/main/api/v3/users/bulk) -H .* -d '(.*)'", told.decode())
            assert found is not None
            async with aiohttp.ClientSession() as client:
                async with client.post(
                    found[1], data=found[2], headers={"content-type": "application/json"}
                ) as answer:
                    assert answer.status == 200
                    assert (await answer.json())["count"] == 2
                page = re.search(r"in a browser: (http://\S+/)", told.decode())
                assert page is not None
                async with client.get(page[1]) as answer:
                    assert (answer.status, answer.content_type) == (200, "text/html")
            process.send_signal(number)
            rest, errors = await process.communicate()
        assert (process.returncode, rest, errors) == (0, b"", b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
