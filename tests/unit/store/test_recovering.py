"""A database that may not be there: when it is tried again, and what happens to who asks meanwhile."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from store.base import Store, StoreError
from store.recovering import MAX_DELAY, Hooks, RecoveringStore
from store.sqlite_files import Files
from tests.unit.store.samples import NOW, opening, user, write

A = user("a")


@dataclass
class Told:
    """What the hooks were told, in order; `fails`: what bringing back raises."""

    said: list[str] = field(default_factory=list)
    fails: BaseException | None = None

    def hooks(self) -> Hooks:
        return Hooks(
            on_opened=lambda _why, set_aside: self.said.append(f"opened {set_aside or ''}".strip()),
            on_failed=self.said.append,
            on_lost=lambda loss, _why: self.said.append(f"lost {loss}"),
            remember=self.remember,
            bring_back=self.bring_back,
        )

    async def remember(self) -> None:
        self.said.append("remember")

    async def bring_back(self, database: Store) -> None:
        self.said.append("bring back")
        await database.check()
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "handshake.db"


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(path: Path, told: Told) -> RecoveringStore:
    path.parent.mkdir()
    return RecoveringStore(opening(path), told.hooks())


async def test_it_is_tried_again_later_and_later_and_at_least_once_a_minute(
    path: Path, store: RecoveringStore, told: Told
) -> None:
    path.parent.rmdir()
    attempts = []
    for second in range(300):
        before = len(told.said)
        await store.look(float(second))
        if len(told.said) > before:
            attempts.append(second)
    assert attempts[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert {later - sooner for sooner, later in pairwise(attempts[6:])} == {int(MAX_DELAY)}
    path.parent.mkdir()
    await store.look(1_000.0)
    assert told.said[-1] == "opened"
    assert store.is_there
    await store.close()


CALLS: dict[str, Callable[[RecoveringStore], Awaitable[object]]] = {
    "get": lambda store: store.get_many([A]),
    "put": lambda store: store.put_many([write("a")]),
    "invalidate": lambda store: store.invalidate_many([A]),
    "invalidate all": lambda store: store.invalidate_all(),
    "find": lambda store: store.find("user", "x"),
    "reserve": lambda store: store.reserve_many([A], at=NOW),
    "change": lambda store: store.change(A, synced_at=NOW),
    "erase": lambda store: store.erase_many([A]),
    "unsynced": lambda store: store.longest_unsynced("user", before=NOW, after=None, limit=1),
    "page": lambda store: store.page("user", after=None, limit=1),
    "adopt": lambda store: store.adopt_many([write("a")]),
    "check": lambda store: store.check(),
    "stats": lambda store: store.stats(at=NOW),
    "prune": lambda store: store.prune(older_than=0.0),
}


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_fails_while_there_is_none_and_works_when_there_is(
    store: RecoveringStore, name: str
) -> None:
    assert store.holds("user")
    assert not store.holds("nobody")
    with pytest.raises(StoreError, match=f"^{name.split(maxsplit=1)[0]}: there is no database$"):
        await CALLS[name](store)
    await store.look(0.0)
    await CALLS[name](store)
    await store.close()
    with pytest.raises(StoreError, match="there is no database"):
        await CALLS[name](store)


async def test_a_lost_one_is_remembered_closed_opened_and_filled_in_this_order(
    path: Path, store: RecoveringStore, told: Told
) -> None:
    await store.look(0.0)
    await store.put_many([write("a")])
    path.unlink()
    await store.look(1.0)
    assert told.said == ["opened", "remember", "lost deleted", "bring back", "opened"]
    assert await store.get_many([A]) == {}
    await store.close()


async def test_one_that_can_not_be_filled_is_not_used(path: Path, store: RecoveringStore, told: Told) -> None:
    await store.look(0.0)
    path.unlink()
    told.fails = StoreError("adopt: SQLITE_FULL")
    await store.look(1.0)
    assert told.said[-1] == "bring back: adopt: SQLITE_FULL"
    assert (store.is_there, store.last_failure) == (False, told.said[-1])
    told.fails = None
    await store.look(2.0)
    assert told.said[-2:] == ["bring back", "opened"]
    await store.close()


async def test_who_is_cancelled_while_it_is_filled_leaves_nothing_open(
    path: Path, store: RecoveringStore, told: Told
) -> None:
    await store.look(0.0)
    path.unlink()
    told.fails = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await store.look(1.0)
    await store.close()
    Files(path).release()


async def test_the_lock_is_held_while_it_is_opened_again(
    path: Path, store: RecoveringStore, told: Told
) -> None:
    await store.look(0.0)
    path.unlink()
    with pytest.raises(StoreError, match="in use by another process"):
        Files(path)
    await store.look(1.0)
    with pytest.raises(StoreError, match="in use by another process"):
        Files(path)
    await store.close()
    Files(path).release()


async def test_a_lock_file_that_was_deleted_is_made_again(
    path: Path, store: RecoveringStore, told: Told
) -> None:
    await store.look(0.0)
    Path(f"{path}.lock").unlink()
    await store.look(1.0)
    assert told.said == ["opened"]
    with pytest.raises(StoreError, match="in use by another process"):
        Files(path)
    await store.close()


async def test_nobody_reads_a_suspect_before_it_is_verified(
    path: Path, store: RecoveringStore, told: Told
) -> None:
    await store.look(0.0)
    await store.put_many([write("a"), write("b")])
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("UPDATE users SET version = 'x' WHERE user_id = 'a'")
    with pytest.raises(StoreError, match="SUSPECT_ROW"):
        await store.get_many([A])
    assert not store.is_there
    with pytest.raises(StoreError, match="there is no database"):
        await store.get_many([user("b")])
    await store.look(1.0)
    assert set(await store.get_many([A, user("b")])) == {user("b")}
    assert told.said == ["opened"]
    await store.close()


async def test_a_lock_is_no_reason_to_open_it_anew(
    path: Path, store: RecoveringStore, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite_pragmas.BUSY_TIMEOUT_MS", 1)
    await store.look(0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            with pytest.raises(StoreError, match="SQLITE_BUSY"):
                await store.check()
            await store.look(1.0)
    await store.check()
    assert told.said == ["opened"]
    await store.close()
