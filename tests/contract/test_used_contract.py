"""What every database notes of when entities were last used."""

from store.base import Store
from store.entry import Key, Write
from tests.contract.conftest import Opener
from tests.contract.helpers import stored
from tests.unit.store.samples import NOW, entry, user, write

A, B, C = user("a"), user("b"), user("c")
SHOP = Key("business", "a")
LATER = NOW + 100.25


async def filled(store: Store) -> None:
    await store.put_many([write("a"), write("b"), write("c"), Write(entry(SHOP), {})])


async def test_what_was_used_last_comes_first_whatever_its_table(store: Store) -> None:
    await filled(store)
    assert await store.recently_used(9) == []
    uses = [(B, NOW + 3), (SHOP, NOW + 2.5), (C, NOW + 1), (A, LATER)]
    await store.note_used(uses)
    recent = [(A, LATER), (B, NOW + 3), (SHOP, NOW + 2.5), (C, NOW + 1)]
    assert await store.recently_used(9) == recent
    assert await store.recently_used(3) == recent[:3]
    assert await store.recently_used(1) == recent[:1]


async def test_an_earlier_time_changes_nothing(store: Store) -> None:
    await filled(store)
    await store.note_used([(A, LATER), (B, NOW)])
    await store.note_used([(A, NOW), (B, LATER + 1)])
    assert await store.recently_used(9) == [(B, LATER + 1), (A, LATER)]


async def test_of_several_times_of_one_the_latest_counts(store: Store) -> None:
    await filled(store)
    await store.note_used([(A, NOW), (A, LATER), (A, NOW + 1)])
    assert await store.recently_used(9) == [(A, LATER)]


async def test_nothing_else_of_a_row_changes(store: Store) -> None:
    await filled(store)
    before = await store.get_many([A, B])
    await store.note_used([(A, LATER)])
    assert await store.get_many([A, B]) == before


async def test_what_has_no_row_gets_none(store: Store) -> None:
    await filled(store)
    await store.note_used([])
    strange = [user("d"), Key("other", "a"), A._replace(variant="v"), user("\ud800")]
    await store.note_used([(key, LATER) for key in strange[:3]])
    assert await store.recently_used(9) == []
    assert await store.get_many(strange[:3]) == {}
    await store.put_many([write("d")])
    assert await store.recently_used(9) == []


async def test_only_what_has_a_representation_is_listed(store: Store) -> None:
    await filled(store)
    await store.note_used([(A, NOW + 1), (B, NOW + 2), (C, NOW + 3)])
    await store.invalidate_many([B])
    await store.erase_many([C])
    assert await store.recently_used(9) == [(A, NOW + 1)]
    await store.put_many([write("b"), write("c")])
    assert await store.recently_used(9) == [(B, NOW + 2), (A, NOW + 1)]


async def test_a_refresh_and_a_change_leave_it_as_it_is(store: Store) -> None:
    await filled(store)
    await store.note_used([(A, LATER)])
    await store.put_many([write("a", b"[]")])
    await store.change(A, local={"department_id": "d"})
    assert await store.recently_used(9) == [(A, LATER)]
    assert (await stored(store, A)).item == b"[]"


async def test_a_text_of_any_characters_comes_back(store: Store) -> None:
    odd = user("Ω\0\U0010ffff'\"")
    await store.put_many([Write(entry(odd), {})])
    await store.note_used([(odd, LATER)])
    assert await store.recently_used(9) == [(odd, LATER)]


async def test_the_next_life_knows_it(opener: Opener) -> None:
    first = await opener()
    await filled(first)
    await first.note_used([(A, NOW + 1), (C, LATER)])
    await first.close()
    second = await opener()
    assert await second.recently_used(9) == [(C, LATER), (A, NOW + 1)]
    await second.close()
