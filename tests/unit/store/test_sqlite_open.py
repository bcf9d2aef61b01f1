"""Opening whatever there is: corrupt, newer, in use, or nowhere to be had."""

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import aiosqlite
import pytest

from store import migrations
from store.base import StoreError
from store.sqlite import SqliteStore
from store.sqlite_files import Files, OpenError, error_name
from tests.unit.store.samples import open_store, opening, user, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


async def opened(path: Path) -> tuple[SqliteStore | None, str | None]:
    store, why, _, files = await opening(path).open()
    if files is not None:
        files.release()
    return store, why


async def filled(path: Path) -> None:
    store = await open_store(path)
    await store.put_many([write(str(number), b"x" * 500) for number in range(100)])
    await store.close()


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def aside(path: Path) -> Path:
    return path.with_name(path.name + ".set-aside")


async def test_to_open_what_is_up_to_date_writes_nothing(path: Path) -> None:
    """Who waits for the program to be ready does not wait for a disk."""
    await filled(path)
    before = path.read_bytes()
    store, why = await opened(path)
    assert store is not None, why
    try:
        assert path.with_name(path.name + "-wal").stat().st_size == 0
    finally:
        await store.close()
    assert path.read_bytes() == before


async def is_fresh(path: Path, why: str) -> None:
    """Opening sets the file aside for that reason and goes on with a new one."""
    before = path.read_bytes()
    store, said = await opened(path)
    assert store is not None
    assert said is not None
    assert why in said
    assert "renamed to handshake.db.set-aside" in said
    # Not to the byte: steps before the one that failed stay.
    assert aside(path).stat().st_size >= len(before)
    assert stat.S_IMODE(aside(path).stat().st_mode) == 0o600
    assert await store.get_many([user("1")]) == {}
    await store.put_many([write("1")])
    await store.close()


async def test_a_good_database_is_just_opened(path: Path) -> None:
    await filled(path)
    store, why = await opened(path)
    assert store is not None
    assert why is None
    assert user("1") in await store.get_many([user("1")])
    await store.close()
    assert not aside(path).exists()


async def test_what_is_no_database_is_set_aside(path: Path) -> None:
    path.write_bytes(b"this is a text file, and long enough to be looked at\n" * 100)
    await is_fresh(path, "SQLITE_NOTADB")


async def test_a_malformed_database_is_set_aside(path: Path) -> None:
    await filled(path)
    content = bytearray(path.read_bytes())
    content[100:1500] = b"\xff" * 1400
    path.write_bytes(content)
    await is_fresh(path, "SQLITE_CORRUPT")


async def test_a_database_cut_off_is_set_aside(path: Path) -> None:
    await filled(path)
    path.write_bytes(path.read_bytes()[:8192])
    await is_fresh(path, "SQLITE_CORRUPT")


async def test_a_newer_database_is_set_aside(path: Path) -> None:
    await filled(path)
    alter(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('handshake-proxy', '9999_future', '')",
    )
    with pytest.raises(StoreError, match=r"newer than the program \(it has 9999_future\)$"):
        await open_store(path)
    await is_fresh(path, "newer than the program")


async def test_a_migration_of_somebody_else_does_not_matter(path: Path) -> None:
    await filled(path)
    alter(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('other', '9999_future', '')",
    )
    await (await open_store(path)).close()


@pytest.mark.parametrize("error", [KeyError("x"), sqlite3.OperationalError("no such table: x")])
async def test_a_failed_migration_is_undone_and_the_file_set_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await filled(path)
    calls: list[str] = []

    def step(db: object) -> None:
        calls.append("step")
        if len(calls) == 1:
            db.execute("CREATE TABLE half_done (x)")  # type: ignore[attr-defined]
            raise error

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, ("0002_fails", step)))
    store, why = await opened(path)
    assert store is not None
    assert why is not None
    assert why.startswith(f"migrate: {error_name(error)}; the file was renamed")
    await store.close()
    with closing(sqlite3.connect(aside(path))) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert "half_done" not in tables
        assert "users" in tables
    # The new database has both steps: nothing is left to do.
    await (await open_store(path)).close()
    assert calls == ["step", "step"]


async def test_a_table_of_another_shape_is_set_aside(path: Path) -> None:
    alter(path, "CREATE TABLE users (x)")
    await is_fresh(path, "migrate: SQLITE_ERROR")


async def test_at_most_one_database_is_kept_aside(path: Path) -> None:
    path.write_bytes(b"first" * 1000)
    for companion in ("-wal", "-shm"):
        Path(f"{aside(path)}{companion}").write_bytes(b"of an older one")
    await is_fresh(path, "SQLITE_NOTADB")
    path.write_bytes(b"second" * 1000)
    await is_fresh(path, "SQLITE_NOTADB")
    assert aside(path).read_bytes() == b"second" * 1000
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        f"{path.name}.lock",
        aside(path).name,
    }


async def test_one_process_at_a_time(path: Path) -> None:
    store = await open_store(path)
    with pytest.raises(StoreError, match="in use by another process"):
        await open_store(path)
    assert await opened(path) == (None, "open: the database is in use by another process")
    await store.close()
    assert not aside(path).exists()
    await (await open_store(path)).close()


async def test_without_a_directory_it_is_done_without(tmp_path: Path) -> None:
    assert await opened(tmp_path / "missing" / "x.db") == (None, "open: No such file or directory")


async def test_a_directory_in_its_place_is_done_without(path: Path) -> None:
    path.mkdir()
    assert await opened(path) == (None, "open: Is a directory")


async def test_below_a_file_it_is_done_without(path: Path) -> None:
    path.write_bytes(b"")
    assert await opened(path / "x.db") == (None, "open: Not a directory")


async def test_a_read_only_directory_is_done_without() -> None:
    """Root may write anywhere, so that it becomes nobody for this."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)
        is_root = os.geteuid() == 0
        try:
            if is_root:
                os.seteuid(65534)
            assert await opened(directory / "x.db") == (None, "open: Permission denied")
        finally:
            if is_root:
                os.seteuid(0)
            directory.chmod(0o700)


async def test_a_locked_file_is_not_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.sqlite_pragmas.BUSY_TIMEOUT_MS", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN EXCLUSIVE")
        shell.execute("CREATE TABLE x (y)")
        assert await opened(path) == (None, "open: SQLITE_BUSY")
    assert not aside(path).exists()


async def test_a_full_disk_at_opening_is_not_the_files_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_connection: sqlite3.Connection, _tables: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("store.sqlite_pragmas.prepare", full)
    assert await opened(path) == (None, "open: No space left on device")


async def test_what_can_not_be_set_aside_is_done_without(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    aside(path).mkdir()
    store, why = await opened(path)
    assert store is None
    assert why is not None
    assert why.startswith("open: SQLITE_NOTADB; set aside: ")


async def test_an_opening_that_fails_again_is_done_without(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"no database" * 1000)
    set_aside = Files.set_aside

    def and_break(files: Files) -> Path:
        renamed = set_aside(files)
        files.path.unlink()
        files.path.mkdir()
        return renamed

    monkeypatch.setattr(Files, "set_aside", and_break)
    assert await opened(path) == (None, "open: SQLITE_NOTADB; then open: Is a directory")


async def test_a_bug_while_opening_is_not_swallowed_and_leaves_nothing_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(_connection: sqlite3.Connection, _tables: object) -> None:
        raise KeyError("bug")

    with monkeypatch.context() as patched:
        patched.setattr("store.sqlite_pragmas.prepare", bug)
        with pytest.raises(KeyError):
            await opened(path)
    await (await open_store(path)).close()


def test_errors_are_named_without_their_text() -> None:
    assert error_name(OSError("secret")) == "OSError"
    assert error_name(sqlite3.ProgrammingError("secret")) == "ProgrammingError"
    assert OpenError("x", "corrupt").failure == "corrupt"


def test_the_driver_still_has_what_the_writer_relies_on() -> None:
    assert hasattr(aiosqlite.Connection, "_execute")
    assert isinstance(aiosqlite.Connection._conn, property)
