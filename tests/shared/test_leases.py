"""Leases: who fetches, and what may still be stored."""

import asyncio

import pytest

from store.entry import Key
from store.postgres.store import PostgresStore
from tests.shared.replicas import A, B, C, Person, granted, item, leased, put
from tests.unit.store.samples import NOW, user, write

Two = tuple[PostgresStore, PostgresStore]


async def test_one_replica_is_granted_what_another_has_not(replicas: Two) -> None:
    one, other = replicas
    assert await granted(one, 1, A, B) == {A, B}
    assert await granted(other, 2, A, B, C) == {C}
    assert await granted(one, 3, A, B, C) == set()


async def test_who_is_not_granted_is_told_of_the_row_and_its_holder(replicas: Two) -> None:
    one, other = replicas
    await one.put_many([write("b", b"held")])
    await granted(one, 1, A, B)
    claims = await other.claim_many([A, B, user("\0")], 2, seconds=60.0)
    assert (claims[A].is_granted, claims[A].row) == (False, None)
    row = claims[B].row
    assert row is not None
    assert (claims[B].is_granted, row.item) == (False, b"held")
    assert min(claims[A].holder, claims[B].holder) > 0
    assert claims[user("\0")].is_granted
    again = await other.claim_many([A], 3, seconds=60.0)
    assert again[A].holder == claims[A].holder, "the same has it still"


async def test_a_lease_ends_by_itself(replicas: Two) -> None:
    one, other = replicas
    await granted(one, 1, A, seconds=0.0)
    assert await granted(other, 2, A) == {A}
    assert await put(one, leased("a", 1)) == {A}, "whoever was slow may store it all the same"
    assert await put(other, leased("a", 2)) == set(), "and who was slower may not"


async def test_force_takes_no_lease_away(replicas: Two) -> None:
    one, other = replicas
    await granted(one, 1, A)
    assert await granted(other, 2, A, is_forced=True) == {A}
    assert await granted(one, 3, A) == set()
    assert await put(one, leased("a", 1, b"1")) == {A}
    assert await item(other, A) == b"1"


async def test_without_its_lease_nothing_is_stored(replicas: Two) -> None:
    one, _ = replicas
    await granted(one, 1, A, B)
    assert await put(one, leased("a", 1, b"a"), leased("b", 2), leased("c", 1)) == {A}
    assert await put(one, leased("a", 1, b"again")) == set(), "it is used up"
    assert await item(one, A) == b"a"
    assert await one.get_many([B, C]) == {}
    assert await put(one, leased("c", None)) == {C}


@pytest.mark.parametrize("how", ["invalidate", "erase", "invalidate all"])
async def test_what_happens_to_an_entity_takes_its_leases_away(replicas: Two, how: str) -> None:
    one, other = replicas
    await granted(one, 1, A)
    if how == "invalidate":
        await other.invalidate_many([A])
    elif how == "erase":
        await other.erase_many([A])
    else:
        await other.invalidate_all()
    assert await put(one, leased("a", 1)) == set()
    assert await one.get_many([A]) == {}
    assert await granted(other, 2, A) == {A}
    assert await put(other, leased("a", 2)) == {A}


async def test_an_import_takes_the_leases_of_the_rows_that_it_changes(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None))
    await granted(one, 1, A)
    await other.adopt_many([write("a", b"imported", synced=NOW + 1)])
    assert await put(one, leased("a", 1)) == set()
    assert await item(one, A) == b"imported"


async def test_what_is_released_is_somebody_elses(replicas: Two) -> None:
    one, other = replicas
    await granted(one, 1, A, B)
    await one.release_many([A, user("\ud800")], 1)
    await one.release_many([B], 99)  # not its own
    assert await granted(other, 2, A, B) == {A}
    assert await put(one, leased("a", 1)) == set()


async def test_a_release_leaves_the_lease_of_another(replicas: Two) -> None:
    one, other = replicas
    await granted(one, 1, A)
    await granted(other, 2, A, is_forced=True)
    await one.release_many([A], 1)
    assert await put(other, leased("a", 2)) == {A}


async def test_what_can_have_no_row_has_no_lease(replicas: Two) -> None:
    one, _ = replicas
    keys = [Key("other", "a"), A._replace(variant="v"), user("\ud800")]
    assert await one.claim_many(keys, 1, seconds=60.0) == {}
    assert await one.claim_many([], 1, seconds=60.0) == {}


@pytest.mark.parametrize("how", ["invalidate", "erase"])
async def test_a_row_that_is_being_stored_is_found_by_what_comes_after_it(
    replicas: Two, person: Person, how: str
) -> None:
    """The statement that stores it has the lease locked, and is not committed: the other waits, and sees the row."""
    one, other = replicas
    await granted(one, 1, A)
    storing = person.transaction()
    await storing.start()
    await person.execute("DELETE FROM handshake_proxy.leases WHERE external_id = 'a'")
    await person.execute(
        "INSERT INTO handshake_proxy.users (id, user_id, last_synced_at, received_at, lifetime, initial_age, item)"
        " VALUES (gen_random_uuid(), 'a', now(), 0, 60, 0, 'stale')"
    )
    forgetting = asyncio.create_task(
        other.invalidate_many([A]) if how == "invalidate" else other.erase_many([A])
    )
    while not await person.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        await asyncio.sleep(0)
    await storing.commit()
    await forgetting
    assert await item(one, A) is None


async def test_many_replicas_at_once_do_not_lock_each_other_out(replicas: Two) -> None:
    """Batches with the same entities, in whatever order they were asked for."""
    keys = [user(str(number)) for number in range(40)]

    async def busy(store: PostgresStore, first: int) -> None:
        for turn in range(15):
            token = first + turn
            order = keys[turn:] + keys[:turn] if first % 2 else keys[::-1]
            mine = await granted(store, token, *order, is_forced=turn % 3 == 0)
            await put(store, *(leased(key.id, token) for key in reversed(order) if key in mine))
            await store.invalidate_many(order[:20])
            await store.erase_many(order[35:])
            await store.release_many(order, token)

    one, other = replicas
    await asyncio.gather(*(busy(store, 100 * number) for number, store in enumerate((one, other) * 2)))
