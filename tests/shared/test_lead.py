"""One leader among replicas, and what a fetch of one has changed, as the others hear of it."""

import asyncio

from store.effects import Delivery, Effect, Replace
from store.entry import Entry
from store.postgres.store import PostgresStore
from store.shared import Change
from tests.shared.replicas import A, B, Person, granted, leased, put
from tests.unit.store.samples import NOW, user, write

Two = tuple[PostgresStore, PostgresStore]


async def test_a_role_is_one_replicas_until_it_has_run_out(replicas: Two) -> None:
    one, other = replicas
    assert await one.lead("refresher", 1, seconds=60.0)
    assert not await other.lead("refresher", 2, seconds=60.0)
    assert await one.lead("refresher", 1, seconds=0.0), "it goes on, for as long as it says now"
    assert await other.lead("refresher", 2, seconds=60.0)
    assert not await one.lead("refresher", 1, seconds=60.0)


async def test_roles_are_taken_one_by_one(replicas: Two) -> None:
    one, other = replicas
    assert await one.lead("refresher user", 1, seconds=60.0)
    assert await other.lead("refresher business", 2, seconds=60.0)


async def test_of_many_that_ask_at_once_one_leads(replicas: Two) -> None:
    one, other = replicas
    asked = [(one, other)[number % 2].lead("refresher", number, seconds=60.0) for number in range(20)]
    assert sum(await asyncio.gather(*asked)) == 1


async def test_what_a_fetch_has_changed_is_told(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None, b"old"), leased("b", None, b"same"))
    begun = await other.changes_begin()
    await granted(one, 1, A, B)
    await put(one, leased("a", 1, b"new"), leased("b", 1, b"same"), leased("c", None, b"first"))
    assert (await other.changes_since(begun)).changes == [Change(A, "changed")]
    assert (await one.changes_since(begun)).changes == [], "nobody hears of itself"


async def test_what_was_not_stored_is_not_told(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None, b"old"))
    begun = await other.changes_begin()
    assert await put(one, leased("a", 99, b"new")) == set()
    assert (await other.changes_since(begun)).changes == []


async def test_what_was_forgotten_before_is_not_told_again(replicas: Two) -> None:
    """The others have nothing of it in memory."""
    one, other = replicas
    await put(one, leased("a", None, b"old"))
    await one.invalidate_many([A])
    await one.reserve_many([B], at=NOW)
    begun = await other.changes_begin()
    await put(one, leased("a", None, b"new"), leased("b", None, b"first"))
    assert (await other.changes_since(begun)).changes == []


async def test_what_two_store_at_a_time_is_told_although_neither_saw_the_others(
    replicas: Two, person: Person
) -> None:
    """Their statements have begun before the row was there: the second waits for the end of the first."""
    one, other = replicas
    begun = await other.changes_begin()
    storing = person.transaction()
    await storing.start()
    await person.execute(
        "INSERT INTO handshake_proxy.users (id, user_id, last_synced_at, received_at, lifetime, initial_age, item)"
        " VALUES (gen_random_uuid(), 'a', now(), 0, 60, 0, 'one')"
    )
    second = asyncio.create_task(put(one, leased("a", None, b"two")))
    while not await person.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        await asyncio.sleep(0)
    await storing.commit()
    await second
    assert (await other.changes_since(begun)).changes == [Change(A, "changed")]


async def test_who_listens_is_woken_by_what_has_changed_alone(replicas: Two, person: Person) -> None:
    one, _ = replicas
    heard: list[str] = []
    await person.add_listener("handshake_proxy", lambda *said: heard.append(said[2]))
    await put(one, leased("a", None, b"old"))
    await put(one, leased("a", None, b"old"))
    await person.execute("SELECT pg_notify('handshake_proxy', 'mark')")
    assert heard == ["handshake_proxy"]
    await put(one, *(leased(name, None, b"new") for name in ("a", "b")))
    await put(one, *(leased(name, None, b"newer") for name in ("a", "b")))
    await person.execute("SELECT pg_notify('handshake_proxy', 'mark')")
    assert len(heard) == 4, "once for each transaction"


async def test_a_message_tells_once(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None, b"old"))
    begun = await other.changes_begin()

    def change(_: Entry | None) -> Effect:
        return Replace(write("a", b"merged"))

    await one.apply(A, change, Delivery("m", NOW, 600.0))
    assert (await other.changes_since(begun)).changes == [Change(A, "invalidated")]


async def test_an_id_that_is_no_text_is_told_like_any_other(replicas: Two) -> None:
    one, other = replicas
    odd = user("n\0l")
    await put(one, leased(odd.id, None, b"old"))
    begun = await other.changes_begin()
    await put(one, leased(odd.id, None, b"new"))
    assert (await other.changes_since(begun)).changes == [Change(odd, "changed")]
