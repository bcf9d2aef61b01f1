"""The change log: each replica hears of each change of the others, once, whatever order they are committed in."""

import asyncio

import pytest
from msgspec.structs import replace

from store.entry import Key
from store.postgres import changes
from store.postgres.store import PostgresStore
from store.shared import Change, Cursor
from tests.shared.replicas import A, B, Person, leased, put
from tests.unit.store.samples import NOW, entry, user, write

Two = tuple[PostgresStore, PostgresStore]
_LOG = (
    "INSERT INTO handshake_proxy.changes (resource, external_id, kind, origin)"
    " VALUES ('user', $1, 'invalidated', $2)"
)
_SOMEBODY = "00000000-0000-4000-8000-00000000000f"
SHOP = Key("business", "a")


async def test_the_others_hear_of_each_kind_of_change(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None), leased("b", None))
    begun = await other.changes_begin()
    await one.invalidate_many(
        [A, SHOP, Key("other", "x"), A._replace(variant="v"), user("\ud800"), user("n\0l")]
    )
    await one.change(B, local={"department_id": "d"})
    await one.change(B, synced_at=NOW + 1)
    await one.erase_many([B, Key("other", "x")])
    news = await other.changes_since(begun)
    assert not news.is_broken
    assert {(change.key, change.kind) for change in news.changes} == {
        (A, "invalidated"),
        (SHOP, "invalidated"),
        (Key("other", "x"), "invalidated"),
        (user("n\0l"), "invalidated"),
        (B, "changed"),
        (B, "erased"),
        (Key("other", "x"), "erased"),
    }
    assert (await other.changes_since(news.cursor)).changes == []
    assert (await one.changes_since(begun)).changes == [], "nobody hears of itself"


async def test_what_changes_nothing_is_not_told(replicas: Two) -> None:
    one, other = replicas
    begun = await other.changes_begin()
    await put(one, leased("a", None))
    await one.reserve_many([B], at=NOW)
    await one.change(user("c"), local={"department_id": "d"})
    await one.change(A)
    await one.adopt_many([write("new")])
    await one.prune(older_than=NOW - 1)
    assert (await other.changes_since(begun)).changes == []


async def test_imported_rows_that_were_there_are_told_by_both_their_names(replicas: Two) -> None:
    one, other = replicas
    given = "00000000-0000-4000-8000-000000000001"
    renamed = write("a")._replace(entry=replace(entry(A), internal_id=given))
    await one.adopt_many([renamed])
    await put(one, leased("b", None))
    begun = await other.changes_begin()
    await one.adopt_many(
        [write("b", b"newer"), renamed._replace(entry=replace(entry(user("z")), internal_id=given))]
    )
    news = await other.changes_since(begun)
    assert {(change.key.id, change.kind) for change in news.changes} == {(name, "changed") for name in "abz"}


async def test_a_change_that_is_committed_late_is_heard_once(replicas: Two, person: Person) -> None:
    """It got its number before changes that were heard long since."""
    one, other = replicas
    late = person.transaction()
    await late.start()
    await person.execute(_LOG, "late", _SOMEBODY)
    begun = await other.changes_begin()
    await one.invalidate_many([A])
    first = await other.changes_since(begun)
    assert [change.key for change in first.changes] == [A]
    await one.invalidate_many([B])
    second = await other.changes_since(first.cursor)
    assert [change.key for change in second.changes] == [B]
    await late.commit()
    third = await other.changes_since(second.cursor)
    assert third.changes == [Change(user("late"), "invalidated")]
    assert (await other.changes_since(third.cursor)).changes == []


async def test_what_was_not_committed_is_never_heard(replicas: Two, person: Person) -> None:
    one, other = replicas
    undone = person.transaction()
    await undone.start()
    await person.execute(_LOG, "undone", _SOMEBODY)
    begun = await other.changes_begin()
    await undone.rollback()
    await one.invalidate_many([A])
    assert [change.key for change in (await other.changes_since(begun)).changes] == [A]


async def test_each_is_heard_once_while_many_write(replicas: Two) -> None:
    one, other = replicas
    cursor = await other.changes_begin()
    heard: list[str] = []
    writing = [
        asyncio.create_task(one.invalidate_many([user(f"{number}-{turn}")]))
        for turn in range(10)
        for number in range(12)
    ]
    while not all(task.done() for task in writing):
        news = await other.changes_since(cursor)
        cursor = news.cursor
        heard += [change.key.id for change in news.changes]
    await asyncio.gather(*writing)
    heard += [change.key.id for change in (await other.changes_since(cursor)).changes]
    assert sorted(heard) == sorted(f"{number}-{turn}" for turn in range(10) for number in range(12))


async def test_a_log_that_was_pruned_past_a_replica_is_broken_for_it(
    replicas: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = replicas
    behind = await other.changes_begin()
    await one.invalidate_many([A])
    heard = (await other.changes_since(behind)).cursor
    monkeypatch.setattr(changes, "KEPT", 0.0)
    await one.prune(older_than=NOW - 1)
    news = await other.changes_since(behind)
    assert (news.is_broken, news.changes) == (True, ())
    assert not (await other.changes_since(news.cursor)).is_broken
    assert not (await other.changes_since(heard)).is_broken, "who had read it has lost nothing"


@pytest.mark.parametrize("how", ["DELETE FROM", "TRUNCATE"])
async def test_a_log_that_a_person_has_emptied_is_broken_too(replicas: Two, person: Person, how: str) -> None:
    one, other = replicas
    behind = await other.changes_begin()
    await one.invalidate_many([A])
    await person.execute(f"{how} handshake_proxy.changes")
    news = await other.changes_since(behind)
    assert news.is_broken
    await one.invalidate_many([B])
    assert [change.key for change in (await other.changes_since(news.cursor)).changes] == [B]


async def test_to_take_nothing_away_breaks_nothing(replicas: Two, person: Person) -> None:
    one, other = replicas
    behind = await other.changes_begin()
    await one.invalidate_many([A])
    await person.execute("DELETE FROM handshake_proxy.changes WHERE false")
    assert [change.key for change in (await other.changes_since(behind)).changes] == [A]


async def test_a_log_that_is_too_long_to_be_read_is_broken(
    replicas: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = replicas
    monkeypatch.setattr(changes, "MOST", 3)
    begun = await other.changes_begin()
    await one.invalidate_many([user(str(number)) for number in range(3)])
    whole = await other.changes_since(begun)
    assert len(whole.changes) == 3
    await one.invalidate_many([user(str(number)) for number in range(4)])
    assert (await other.changes_since(whole.cursor)).is_broken


async def test_another_server_or_another_of_its_lives_is_broken(replicas: Two) -> None:
    one, _ = replicas
    begun = await one.changes_begin()
    news = await one.changes_since(Cursor(begun.snapshot, begun.incarnation + "1"))
    assert news.is_broken
    assert news.cursor.incarnation == begun.incarnation


async def test_when_all_is_forgotten_the_log_says_so(replicas: Two) -> None:
    one, other = replicas
    begun = await other.changes_begin()
    await one.invalidate_all()
    assert (await other.changes_since(begun)).is_broken
    assert not (await one.changes_since(begun)).is_broken
