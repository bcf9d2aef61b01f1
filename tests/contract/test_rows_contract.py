"""What every database does with single rows and lists of them, beyond looking up and refreshing."""

import pytest
from msgspec.structs import replace

from store.base import Position, Store, StoreError
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from tests.contract.conftest import Opener
from tests.contract.helpers import changed, one, stored
from tests.unit.store.samples import NOW, derive, entry, user, write

A, B = user("a"), user("b")


async def test_an_internal_id_leads_to_the_external_one(store: Store) -> None:
    await store.put_many([write("a"), write("b")])
    await store.invalidate_many([B])
    assert await store.find("user", derive(A, 0)) == "a"
    assert await store.find("user", derive(B, 0)) == "b"
    assert await store.find("business", derive(A, 0)) is None
    assert await store.find("other", derive(A, 0)) is None
    assert await store.find("user", "a") is None


async def test_local_attributes_come_with_everything_and_stay(store: Store) -> None:
    await store.put_many([write("a", b"1")])
    assert (await stored(store, A)).local is NO_LOCALS
    local: dict[str, Column] = {"department_id": "d", "is_field_worker": 0}
    await changed(store, A, **local)
    put = one(A, await store.put_many([write("a", b"2")]))
    assert put.local == local
    assert await stored(store, A) == put
    assert await store.page("user", after=None, limit=9) == [put]
    assert await store.longest_unsynced("user", before=NOW + 1, after=None, limit=9) == [put]
    assert one(A, await store.reserve_many([A], at=NOW)) == put
    await store.invalidate_many([A])
    assert (await stored(store, A)).local == local
    await store.prune(older_than=NOW + 1)
    assert (await stored(store, A)).local == local


async def test_a_reserved_entity_is_a_husk_with_its_id(store: Store) -> None:
    held = one(B, await store.put_many([write("b")]))
    reserved = await store.reserve_many([A, B, A], at=NOW + 0.1234)
    assert reserved == await store.get_many([A, B])
    assert reserved[B] == held
    husk = reserved[A]
    assert husk == entry(A, None, received_at=NOW + 0.1234, lifetime=0, last_synced_at=NOW + 0.123).confirmed(
        internal_id=derive(A, 0), version=1
    )
    assert one(A, await store.reserve_many([A], at=NOW + 9)) == husk
    assert (await store.stats(at=NOW)).entities["user"] == 1
    assert one(A, await store.put_many([write("a")])).internal_id == derive(A, 0)
    assert (await store.stats(at=NOW)).entities["user"] == 2
    assert await store.reserve_many([], at=NOW) == {}


@pytest.mark.parametrize("key", [A._replace(variant="v"), Key("other", "a")])
async def test_only_what_has_a_row_is_reserved(store: Store, key: Key) -> None:
    with pytest.raises(ValueError, match="only to what has a row"):
        await store.reserve_many([A, key], at=NOW)
    assert await store.get_many([A]) == {}


async def test_a_reservation_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.reserve_many([A, user("\ud800")], at=NOW)
    assert await store.get_many([A]) == {}


async def test_a_change_sets_what_it_names(store: Store) -> None:
    first = one(A, await store.put_many([write("a", b"1")]))
    both = await changed(store, A, department_id="d", is_field_worker=True)
    assert both == replace(first, version=2, local={"department_id": "d", "is_field_worker": 1})
    assert await stored(store, A) == both
    again = await changed(store, A, department_id="d")
    assert again == both
    fewer = await changed(store, A, department_id=None)
    assert fewer == replace(both, version=3, local={"is_field_worker": 1})
    assert await changed(store, A, department_id=None) == fewer
    none = await changed(store, A, is_field_worker=None)
    assert (none.version, none.local) == (4, NO_LOCALS)
    assert await changed(store, A) == none


async def test_a_change_of_the_last_sync_leaves_freshness_and_version_alone(store: Store) -> None:
    first = one(A, await store.put_many([write("a", b"1")]))
    synced = await store.change(A, synced_at=NOW + 5.6789)
    assert synced == replace(first, last_synced_at=NOW + 5.679)
    assert await stored(store, A) == synced
    both = await store.change(A, local={"department_id": "d"}, synced_at=NOW)
    assert both == replace(first, version=2, local={"department_id": "d"})


async def test_a_husk_is_changed_too(store: Store) -> None:
    await store.put_many([write("a")])
    await store.invalidate_many([A])
    husk = await changed(store, A, department_id="d")
    assert (husk.item, husk.version, husk.local) == (None, 2, {"department_id": "d"})
    assert (await store.stats(at=NOW)).entities["user"] == 0


@pytest.mark.parametrize("key", [B, Key("business", "a"), Key("other", "a"), A._replace(variant="v")])
async def test_what_has_no_row_is_not_changed(store: Store, key: Key) -> None:
    await store.put_many([write("a")])
    assert await store.change(key, synced_at=NOW + 1) is None
    assert (await stored(store, A)).last_synced_at == NOW


@pytest.mark.parametrize("key", [A, Key("business", "a"), Key("other", "a")])
@pytest.mark.parametrize("column", ["name", "id", "user_id", "item", "version", "secret", 'x" = 1; --'])
async def test_only_local_attributes_are_changed(store: Store, key: Key, column: str) -> None:
    before = await store.put_many([write("a"), Write(entry(Key("business", "a")), {})])
    with pytest.raises(ValueError, match="only local attributes") as caught:
        await store.change(key, local={column: "x"})
    assert "secret" not in str(caught.value)
    assert await store.get_many(list(before)) == before


@pytest.mark.parametrize("value", ["secret\ud800", 1 << 70])
async def test_a_change_that_fails_changes_nothing(store: Store, value: str | int) -> None:
    before = one(A, await store.put_many([write("a")]))
    with pytest.raises(StoreError) as caught:
        await store.change(A, local={"department_id": "d", "is_field_worker": value}, synced_at=NOW + 1)
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError):
        await store.change(A, local={"department_id": "d"}, synced_at=1e300)
    assert await stored(store, A) == before


async def test_an_erased_entity_was_never_there(store: Store) -> None:
    keys = [user(name) for name in ("held", "invalidated", "pruned", "reserved", "unknown")]
    await store.put_many([write("held"), write("invalidated"), write("pruned", synced=NOW - 10), write("b")])
    for key in (*keys[:3], B):
        await changed(store, key, department_id="d")
    await store.prune(older_than=NOW - 1)
    await store.invalidate_many([keys[1]])
    await store.reserve_many([keys[3]], at=NOW)
    other = Key("business", "held")
    kept = await store.put_many([write("b"), Write(entry(other), {})])
    await store.erase_many([*keys, keys[0]])
    assert await store.get_many([*keys, B, other]) == kept
    assert [await store.find("user", derive(key, 0)) for key in keys] == [None] * 5
    assert await store.page("user", after=None, limit=9) == [kept[B]]
    assert (await store.stats(at=NOW)).entities == {"user": 1, "business": 1}
    again = one(keys[0], await store.put_many([write("held")]))
    assert (again.version, again.local) == (1, NO_LOCALS)


async def test_what_has_no_row_is_erased_already(store: Store) -> None:
    kept = await store.put_many([write("a")])
    await store.erase_many([])
    await store.erase_many([A._replace(variant="v"), Key("other", "a"), B])
    assert await store.get_many([A]) == kept


async def test_the_longest_unsynced_come_first_page_by_page(store: Store) -> None:
    ages = [0.0, 0.001, 0.001, 0.001, 0.25, 0.25, 7.0, 7.0004, 8.0]
    await store.put_many([write(str(place), synced=NOW + age) for place, age in enumerate(ages)])
    await store.put_many([Write(entry(Key("business", "a"), last_synced_at=NOW - 1), {}), write("husk")])
    await store.invalidate_many([user("husk")])
    for limit in (1, 2, 3, 100):
        listed: list[Entry] = []
        after: Position | None = None
        while page := await store.longest_unsynced("user", before=NOW + 8, after=after, limit=limit):
            assert len(page) <= limit
            listed += page
            after = Position(page[-1].last_synced_at, page[-1].internal_id or "")
        places = [(entry_.last_synced_at, entry_.internal_id) for entry_ in listed]
        assert places == sorted(places)
        assert {entry_.key.id for entry_ in listed} == set("01234567")
        assert len(listed) == 8
    assert await store.longest_unsynced("other", before=NOW + 8, after=None, limit=1) == []
    assert await store.longest_unsynced("user", before=NOW, after=None, limit=1) == []


async def test_a_list_goes_on_where_it_was_whatever_has_become_of_the_last(store: Store) -> None:
    await store.put_many([write(name, synced=NOW + place) for place, name in enumerate("abc")])
    await store.erase_many([A])
    listed = await store.longest_unsynced("user", before=NOW + 9, after=Position(NOW, derive(A, 0)), limit=9)
    assert [entry_.key.id for entry_ in listed] == ["b", "c"]


async def test_a_list_of_what_is_no_time_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.longest_unsynced("user", before=float("inf"), after=None, limit=1)


async def test_all_rows_come_in_pages_in_the_order_of_their_ids(store: Store) -> None:
    await store.put_many([write(str(number), b"%d" % number) for number in range(20)])
    await store.put_many([Write(entry(Key("business", "a")), {})])
    await store.invalidate_many([user("7")])
    await store.reserve_many([A], at=NOW)
    for limit in (1, 3, 7, 100):
        listed: list[Entry] = []
        while page := await store.page("user", after=listed[-1].internal_id if listed else None, limit=limit):
            assert len(page) <= limit
            listed += page
        assert [entry_.internal_id for entry_ in listed] == sorted(
            derive(user(name), 0) for name in (*map(str, range(20)), "a")
        )
        assert {entry_.key.id for entry_ in listed if entry_.item is None} == {"7", "a"}
        assert {entry_.key: entry_ for entry_ in listed} == await store.get_many([e.key for e in listed])
    assert await store.page("other", after=None, limit=1) == []


async def test_all_that_was_answered_survives_closing(opener: Opener) -> None:
    first = await opener()
    await first.adopt_many([write("c")])
    await first.put_many([write("erased")])
    reserved = one(A, await first.reserve_many([A], at=NOW))
    expected = {A: replace(reserved, version=2, local={"department_id": "d"})}
    await changed(first, A, department_id="d")
    expected |= await first.get_many([user("c")])
    await first.erase_many([user("erased")])
    await first.close()
    second = await opener()
    try:
        assert await second.get_many([A, user("c"), user("erased")]) == expected
    finally:
        await second.close()
