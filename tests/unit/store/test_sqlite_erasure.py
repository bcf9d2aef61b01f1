"""Erased is erased: what can be found in the files afterwards, and what happens when it can't be done at once."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from string import ascii_lowercase, digits

import pytest

from store import sqlite_erasure
from store.base import StoreError
from store.entry import Write
from store.sqlite import SqliteStore
from store.sqlite_erasure import needles_of
from store.sqlite_files import Files
from store.sqlite_pragmas import rewrite
from tests.unit.store.samples import NOW, derive, entry, open_store, user, write

A, B = user("erased-entity"), user("b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


@pytest.fixture
def rewrites(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each rewrite that an erasure wanted."""
    done: list[int] = []

    def counted(connection: sqlite3.Connection) -> None:
        done.append(1)
        rewrite(connection)

    monkeypatch.setattr(sqlite_erasure, "rewrite", counted)
    return done


def content(path: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as person:
        (version,) = person.execute("PRAGMA user_version").fetchone()
        return int(version)


class Population:
    """Rows with distinctive values, stored and refreshed in random order, as years of use would leave them."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self.ids = [self.text(14) for _ in range(1_500)]
        self.values: dict[str, list[bytes]] = {}

    def text(self, length: int) -> str:
        return "".join(self._random.choices(ascii_lowercase + digits, k=length))

    def _write(self, identity: str) -> Write:
        name, note = (
            self.text(self._random.randint(10, 20)),
            self.text(self._random.choice((10, 50, 200, 900))),
        )
        item = f'{{"id":"{identity}","name":"{name}","note":"{note}"}}'.encode()
        internal_id = derive(user(identity), 0)
        self.values[identity] = [identity.encode(), internal_id.encode(), name.encode(), note.encode(), item]
        return write(identity, item, name=name, synced=NOW + self._random.random())

    async def fill(self, store: SqliteStore) -> None:
        for _ in range(2):
            self._random.shuffle(self.ids)
            for start in range(0, len(self.ids), 50):
                await store.put_many([self._write(identity) for identity in self.ids[start : start + 50]])

    def found(self, identities: list[str], where: bytes) -> list[str]:
        return [name for name in identities if any(value in where for value in self.values[name])]


@pytest.mark.parametrize("together", [1, pytest.param(5, marks=pytest.mark.slow)])
async def test_no_file_has_a_plain_byte_of_what_was_erased(
    path: Path, rewrites: list[int], together: int
) -> None:
    population = Population()
    store = await open_store(path)
    try:
        await population.fill(store)
        gone = population.ids[:250]
        for start in range(0, 250, together):
            batch = gone[start : start + together]
            await store.erase_many([user(identity) for identity in batch])
            assert population.found(batch, content(path)) == []
        where = content(path)
        assert population.found(gone, where) == []
        assert population.found(population.ids, where) == population.ids[250:]
        # Overwriting alone would not have done, and a rewrite each time would have been for nothing.
        assert 0 < len(rewrites) < 250 / together / 4
    finally:
        await store.close()


async def test_all_that_a_row_can_have_is_looked_for(path: Path) -> None:
    store = await open_store(path)
    try:
        item = (
            r'{"id":"x", "n\"k":{"name" :["Caf\"\u00e9","Élan Vital", -12345.678e9, 17]}, "b":true}'.encode()
        )
        headers = ((b"etag", b'"quoted\xff"'), (b"x", b"plain value"))
        sent = entry(A, item, headers=headers, source_version="version-77")
        await store.put_many([Write(sent, {"name": "Column Name", "email": None})])
        await store.change(A, local={"department_id": "department-9", "is_field_worker": 123456})
        erase = partial(store._tables["user"].erase, external_id=A.id)
        needles = needles_of(A.id, await store._writer.submit(erase))
    finally:
        await store.close()
    values = [A.id, derive(A, 0), "Column Name", "version-77", "department-9", "123456", "plain value"]
    values += [r"\"quoted\u00ff\"", r"Caf\"\u00e9", "Élan Vital", "-12345.678e9"]
    assert needles == {
        piece
        for value in map(str.encode, values)
        for piece in (*(value[at : at + 8] for at in range(0, len(value) - 8, 8)), value[-8:])
    }


def test_a_key_without_a_row_is_looked_for_by_its_id() -> None:
    assert needles_of("1", None) == {b"1"}
    assert needles_of("", None) == set()
    assert needles_of("12345678", None) == {b"12345678"}
    assert needles_of("123456789", None) == {b"12345678", b"23456789"}
    assert needles_of("1", (None, None, None, b"ab", None, b"abc")) == {b"1", b"abc"}


async def test_too_many_values_to_look_for_are_one_rewrite(path: Path, rewrites: list[int]) -> None:
    store = await open_store(path)
    try:
        keys = [user(f"entity-{number}") for number in range(300)]
        await store.put_many([write(key.id) for key in keys])
        await store.erase_many(keys)
        assert len(rewrites) == 1
        await store.put_many([write("a-single-one")])
        await store.erase_many([user("a-single-one")])
        assert len(rewrites) == 1
    finally:
        await store.close()


async def test_a_copy_that_was_set_aside_goes_too(path: Path) -> None:
    for companion in ("", "-wal", "-shm"):
        Path(f"{path}.set-aside{companion}").write_bytes(A.id.encode())
    store = await open_store(path)
    try:
        await store.put_many([write("b")])
        await store.erase_many([A])
        assert {file.name for file in path.parent.iterdir()} == {
            f"{path.name}{companion}" for companion in ("", "-wal", "-shm", ".lock")
        }
    finally:
        await store.close()


@pytest.fixture
def shell(path: Path) -> Iterator[sqlite3.Connection]:
    """A person's, who reads and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def read(shell: sqlite3.Connection) -> None:
    shell.execute("BEGIN")
    shell.execute("SELECT count(*) FROM users").fetchall()


@pytest.mark.parametrize("again", ["prune", "erase"])
async def test_what_a_reader_holds_back_is_tried_again(
    path: Path, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    monkeypatch.setattr(sqlite_erasure, "_READERS_WAIT_MS", 0)
    told: list[tuple[str, bool]] = []
    store = await open_store(path, on_operation=lambda name, _seconds, ok: told.append((name, ok)))
    try:
        await store.put_many([write(A.id), write("b")])
        read(shell)
        with pytest.raises(StoreError, match=r"^erase: somebody reads"):
            await store.erase_many([A])
        assert set(await store.get_many([A, B])) == {B}
        assert A.id.encode() in content(path)
        # What else goes on is not held up by it.
        assert await store.prune(older_than=0) == 0
        assert await store.put_many([write("c")])
        assert told.count(("erase", False)) == 2
        shell.execute("ROLLBACK")
        if again == "prune":
            await store.prune(older_than=0)
        else:
            await store.erase_many([user("c")])
        assert A.id.encode() not in content(path)
        assert told.count(("erase", True)) == 1
        told.clear()
        await store.prune(older_than=0)
        assert told == [("prune", True)]
    finally:
        await store.close()


async def test_a_copy_that_can_not_be_removed_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_files: Files) -> None:
        raise PermissionError(1, "secret")

    aside = Path(f"{path}.set-aside")
    aside.write_bytes(A.id.encode())
    store = await open_store(path)
    try:
        await store.put_many([write(A.id)])
        with monkeypatch.context() as patched:
            patched.setattr(Files, "remove_set_aside", refused)
            with pytest.raises(StoreError, match=r"^erase: Operation not permitted$"):
                await store.erase_many([A])
        assert await store.get_many([A]) == {}
        assert aside.exists()
        await store.prune(older_than=0)
        assert not aside.exists()
    finally:
        await store.close()


async def test_a_directory_of_that_name_is_left_alone(path: Path) -> None:
    aside = Path(f"{path}.set-aside")
    aside.mkdir()
    store = await open_store(path)
    try:
        await store.put_many([write(A.id)])
        await store.erase_many([A])
        assert aside.is_dir()
    finally:
        await store.close()


async def test_a_rewrite_that_fails_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_connection: sqlite3.Connection) -> None:
        raise OSError(28, "secret")

    store = await open_store(path)
    try:
        keys = [user(f"entity-{number}") for number in range(300)]
        await store.put_many([write(key.id) for key in keys])
        with monkeypatch.context() as patched:
            patched.setattr(sqlite_erasure, "rewrite", full)
            with pytest.raises(StoreError, match=r"^erase: No space left on device$"):
                await store.erase_many(keys)
            await store.prune(older_than=0)
        assert version_of(path) == 2
        await store.prune(older_than=0)
        assert version_of(path) == 0
    finally:
        await store.close()


async def test_an_erasure_that_a_crash_cut_short_is_finished_at_the_next_opening(
    path: Path, rewrites: list[int]
) -> None:
    Path(f"{path}.set-aside").write_bytes(A.id.encode())
    store = await open_store(path)
    await store.put_many([write(A.id)])
    await store._writer.submit(partial(store._erase, [A]))
    await store.close()
    assert version_of(path) == 2
    for _ in range(2):
        await (await open_store(path)).close()
        assert len(rewrites) == 1
        assert version_of(path) == 0
        assert A.id.encode() not in content(path)


async def test_an_erasure_that_fails_erases_nothing(path: Path) -> None:
    store = await open_store(path)
    try:
        before = await store.put_many([write(A.id), write("b")])
        writer = store._connections[1]
        await writer.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
        with pytest.raises(StoreError, match=r"^erase: SQLITE_READONLY$"):
            await store.erase_many([A, B])
        await writer.run(lambda connection: connection.execute("PRAGMA query_only = OFF"))
        with pytest.raises(StoreError, match=r"^erase: UnicodeEncodeError$"):
            await store.erase_many([A, user("\ud800")])
        assert await store.get_many([A, B]) == before
        await store.erase_many([A, B])
        assert await store.get_many([A, B]) == {}
    finally:
        await store.close()


async def test_a_row_that_a_person_has_broken_can_be_erased(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write(A.id)])
        with closing(sqlite3.connect(path)) as person, person:
            person.execute(
                "UPDATE users SET id = CAST(x'ff' AS TEXT), last_synced_at = 'yesterday', headers = 'no json',"
                " name = x'00ff'"
            )
        with pytest.raises(StoreError):
            await store.get_many([A])
        await store.erase_many([A])
        assert await store.get_many([A]) == {}
    finally:
        await store.close()


async def test_those_who_erase_at_the_same_time_are_all_served(path: Path) -> None:
    store = await open_store(path)
    try:
        keys = [user(f"entity-{number}") for number in range(40)]
        await store.put_many([write(key.id) for key in keys])
        for key in keys[:20]:
            await store.erase_many([key])
        assert b"entity-7" not in content(path)
        assert set(await store.get_many(keys)) == set(keys[20:])
    finally:
        await store.close()
