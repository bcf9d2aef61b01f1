"""Kills at moments that random load seldom meets: the first opening, an import, the setting aside of a database."""

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from proxy.demo.services import Services
from tests.crash.files import copied
from tests.e2e.process import PATIENCE, serving
from tests.integration.handshake import internal_id

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]
BATCH = 10_000
"""Rows that an import writes at a time."""
ROWS = 2 * BATCH
MOST_LOOKS = 60
"""At the process, each of a fraction of a millisecond, before it is killed."""


def started(directory: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    settings = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
        "HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_OPS__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
    }
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "proxy.cli", *arguments],
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def killed_after_opening(process: "subprocess.Popen[bytes]", name: str, chance: random.Random) -> bool:
    """Kill it some moments after it has that file open; whether it was running still."""
    watched = psutil.Process(process.pid)
    with process:
        is_running = wait_for(process, lambda: any(file.path.endswith(name) for file in watched.open_files()))
        for _ in range(chance.randrange(MOST_LOOKS)):
            is_running = is_running and process.poll() is None and bool(watched.open_files())
        process.kill()
    return is_running


def wait_for(process: "subprocess.Popen[bytes]", has_happened: Callable[[], bool]) -> bool:
    """Look each millisecond whether it has; False if the process ends before."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.001)
            return False
        with suppress(psutil.Error):  # it has just ended
            if has_happened():
                return True


def count(database: Path) -> int:
    """The users of a database that has to be whole."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'users'").fetchone():
            return 0
        rows = connection.execute("SELECT id, user_id, item FROM users").fetchall()
    for identity, user, item in rows:
        assert identity == str(UUID(int=int(user[1:]) + 1))
        assert json.loads(item)["id"] == user
    return len(rows)


async def is_served(directory: Path) -> None:
    """A proxy comes up there, with a database that it keeps."""
    services = Services()
    await services.start()
    try:
        async with serving(services.url, directory) as proxy:
            for user in list(services.users)[:1]:
                shown = await proxy.call("POST", "/v1/users/ensure", {"userId": user})
                assert (shown.status, shown.json()["id"]) == (200, internal_id(user))
            assert await proxy.terminate() == 0
    finally:
        await services.stop()
    assert b"store_degraded" not in (directory / "log").read_bytes()


@pytest.mark.parametrize("seed", range(2))
async def test_a_kill_during_the_first_opening_leaves_what_can_be_opened(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2):  # a new database, then one that has been begun
        assert killed_after_opening(started(tmp_path, "serve"), "handshake.db", chance)
        count(copied(tmp_path, tmp_path / "copy"))
    await is_served(tmp_path)
    assert b"store_set_aside" not in (tmp_path / "log").read_bytes()


def test_a_kill_during_an_import_leaves_whole_batches_and_it_can_be_started_again(tmp_path: Path) -> None:
    chance = random.Random(7)
    lines = tmp_path / "rows"
    with lines.open("w") as file:
        for number in range(ROWS):
            row = {
                "resource": "user",
                "id": str(UUID(int=number + 1)),
                "externalId": f"u{number}",
                "item": {"id": f"u{number}", "name": f"Name {number}", "pad": "x" * 100},
            }
            file.write(json.dumps(row) + "\n")
    store = tmp_path / "store"
    store.mkdir()
    for _ in range(3):
        killed_after_opening(started(store, "import", str(lines)), "handshake.db-wal", chance)
        assert count(copied(store, tmp_path / "copy")) % BATCH == 0
    with started(store, "import", str(lines)) as process:
        assert process.wait(timeout=4 * PATIENCE) == 0
    assert count(copied(store, tmp_path / "copy")) == ROWS


@pytest.mark.parametrize("seed", range(2))
async def test_a_kill_while_a_database_is_set_aside_leaves_what_can_be_opened(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    await is_served(tmp_path)
    database = tmp_path / "handshake.db"
    whole = database.read_bytes()
    database.write_bytes(b"\xff" * 512 + whole[512:])
    killed_after_opening(started(tmp_path, "serve"), "handshake.db", chance)
    await is_served(tmp_path)
    aside = tmp_path / "handshake.db.set-aside"
    assert aside.read_bytes()[:512] == b"\xff" * 512
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
