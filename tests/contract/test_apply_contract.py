"""What every database does with a message of an owner."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from store.base import Store
from store.effects import Applied, Decide, Delivery, Effect, Forget, Keep, Replace
from store.entry import AT_LEAST, Entry, Key, Write
from tests.contract.conftest import Opener
from tests.contract.helpers import changed, stored
from tests.unit.store.samples import NOW, derive, entry, user, write

A, B = user("a"), user("b")


class UnfitError(Exception):
    """What a message says does not fit."""


def message(name: str = "m1", at: float = NOW) -> Delivery:
    return Delivery(name, at, 900.0)


def does(effect: Effect) -> Callable[[Entry | None], Effect]:
    return lambda _held: effect


def item(text: bytes, version: str | None = None) -> Write:
    return Write(entry(A, text, source_version=version), {"name": "n"})


async def apply(store: Store, decide: Decide, name: str = "m1", key: Key = A) -> Applied:
    return await store.apply(key, decide, message(name))


async def test_a_change_sees_what_is_held(store: Store) -> None:
    held = (await store.put_many([item(b"{}", "7")]))[A]
    seen: list[Entry | None] = []

    def look(entry_: Entry | None) -> Effect:
        seen.append(entry_)
        return Keep()

    assert await apply(store, look) == Applied(Keep(), held, held)
    assert (await apply(store, look, "m2", B)).before is None
    assert seen == [held, None]
    assert await stored(store, A) == held


async def test_another_representation_stands_there(store: Store) -> None:
    held = (await store.put_many([item(b"{}", "7")]))[A]
    await changed(store, A, department_id="d")
    new = item(b'{"n":1}', "8")
    applied = await apply(store, does(Replace(new)))
    assert applied.entry == await stored(store, A)
    assert applied.entry == new.entry.confirmed(
        internal_id=held.internal_id or "", version=3, local={"department_id": "d"}
    )


async def test_the_representation_goes_and_its_ids_stay(store: Store) -> None:
    held = (await store.put_many([item(b"{}", "7")]))[A]
    await changed(store, A, department_id="d")
    applied = await apply(store, does(Forget("8")))
    husk = await stored(store, A)
    assert applied.entry == husk
    assert husk.item is None
    assert (husk.internal_id, husk.source_version) == (held.internal_id, "8")
    assert husk.local == {"department_id": "d"}
    await apply(store, does(Forget(None)), "m2")
    assert (await stored(store, A)).source_version == "8"
    await apply(store, does(Forget("9")), "m3")
    assert (await stored(store, A)).source_version == "9"


async def test_nothing_is_made_of_what_has_no_row(store: Store) -> None:
    assert await apply(store, does(Forget("8"))) == Applied(Forget("8"), None, None)
    assert await store.get_many([A]) == {}


async def test_a_message_counts_once_for_all_entities(store: Store) -> None:
    await store.put_many([item(b"{}", "7")])
    assert (await apply(store, does(Forget("8")))).effect == Forget("8")
    await store.put_many([item(b'{"n":1}', "9")])
    for key in (A, B):
        assert await apply(store, does(Forget("10")), key=key) == Applied(None)
    assert (await stored(store, A)).item == b'{"n":1}'


async def test_a_message_is_remembered_by_the_next_life(opener: Opener) -> None:
    first = await opener()
    await first.put_many([item(b"{}", "7")])
    await apply(first, does(Keep()))
    await first.close()
    second = await opener()
    assert await apply(second, does(Forget("8"))) == Applied(None)
    assert (await stored(second, A)).item == b"{}"
    await second.close()


async def test_a_change_that_fails_has_done_nothing(store: Store) -> None:
    await store.put_many([item(b"{}", "7")])

    def fail(_held: Entry | None) -> Effect:
        raise UnfitError

    with pytest.raises(UnfitError):
        await apply(store, fail)
    assert (await stored(store, A)).item == b"{}"
    assert (await apply(store, does(Forget("8")))).effect == Forget("8")


async def test_one_that_fails_fails_alone(store: Store) -> None:
    await store.put_many([write("a"), write("b")])

    def fail(_held: Entry | None) -> Effect:
        raise UnfitError

    outcomes = await asyncio.gather(
        apply(store, does(Forget()), "m1", A), apply(store, fail, "m2", B), return_exceptions=True
    )
    assert isinstance(outcomes[0], Applied)
    assert isinstance(outcomes[1], UnfitError)
    assert (await stored(store, A)).item is None


async def test_of_the_same_message_at_the_same_time_one_counts(store: Store) -> None:
    await store.put_many([item(b"{}", "7")])
    applied = await asyncio.gather(*(apply(store, does(Forget("8"))) for _ in range(5)))
    assert [one.effect for one in applied].count(Forget("8")) == 1
    assert [one.effect for one in applied].count(None) == 4


async def test_messages_of_an_entity_are_applied_one_after_the_other(store: Store) -> None:
    await store.put_many([item(b"0")])

    def more(held: Entry | None) -> Effect:
        assert held is not None
        assert held.item is not None
        return Replace(item(b"%d" % (int(held.item) + 1)))

    await asyncio.gather(*(apply(store, more, f"m{count}") for count in range(20)))
    assert (await stored(store, A)).item == b"20"


async def test_of_what_has_no_row_the_message_is_remembered(store: Store) -> None:
    other = Key("other", "a")
    assert (await apply(store, does(Forget()), "m1", other)).effect == Keep()
    assert await apply(store, does(Forget()), "m1", other) == Applied(None)


async def test_a_representation_without_a_version_keeps_the_one_that_was_named(store: Store) -> None:
    await store.put_many([item(b"{}")])
    assert (await stored(store, A)).source_version is None
    await apply(store, does(Forget("8")))
    for text in (b"{}", b'{"n":1}'):
        await store.put_many([item(text)])
        assert (await stored(store, A)).source_version == AT_LEAST + "8"
    await store.put_many([item(b"{}", "7")])
    assert (await stored(store, A)).source_version == "7"


async def test_no_other_id_than_that_of_the_row_is_given(store: Store) -> None:
    await apply(store, does(Replace(item(b"{}", "8"))))
    assert (await stored(store, A)).internal_id == derive(A, 0)


async def test_of_an_evicted_row_there_is_nothing_to_replace(store: Store) -> None:
    await store.put_many([item(b"{}", "7")])
    await changed(store, A, department_id="d")
    await store.prune(older_than=NOW + 60)
    held = (await apply(store, does(Keep()))).before
    assert held is not None
    assert held.item is None
    assert replace(held, last_synced_at=0).source_version == "7"
