"""What every database behind the memory tier does."""

import asyncio

import pytest
from msgspec.structs import replace

from store.base import Store, StoreError, StoreStats
from store.entry import Key, Write
from tests.contract.conftest import Opener
from tests.contract.helpers import changed, one
from tests.unit.store.samples import NOW, derive, entry, user, write

A, B = user("a"), user("b")
GIVEN = "00000000-0000-4000-8000-000000000001"


async def test_holds_what_it_was_given_tables_for(store: Store) -> None:
    assert store.holds("user")
    assert store.holds("business")
    assert not store.holds("other")


async def test_an_unknown_key_is_not_there(store: Store) -> None:
    assert await store.get_many([A, Key("other", "a")]) == {}
    assert await store.get_many([]) == {}
    assert await store.put_many([]) == {}
    await store.invalidate_many([])


async def test_an_entry_comes_back_as_it_went(store: Store) -> None:
    sent = entry(
        A,
        b'{ "id" :\t"a", "name":"\\u00e9" }',
        received_at=NOW + 0.123456789,
        lifetime=59.9999999,
        initial_age=1 / 3,
        headers=((b"ETag", b'"1"'), (b"x-raw", b"\xff\x7f")),
        source_version="2024-01-01",
        last_synced_at=NOW + 0.123,
    )
    confirmed = (await store.put_many([Write(sent, {"name": "é"})]))[A]
    assert confirmed == sent.confirmed(internal_id=derive(A, 0), version=1)
    assert await store.get_many([A]) == {A: confirmed}


@pytest.mark.parametrize("seconds", [None, 0.0, 1 / 3, 1e300, float("inf")])
@pytest.mark.parametrize("flag", [False, True])
async def test_what_the_origin_allows_comes_back_as_it_went(
    store: Store, seconds: float | None, flag: bool
) -> None:
    ways = (
        {"stale_while_revalidate": seconds, "must_revalidate": flag},
        {"stale_if_error": seconds, "shareable": flag},
    )
    for way in ways:
        confirmed = await store.put_many([Write(replace(entry(A), **way), {})])
        kept = (await store.get_many([A]))[A]
        assert kept == confirmed[A]
        assert {name: getattr(kept, name) for name in way} == way
        assert isinstance(kept.must_revalidate, bool)
        assert isinstance(kept.shareable, bool)


@pytest.mark.parametrize(
    "item",
    [
        b'{ "id" : "a" }\r\n',
        b'{"name":"\\u00e9\\ud83d\\ude00\\/"}',
        '{"name":"é😀"}'.encode(),
        b'{"name":"\xff\xfe"}',
        b"nul\0inside",
        b"\0",
        b"",
        b"\xef\xbb\xbf{}",
        b"12345678901234567890.000",
        bytes(range(256)) * 100,
    ],
)
async def test_item_bytes_are_kept_to_the_last(store: Store, item: bytes) -> None:
    await store.put_many([write("a", item)])
    assert (await store.get_many([A]))[A].item == item
    assert (await store.put_many([write("a", item)]))[A].version == 1


@pytest.mark.parametrize(
    "identity", ["A", "a ", "007", "é", "e\u0301", "😀", "x" * 1024, "a'b\"c;--", "%", "a\nb", "nul\0id"]
)
async def test_ids_are_kept_apart_to_the_last_character(store: Store, identity: str) -> None:
    await store.put_many([write("a", b"1"), write(identity, b"2"), write("7", b"3")])
    found = await store.get_many([user(identity), A])
    assert (found[user(identity)].item, found[A].item) == (b"2", b"1")


async def test_the_internal_id_and_version_follow_the_contract(store: Store) -> None:
    first = (await store.put_many([write("a", b"1")]))[A]
    again = (await store.put_many([write("a", b"1", synced=NOW + 1)]))[A]
    changed = (await store.put_many([write("a", b"2")]))[A]
    assert (first.version, again.version, changed.version) == (1, 1, 2)
    assert {first.internal_id, again.internal_id, changed.internal_id} == {derive(A, 0)}


async def test_the_same_id_of_two_resources_is_two_entities(store: Store) -> None:
    shop = Key("business", "a")
    await store.put_many([write("a", b"user"), Write(entry(shop, b"shop"), {"name": "Shop"})])
    found = await store.get_many([A, shop])
    assert (found[A].item, found[shop].item) == (b"user", b"shop")
    assert found[A].internal_id != found[shop].internal_id


async def test_the_last_of_several_writes_of_a_key_stands(store: Store) -> None:
    confirmed = await store.put_many([write("a", b"1"), write("a", b"2")])
    assert confirmed[A].item == b"2"
    assert (await store.get_many([A]))[A] == confirmed[A]


async def test_an_invalidated_row_is_a_husk_that_can_be_filled_again(store: Store) -> None:
    before = (await store.put_many([write("a", b"1"), write("b", b"1")]))[A]
    await store.invalidate_many([A, user("unknown"), Key("other", "a")])
    await store.invalidate_many([A])
    found = await store.get_many([A, B])
    assert found[B].item == b"1"
    husk = found[A]
    assert (husk.item, husk.absent, husk.headers) == (None, False, ())
    assert (husk.internal_id, husk.version) == (before.internal_id, 1)
    again = (await store.put_many([write("a", b"1")]))[A]
    assert (again.internal_id, again.version) == (before.internal_id, 2)
    assert (await store.get_many([A]))[A].item == b"1"


async def test_a_variant_has_no_row(store: Store) -> None:
    variant = A._replace(variant="v")
    await store.put_many([write("a", b"1")])
    with pytest.raises(ValueError, match="only representations"):
        await store.put_many([Write(entry(variant, b"2"), {})])
    await store.invalidate_many([variant])
    assert await store.get_many([variant]) == {}
    assert (await store.get_many([A, variant]))[A].item == b"1"


async def test_counts_follow_representations(store: Store) -> None:
    async def users() -> int:
        return (await store.stats(at=NOW)).entities["user"]

    assert (await store.stats(at=NOW)).entities == {"user": 0, "business": 0}
    await store.put_many([write("a"), write("b"), write("c")])
    await store.put_many([write("a", b"other")])
    assert await users() == 3
    await store.invalidate_many([A])
    await store.invalidate_many([A])
    assert await users() == 2
    await store.put_many([write("a")])
    assert await users() == 3
    stats = await store.stats(at=NOW)
    assert isinstance(stats, StoreStats)
    assert stats.bytes > 0


async def test_what_is_past_its_freshness_is_counted(store: Store) -> None:
    old = replace(entry(B), initial_age=50.0)
    lasting = replace(entry(Key("user", "c")), lifetime=90.0)
    await store.put_many([write("a"), Write(old, {}), Write(lasting, {}), write("d"), write("e")])
    await store.invalidate_many([Key("user", "d")])
    await store.erase_many([Key("user", "e")])
    ends = [(10, 0), (11, 1), (60, 1), (61, 2), (90, 2), (91, 3)]
    for seconds, stale in ends:
        assert (await store.stats(at=NOW + seconds)).stale == {"user": stale, "business": 0}


@pytest.mark.parametrize(
    "entry_",
    [entry(A, None), entry(A, None, absent=True), entry(A, b"404", absent=True), entry(Key("other", "a"))],
)
async def test_only_representations_are_stored(store: Store, entry_: object) -> None:
    with pytest.raises(ValueError, match="only representations"):
        await store.put_many([write("b"), Write(entry_, {})])  # type: ignore[arg-type]
    assert await store.get_many([B]) == {}


async def test_a_write_that_fails_takes_its_whole_call_with_it_and_no_other(store: Store) -> None:
    unstorable = Write(replace(entry(A), source_version="\ud800"), {})
    results = await asyncio.gather(
        store.put_many([write("b")]),
        store.put_many([write("c"), unstorable]),
        store.put_many([write("d")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], StoreError)
    assert set(await store.get_many([user(name) for name in "abcd"])) == {user("b"), user("d")}


async def test_an_error_names_no_data(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        await store.put_many([Write(replace(entry(user("secret")), source_version="secret\ud800"), {})])
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["\ud800", "nul\0", "", "é", 2**70, 1.5, True, None, float("nan")])
async def test_any_column_value_can_be_stored(store: Store, name: str | float | None) -> None:
    await store.put_many([write("a", name=name)])
    assert (await store.get_many([A]))[A].item is not None


async def test_what_was_answered_survives_closing(opener: Opener) -> None:
    first = await opener()
    confirmed = await first.put_many([write("a", b"1"), write("b")])
    await first.invalidate_many([B])
    await first.close()
    second = await opener()
    try:
        found = await second.get_many([A, B])
        assert found[A] == confirmed[A]
        assert found[B].item is None
        assert (await second.stats(at=NOW)).entities["user"] == 1
    finally:
        await second.close()


async def test_closing_finishes_what_is_queued_and_is_idempotent(opener: Opener) -> None:
    store = await opener()
    puts = [asyncio.create_task(store.put_many([write(str(number))])) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await store.close()
    assert [len(stored) for stored in await asyncio.gather(*puts)] == [1] * 50
    for call in (
        store.get_many([A]),
        store.put_many([write("a")]),
        store.invalidate_many([A]),
        store.find("user", derive(A, 0)),
        store.reserve_many([A], at=NOW),
        store.change(A, synced_at=NOW),
        store.erase_many([A]),
        store.longest_unsynced("user", before=NOW, after=None, limit=1),
        store.page("user", after=None, limit=1),
        store.adopt_many([write("a")]),
        store.stats(at=NOW),
        store.prune(older_than=NOW),
    ):
        with pytest.raises(StoreError):
            await call


async def test_ten_thousand_keys(store: Store) -> None:
    writes = [write(str(number), b"%d" % number) for number in range(10_000)]
    assert len(await store.put_many(writes)) == 10_000
    keys = [user(str(number)) for number in range(10_001)]
    found = await store.get_many(keys)
    assert len(found) == 10_000
    assert found[user("9999")].item == b"9999"
    await store.invalidate_many(keys)
    assert (await store.stats(at=NOW)).entities["user"] == 0


async def test_pruning_by_age_takes_what_was_synced_before(store: Store) -> None:
    await store.put_many([write("a", synced=NOW - 10), write("b", synced=NOW)])
    await store.put_many([Write(entry(Key("business", "a"), last_synced_at=NOW - 20), {})])
    assert await store.prune(older_than=NOW - 10) == 1
    assert await store.prune(older_than=NOW) == 1
    assert set(await store.get_many([A, B])) == {B}
    assert (await store.stats(at=NOW)).entities == {"user": 1, "business": 0}


async def test_a_pruned_entity_gets_its_id_again(store: Store) -> None:
    before = (await store.put_many([write("a", synced=NOW - 10)]))[A]
    await store.prune(older_than=NOW)
    after = (await store.put_many([write("a")]))[A]
    assert after.internal_id == before.internal_id


async def test_reads_and_writes_at_the_same_time(store: Store) -> None:
    async def work(number: int) -> None:
        key = user(str(number % 10))
        for turn in range(10):
            confirmed = await store.put_many([write(key.id, b"%d" % turn)])
            assert confirmed[key].internal_id == derive(key, 0)
            assert (await store.get_many([key]))[key].item is not None
            await store.invalidate_many([user(f"other-{number}")])

    await asyncio.gather(*(work(number) for number in range(20)))


async def test_a_cancelled_caller_loses_the_answer_only(store: Store) -> None:
    put = asyncio.create_task(store.put_many([write("a")]))
    await asyncio.sleep(0)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    await store.put_many([write("b")])
    async with asyncio.timeout(10):  # what nobody waits for any more may come to its end later than that
        while set(await store.get_many([A, B])) != {A, B}:
            await asyncio.sleep(0)


async def test_everything_is_forgotten_but_for_what_could_not_be_made_again(store: Store) -> None:
    await store.put_many([write("a"), write("b"), write("c")])
    local = await changed(store, user("b"), department_id="d")
    await store.adopt_many([Write(replace(entry(user("c")), internal_id=GIVEN), {})])
    await store.invalidate_all()
    rows = await store.get_many([user("a"), user("b"), user("c")])
    assert {key.id: (row.item, row.internal_id, row.local) for key, row in rows.items()} == {
        "b": (None, local.internal_id, {"department_id": "d"}),
        "c": (None, GIVEN, {}),
    }
    again = await store.put_many([write("a")])
    assert one(user("a"), again).internal_id == derive(user("a"), 0)
    assert (await store.stats(at=NOW)).entities["user"] == 1


async def test_a_check_changes_nothing(store: Store) -> None:
    await store.put_many([write("a")])
    before = await store.get_many([user("a")])
    await store.check()
    assert await store.get_many([user("a")]) == before
