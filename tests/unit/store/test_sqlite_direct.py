"""Reads in the thread that asks: quick ones, and none that anybody would have to wait for."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from store.entry import Entry, Key
from store.sqlite_direct import MAX_KEYS, DirectReader
from store.sqlite_files import Files, SuspectError
from tests.unit.store.samples import entry, open_store, user, write

A, B = user("a"), user("b")
ROWS = {A: entry(A)}


class Clock:
    """Monotonic seconds that a test moves by hand; each read of the rows takes `takes` of them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes = 0.0
        self.error: Exception | None = None
        self.reads = 0

    def __call__(self) -> float:
        return self.now

    def read(self, _keys: Sequence[Key], _connection: sqlite3.Connection) -> dict[Key, Entry]:
        self.reads += 1
        self.now += self.takes
        if self.error is not None:
            raise self.error
        return dict(ROWS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(clock: Clock, tmp_path: Path) -> Iterator[DirectReader]:
    files = Files(tmp_path / "handshake.db")
    with closing(DirectReader(files, clock.read, monotonic=clock)) as made:
        yield made
    files.release()


def test_a_few_rows_are_read_at_once(reader: DirectReader) -> None:
    assert reader.get([A, B]) == ROWS


def test_many_are_for_somebody_who_can_wait(reader: DirectReader, clock: Clock) -> None:
    keys = [user(str(number)) for number in range(MAX_KEYS + 1)]
    assert reader.get(keys[:MAX_KEYS]) == ROWS
    assert reader.get(keys) is None
    assert clock.reads == 1


def test_after_some_slow_reads_nothing_is_read_for_fifty_times_as_long(
    reader: DirectReader, clock: Clock
) -> None:
    clock.takes = 0.05
    assert reader.get([A]) == ROWS, "it has been read"
    clock.takes = 0.0
    for wait in (0.0, 0.25, 0.24):
        clock.now += wait
        assert reader.get([A]) is None
    clock.now += 0.02
    assert reader.get([A]) == ROWS
    assert clock.reads == 2


@pytest.mark.parametrize("takes", [0.003, 0.01, 0.02])
def test_a_slow_read_now_and_then_is_let_pass(takes: float, reader: DirectReader, clock: Clock) -> None:
    for _ in range(20):
        clock.takes = takes
        assert reader.get([A]) == ROWS
        clock.takes = 0.0
        assert reader.get([A]) == ROWS
        clock.now += 1.0


@pytest.mark.parametrize("takes", [0.003, 0.01, 0.2])
def test_a_slow_disk_has_a_fiftieth_of_the_time(takes: float, reader: DirectReader, clock: Clock) -> None:
    clock.takes = takes
    began = clock.now
    while clock.now - began < 100.0:
        reader.get([A])
        clock.now += 0.001
    assert 1.9 <= clock.reads * takes <= 2.0 + 0.04 + takes


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database is locked"), SuspectError()])
def test_what_fails_is_left_to_the_thread_for_a_while(
    error: Exception, reader: DirectReader, clock: Clock
) -> None:
    clock.error = error
    assert reader.get([A]) is None
    clock.error = None
    assert reader.get([A]) is None
    clock.now += 0.11
    assert reader.get([A]) == ROWS


async def test_a_store_reads_so_what_is_committed_and_waits_for_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "handshake.db"
    store = await open_store(path)
    try:
        assert store.get_now([A]) == {}
        stored = await store.put_many([write("a")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert store.get_now([A, B]) == stored == await store.get_many([A, B])
        store.is_suspect = True
        assert store.get_now([A]) is None
        store.is_suspect = False
        store.is_damaged = True
        assert store.get_now([A]) is None
        store.is_damaged = False
    finally:
        await store.close()
    assert store.get_now([A]) is None


async def test_it_can_write_nothing(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "handshake.db")
    try:
        assert store._direct is not None
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store._direct._connection.execute("CREATE TABLE t (x)")
    finally:
        await store.close()
