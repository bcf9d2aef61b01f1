"""Messages of owners: whichever replica takes one, it counts for all of them."""

import asyncio
import time

from store.effects import Applied, Delivery, Effect, Forget, Keep, Replace
from store.entry import Entry, Key, Write
from store.postgres.store import PostgresStore
from tests.postgres.server import Database
from tests.shared.replicas import A, B, granted, item, leased, put
from tests.unit.store.samples import NOW, entry, user

Two = tuple[PostgresStore, PostgresStore]
SHOP = Key("other", "a")


async def apply(store: PostgresStore, effect: Effect, name: str = "m", key: Key = A) -> Applied:
    return await store.apply(key, lambda _held: effect, Delivery(name, NOW, 900.0))


def new(text: bytes = b"{}") -> Replace:
    return Replace(Write(entry(A, text, source_version="2"), {}))


async def test_a_message_counts_once_whoever_takes_it(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None))
    assert (await apply(one, Forget("2"))).effect == Forget("2")
    assert await apply(other, Forget("2")) == Applied(None)
    both = await asyncio.gather(*(apply(store, Forget("3"), "m2") for store in replicas))
    assert sorted(str(applied.effect) for applied in both) == sorted([str(Forget("3")), "None"])


async def test_the_others_hear_of_what_has_changed(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None), leased("b", None))
    begun = await other.changes_begin()
    await apply(one, Keep(), "m1", B)
    await apply(one, new(), "m2")
    await apply(one, Forget(), "m3")
    await apply(one, Forget(), "m3")
    await apply(one, Keep(), "m4", SHOP)
    await apply(one, Forget(), "m5", user("\ud800"))
    news = await other.changes_since(begun)
    assert [(change.key, change.kind) for change in news.changes if change.kind != "changed"] == [
        (B, "invalidated"),
        (A, "invalidated"),
        (A, "invalidated"),
        (SHOP, "invalidated"),
    ]


async def test_what_was_fetched_before_is_not_stored_after(replicas: Two) -> None:
    one, other = replicas
    assert await granted(other, 7, A) == {A}
    await put(one, leased("a", None, b'{"v":1}'))
    await granted(other, 8, A)
    await apply(one, new(b'{"v":2}'))
    assert await put(other, leased("a", 8, b'{"v":1}')) == set()
    assert await item(one, A) == b'{"v":2}'


async def test_what_changes_nothing_takes_no_lease_away(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None, b'{"v":1}'))
    await granted(other, 8, A)
    await apply(one, Keep())
    assert await put(other, leased("a", 8, b'{"v":2}')) == {A}


async def test_messages_and_writes_of_the_same_entities_wait_for_each_other(replicas: Two) -> None:
    """Many at a time, in every order: none of them fails, and no row goes back."""
    one, other = replicas
    await put(one, leased("a", None, b"0"))

    def more(held: Entry | None) -> Effect:
        assert held is not None
        return new(b"%d" % (int(held.item or b"") + 1))

    async def messages(store: PostgresStore, side: str) -> None:
        for number in range(15):
            await store.apply(A, more, Delivery(f"{side}{number}", NOW, 900.0))

    async def writes(store: PostgresStore) -> None:
        for token in range(100, 115):
            await granted(store, token, A, B, is_forced=True)
            await put(store, leased("b", token))
            await store.release_many([A], token)

    await asyncio.gather(messages(one, "x"), messages(other, "y"), writes(one), writes(other))
    assert await item(one, A) == b"30"


async def test_what_is_remembered_no_longer_is_taken_away(replicas: Two, database: Database) -> None:
    one, _ = replicas
    for number in range(5):
        await one.apply(A, lambda _held: Keep(), Delivery(f"m{number}", NOW, -1.0))
    await apply(one, Keep(), "last")
    assert database.sql("SELECT id FROM handshake_proxy.deliveries") == ["last"]


async def test_a_row_says_when_an_event_has_named_its_version(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None))
    await apply(one, Forget("2"))
    row = (await other.get_many([A]))[A]
    assert row.source_version == "2"
    assert abs(row.received_at - time.time()) < 60
