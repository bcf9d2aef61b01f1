"""The database is sound and can't be had: locked, full, read-only. It is never set aside, and works again by itself."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.store_faults import Stored, hurry, locked, stored
from tests.integration.handshake import USER, user_item
from tests.needed import missing, tool


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def mount(*arguments: str) -> None:
    done = subprocess.run(
        [tool("mount", "it is part of util-linux"), *arguments], check=False, capture_output=True
    )
    if done.returncode:
        missing(f"nothing can be mounted here: {done.stderr.decode().strip()}")


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of 2 MiB in the directory, in memory."""
    if os.geteuid() != 0:
        missing("only root can mount a small file system")
    directory.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory))
    try:
        yield
    finally:
        subprocess.run([tool("umount"), "-l", str(directory)], check=True)


def fill(filler: Path) -> None:
    """Leave no block to anybody else."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for _ in range(2**21 // 4096 + 1):
            file.write(bytes(4096))
    free = os.statvfs(filler.parent).f_bavail
    assert free == 0


async def goes_on(here: Stored, user: object, *, new: str) -> None:
    """What is known is answered; who is new gets no id, but is answered where no id is shown."""
    here.there.services.users[new] = user_item(new)
    refused = await here.there.call("POST", "/v1/users/ensure", {"userId": new})
    assert (refused.status, "store" in refused.json()["detail"]) == (500, True)
    assert await here.there.ensure() == user
    answer = await here.there.proxy.users(new, USER)
    assert answer.status == 200
    assert answer.body.count(b'"id"') == 2
    assert here.degraded


async def heals(here: Stored, *, new: str) -> None:
    """By itself, without a request; what could not be written is written then."""
    await here.until(lambda: not here.degraded)
    await here.there.proxy.durable()
    assert here.rows(new) == 1
    assert here.there.services.fetched[new] == 1
    assert not here.logged("store_set_aside")
    assert not here.aside.exists()
    await here.works("newer")


async def test_locked_by_another_process_in_use(tmp_path: Path) -> None:
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        with locked(here.path):
            await goes_on(here, user, new="new")
            assert here.logged("store_failed", why="SQLITE_BUSY") >= 1
            assert here.metric("store_errors_total", operation="put") >= 1
            refused = await here.there.call("DELETE", f"/v1/users/{user['id']}")
            assert refused.status == 500
        await heals(here, new="new")
        assert not here.logged("store_lost")


async def test_locked_by_another_process_at_the_start(tmp_path: Path) -> None:
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        await here.there.proxy.app.stop()
        here.lines.clear()
        with locked(here.path) as unlock:
            async with here.there.restarted() as again:
                here.there = again
                assert here.logged("store_degraded", why="migrate: SQLITE_BUSY", log_level="error") == 1
                assert (await again.proxy.users(USER)).status == 200
                assert (await again.login()).status == 500
                assert here.degraded
                unlock()
                await here.healed(openings=1)
                assert not here.logged("store_set_aside")
                assert (await again.ensure())["id"] == user["id"]


async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data"):
        async with stored(tmp_path) as here:
            user = await here.there.ensure()
            filler = here.directory / "filler"
            fill(filler)
            here.there.services.users |= {
                f"large-{n}": user_item(f"large-{n}", extra="x" * 90_000) for n in range(9)
            }
            await here.there.proxy.users(*(f"large-{n}" for n in range(9)))
            await here.until(lambda: here.metric("store_errors_total", operation="put") > 0)
            await goes_on(here, user, new="new")
            assert here.logged("store_failed", why="SQLITE_FULL") >= 1
            filler.unlink()
            await heals(here, new="new")
            assert not here.logged("store_lost")


async def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data"):
        filler = tmp_path / "data" / "filler"
        fill(filler)
        async with stored(tmp_path) as here:
            assert here.logged("store_degraded", log_level="error") == 1
            assert (await here.there.proxy.users(USER)).status == 200
            assert (await here.there.login()).status == 500
            filler.unlink()
            await here.healed(openings=1)
            assert not here.logged("store_set_aside")
            assert (await here.there.login()).status == 200


async def test_a_disk_that_can_only_be_read_at_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data"):
        async with stored(tmp_path) as here:
            user = await here.there.ensure()
            await here.there.proxy.app.stop()
            here.lines.clear()
            mount("-o", "remount,ro", str(here.directory))
            async with here.there.restarted() as again:
                here.there = again
                assert here.logged("store_degraded", why="open: Read-only file system") == 1
                assert (await again.proxy.users(USER)).status == 200
                assert (await again.login()).status == 500
                mount("-o", "remount,rw", str(here.directory))
                await here.healed(openings=1)
                assert not here.logged("store_set_aside")
                assert (await again.ensure())["id"] == user["id"]


async def test_a_connection_that_can_not_write_any_more_is_replaced(tmp_path: Path) -> None:
    """As after a file system became read-only and writable again: root's files can't be made so under a process that
    has them open, so that SQLite is told to refuse."""
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        database = here.there.proxy.app._storage.current
        assert database is not None
        await database._writer._connection.run(lambda opened: opened.execute("PRAGMA query_only = ON"))
        here.there.services.users["new"] = user_item("new")
        assert (await here.there.proxy.users("new")).status == 200
        await here.healed()
        assert here.logged("store_failed", why="SQLITE_READONLY") >= 1
        assert here.logged("store_lost", loss="unusable") == 1
        assert here.metric("store_lost_total", reason="unusable") == 1
        await heals(here, new="new")
        assert await here.there.ensure() == user


async def test_another_process_that_has_taken_the_database_keeps_it(tmp_path: Path) -> None:
    """Somebody deleted the lock file, and another process was quicker to make it again: one gives way."""
    async with stored(tmp_path) as here:
        await here.there.ensure()
        with here.taken():
            await here.until(lambda: here.logged("store_lost", loss="taken") == 1)
            tiers = here.there.proxy.app._storage.tiers
            assert not tiers.memory.keys(), "who knows what the other one does with it"
            await here.until(lambda: here.logged("store_degraded") == 1)
            assert here.logged("store_degraded", why="open: the database is in use by another process") == 1
            assert (await here.there.proxy.users(USER)).status == 200
        await here.healed()
        assert not here.logged("store_set_aside")
        await here.works("new")
