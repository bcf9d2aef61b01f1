"""The files' names lead elsewhere while the database is in use, and somebody else has it open too."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from store.base import Store, StoreError
from store.recovering import Hooks, RecoveringStore
from store.sqlite import SqliteStore
from store.sqlite_files import Files, OpenError
from store.sqlite_opening import Opening
from tests.unit.store.samples import open_store, opening, user, write

A, B = user("a"), user("b")
PAD = b'{"id":"%b","pad":"' + b"x" * 4_000 + b'"}'
MANY = [f"user-{number}" for number in range(40)]

_SHELL = """
import sqlite3, sys
shell = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    shell.execute(statement).fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


@contextmanager
def shell(path: Path, *statements: str) -> Iterator[None]:
    """Another process that has the database open, or reads it, meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", _SHELL, str(path), *statements], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"open\n"
            yield
        finally:
            process.kill()


READING = ("BEGIN", "SELECT count(*) FROM users")
IDLE = ("SELECT count(*) FROM users",)


class Told:
    """A store that notes what its hooks are told."""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self.fails: StoreError | None = None
        hooks = Hooks(
            on_opened=lambda _why, _set_aside: self.said.append("opened"),
            on_failed=self.said.append,
            on_lost=lambda loss, _why: self.said.append(loss),
            remember=self.remember,
            bring_back=self.bring_back,
        )
        self.store = RecoveringStore(opening(path), hooks)

    async def remember(self) -> None:
        pass

    async def bring_back(self, _database: Store) -> None:
        if self.fails is not None:
            raise self.fails


def whole(path: Path) -> set[str]:
    """Who has a row, of a database in which SQLite finds no fault."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        assert reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {row[0] for row in reader.execute("SELECT user_id FROM users")}


async def fill(store: SqliteStore | RecoveringStore, names: list[str]) -> None:
    await store.put_many([write(name, PAD % name.encode()) for name in names])


@pytest.mark.parametrize("names", [("-wal",), ("-shm",), ("-wal", "-shm")])
@pytest.mark.parametrize("statements", [READING, IDLE])
async def test_a_log_that_is_deleted_while_somebody_reads_loses_nothing(
    path: Path, names: tuple[str, ...], statements: tuple[str, ...]
) -> None:
    told = Told(path)
    await told.store.look(0.0)
    await fill(told.store, MANY)
    with shell(path, *statements):
        await fill(told.store, ["late"])
        await told.store.change(user(MANY[0]), local={"department_id": "d"})
        for name in names:
            Path(f"{path}{name}").unlink()
        await told.store.look(1.0)
        assert told.said == ["opened", "log", "opened"]
        await fill(told.store, ["later"])
        assert whole(path) == {*MANY, "late", "later"}
        found = await told.store.get_many([user(MANY[0])])
        assert found[user(MANY[0])].local == {"department_id": "d"}
    await told.store.close()
    assert whole(path) == {*MANY, "late", "later"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(path.parent.glob("*.rescued*"))


async def test_nor_does_it_when_the_process_ends_then(path: Path) -> None:
    store = await open_store(path)
    await fill(store, MANY)
    with shell(path, *READING):
        await fill(store, ["late"])
        Path(f"{path}-wal").unlink()
        await store.close()
        assert whole(path) == {*MANY, "late"}


async def test_without_room_for_a_copy_it_is_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_connection: sqlite3.Connection, _path: Path) -> None:
        raise OSError(28, "secret")

    monkeypatch.setattr("store.sqlite_pragmas._copy", full)
    told = Told(path)
    await told.store.look(0.0)
    await fill(told.store, MANY)
    with shell(path, *READING):
        await fill(told.store, ["late"])
        Path(f"{path}-wal").unlink()
        await told.store.look(1.0)
    assert told.said == ["opened", "log", "opened"]
    assert whole(path) == set()
    assert Path(f"{path}.set-aside").exists()
    assert not list(path.parent.glob("*.rescued*"))
    await told.store.close()


@pytest.mark.parametrize("statements", [READING, IDLE])
async def test_one_that_is_put_in_its_place_does_not_get_its_log(
    path: Path, statements: tuple[str, ...]
) -> None:
    other = await open_store(path.with_name("backup.db"))
    await fill(other, [f"old-{number}" for number in range(40)])
    await other.close()
    told = Told(path)
    await told.store.look(0.0)
    await fill(told.store, MANY)
    with shell(path, *statements):
        await fill(told.store, ["late"])
        path.with_name("backup.db").rename(path)
        await told.store.look(1.0)
        assert told.said == ["opened", "deleted", "opened"]
        assert whole(path) == {f"old-{number}" for number in range(40)}
    await told.store.close()


async def test_nobody_gets_the_lock_between_two_attempts(path: Path) -> None:
    told = Told(path)
    await told.store.look(0.0)
    path.unlink()
    Path(f"{path}-wal").unlink()
    Path(f"{path}-wal").mkdir()
    await told.store.look(1.0)
    assert told.store.current is None
    with pytest.raises(OpenError, match="in use by another process"):
        Files(path)
    Path(f"{path}-wal").rmdir()
    told.fails = StoreError("adopt: SQLITE_FULL")
    await told.store.look(100.0)
    assert told.said[-1] == "bring back: adopt: SQLITE_FULL"
    with pytest.raises(OpenError, match="in use by another process"):
        Files(path)
    await told.store.close()
    Files(path).release()


async def test_what_can_be_read_is_read_although_it_can_not_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(path)
    await told.store.look(0.0)
    await told.store.put_many([write("a")])

    def refuse(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")

    async def refused(_opening: Opening, _files: Files) -> SqliteStore:
        raise StoreError("check: SQLITE_IOERR_WRITE")

    assert told.store.current is not None
    await told.store.current._connections[1].run(refuse)
    with monkeypatch.context() as patched:
        patched.setattr(Opening, "beside", refused)
        for second in range(9):
            with pytest.raises(StoreError, match="READONLY"):
                await told.store.check()
            await told.store.look(float(second))
            assert A in await told.store.get_many([A])
    assert told.said[1:] == ["check: SQLITE_IOERR_WRITE"] * 3, "at 2, 3 and 5 s: more and more seldom"
    await told.store.look(100.0)
    assert told.said[-2:] == ["unusable", "opened"]
    await told.store.put_many([write("b")])
    assert set(await told.store.get_many([A, B])) == {A, B}
    await told.store.close()
    Files(path).release()


async def test_a_suspect_that_can_not_be_verified_is_opened_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(path)
    await told.store.look(0.0)
    await told.store.put_many([write("a")])
    store = told.store.current
    assert store is not None

    async def fails() -> bool:
        store.last_failure = "SQLITE_IOERR_READ"
        raise StoreError("verify: SQLITE_IOERR_READ")

    monkeypatch.setattr(store, "verify", fails)
    store.is_suspect = True
    for second in range(3):
        assert not told.store.is_there
        await told.store.look(float(second))
    assert told.said == ["opened", "unusable", "opened"]
    assert A in await told.store.get_many([A])
    await told.store.close()


async def test_a_name_that_can_not_be_looked_up_is_no_loss(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_path: Path | int) -> None:
        raise OSError(5, "secret")

    told = Told(path)
    await told.store.look(0.0)
    with monkeypatch.context() as patched:
        patched.setattr("store.sqlite_files._identity", fails)
        await told.store.look(1.0)
    assert told.said == ["opened"]
    await told.store.close()


async def test_files_are_not_looked_at_in_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that hangs must not hold up who needs no database."""
    from store import sqlite_files  # noqa: PLC0415 - what is replaced below

    here = threading.get_ident()
    looked: list[int] = []
    identity = sqlite_files._identity

    def noted(path: Path | int) -> tuple[int, int] | None:
        looked.append(threading.get_ident())
        return identity(path)

    monkeypatch.setattr(sqlite_files, "_identity", noted)
    told = Told(path)
    await told.store.look(0.0)
    await told.store.look(1.0)
    path.unlink()
    await told.store.look(2.0)
    assert looked
    assert here not in looked
    await told.store.close()


async def test_another_process_that_has_the_lock_costs_nobody_his_locks(path: Path) -> None:
    """Closing a descriptor of the file would let go those that SQLite has on it."""
    store = await open_store(path)
    descriptor = store.files._database
    lock = Path(f"{path}.lock")
    lock.unlink()
    other = Files(path.with_name("other.db"))
    Path(f"{other.path}.lock").rename(lock)
    assert await store.displaced() == "taken"
    assert store.files._database == descriptor
    os.fstat(descriptor)
    other.release()
    await store.close()


async def test_behind_a_link_all_files_are_where_the_database_is(path: Path) -> None:
    volume = path.parent / "volume"
    volume.mkdir()
    path.symlink_to(volume / "real.db")
    store = await open_store(path)
    await store.put_many([write("a")])
    assert store.files.log_size() > 0
    Path(f"{volume / 'real.db'}-wal").unlink()
    assert await store.displaced() == "log"
    await store.close()
    (volume / "real.db").write_bytes(b"no database" * 1000)
    opened = await opening(path).open()
    assert opened.store is not None
    await opened.store.close()
    assert path.is_symlink()
    assert (volume / "real.db.set-aside").read_bytes().startswith(b"no database")
    assert {name.name for name in path.parent.iterdir()} == {path.name, "volume"}
