"""What was set aside: one set, for its owner's eyes, for seven days, and nothing of what was to be erased."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from store.sqlite_files import ERASURE_DUE, SET_ASIDE_FOR, Files
from tests.unit.store.samples import NOW, open_store, opening, user, write


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.set-aside*"))


def set_aside(path: Path, clock: Clock) -> Files:
    """Files of which a set was made a long time ago, and set aside now."""
    for name in (path, Path(f"{path}-wal")):
        name.write_bytes(b"unusable")
        name.chmod(0o644)
        os.utime(name, (NOW - 1e8, NOW - 1e8))
    files = Files(path, clock=clock)
    files.set_aside()
    return files


def test_it_is_kept_for_seven_days_from_when_it_was_set_aside(path: Path) -> None:
    clock = Clock()
    files = set_aside(path, clock)
    assert [name.name for name in aside(path)] == ["handshake.db.set-aside", "handshake.db.set-aside-wal"]
    assert {stat.S_IMODE(name.stat().st_mode) for name in aside(path)} == {0o600}
    for elapsed, is_gone in ((0.0, False), (SET_ASIDE_FOR - 1, False), (SET_ASIDE_FOR, True)):
        clock.now = NOW + elapsed
        assert files.expire_set_aside() == is_gone
    assert aside(path) == []
    assert not files.expire_set_aside()
    files.release()


def test_a_clock_that_is_set_back_makes_it_neither_early_nor_eternal(path: Path) -> None:
    clock = Clock()
    files = set_aside(path, clock)
    clock.now = NOW - 1e7
    assert not files.expire_set_aside()
    clock.now += SET_ASIDE_FOR - 1
    assert not files.expire_set_aside()
    clock.now += 1
    assert files.expire_set_aside()
    assert aside(path) == []
    files.release()


async def test_it_goes_at_a_start_and_by_housekeeping(path: Path) -> None:
    clock = Clock()
    set_aside(path, clock).release()
    path.unlink()
    clock.now += SET_ASIDE_FOR
    opened = await opening(path, clock=clock).open()
    assert opened.store is not None
    assert aside(path) == []
    opened.store._files.set_aside()
    assert len(aside(path)) == 3
    await opened.store.expire_set_aside()
    assert len(aside(path)) == 3
    clock.now += SET_ASIDE_FOR
    await opened.store.expire_set_aside()
    assert aside(path) == []
    await opened.store.close()


async def test_what_can_not_be_removed_does_not_stop_the_start(path: Path) -> None:
    clock = Clock()
    directory = path.with_name(path.name + ".set-aside")
    (directory / "x").mkdir(parents=True)
    os.utime(directory, (NOW, NOW))
    clock.now += SET_ASIDE_FOR
    opened = await opening(path, clock=clock).open()
    assert opened.store is not None
    await opened.store.expire_set_aside()
    assert directory.exists()
    await opened.store.close()


async def test_a_damaged_file_that_may_have_erased_rows_is_not_kept(path: Path) -> None:
    store = await open_store(path)
    await store.put_many([write("a")])
    await store.close()
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("PRAGMA journal_mode = DELETE").fetchall()
        shell.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('handshake-proxy', '9', '')"
        )
        shell.execute(f"PRAGMA user_version = {ERASURE_DUE}")
    opened = await opening(path).open()
    assert opened.store is not None
    assert (opened.set_aside, aside(path)) == ("newer", [])
    assert opened.why is not None
    assert opened.why.endswith("the file was deleted, for erased rows may have been in it")
    assert not await opened.store.get_many([user("a")])
    await opened.store.close()


async def test_what_the_process_knows_to_be_due_counts_as_well(path: Path) -> None:
    await (await open_store(path)).close()
    opened = await opening(path).open(damaged="in use: SQLITE_CORRUPT", is_erasure_due=True)
    assert opened.store is not None
    assert (opened.set_aside, aside(path)) == ("corrupt", [])
    await opened.store.close()


async def test_the_lock_is_held_from_one_attempt_to_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"no database" * 1000)
    tried: list[str | None] = []
    original = Files.set_aside

    def interrupted(files: Files) -> Path:
        renamed = original(files)
        with pytest.raises(Exception, match="in use by another process"):
            Files(path)
        tried.append(renamed.name)
        return renamed

    monkeypatch.setattr(Files, "set_aside", interrupted)
    opened = await opening(path).open()
    assert opened.store is not None
    assert tried == ["handshake.db.set-aside"]
    await opened.store.close()
