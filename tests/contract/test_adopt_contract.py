"""What every database does with an import."""

import pytest
from msgspec.structs import replace

from store.base import Adopted, Store, StoreError
from store.entry import Column, Key, Write
from tests.contract.helpers import changed, one, stored
from tests.unit.store.samples import NOW, derive, entry, user, write

A, B = user("a"), user("b")
GIVEN = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"


def adopted(
    identity: str,
    item: bytes | None = b"new",
    internal_id: str | None = GIVEN,
    *,
    synced: float = NOW,
    version: int = 1,
    **local: Column,
) -> Write:
    brought = entry(user(identity), item, last_synced_at=synced)
    return Write(replace(brought, internal_id=internal_id, version=version, local=local), {"name": "n"})


async def test_an_import_brings_rows_as_they_were(store: Store) -> None:
    sent = entry(
        A,
        b'{"id":"a"}',
        received_at=NOW + 0.123456789,
        lifetime=59.9,
        initial_age=1 / 3,
        headers=((b"ETag", b'"1"'),),
        source_version="7",
        last_synced_at=NOW + 0.123,
    )
    local: dict[str, Column] = {"department_id": "d", "is_field_worker": 1}
    row = replace(
        sent,
        internal_id=GIVEN,
        version=5,
        local=local,
        stale_if_error=3.0,
        must_revalidate=True,
        durable=True,
    )
    other = Key("business", "a")
    assert await store.adopt_many([Write(row, {"name": "n"}), Write(entry(other), {})]) == Adopted(added=2)
    found = await store.get_many([A, other])
    assert found[A] == row
    assert (found[other].internal_id, found[other].version) == (derive(other, 0), 1)
    assert (await store.stats(at=NOW)).entities == {"user": 1, "business": 1}
    assert await store.adopt_many([]) == Adopted()
    assert await store.adopt_many([Write(row, {"name": "n"})]) == Adopted(updated=1)
    assert await stored(store, A) == row


async def test_ids_alone_are_husks_that_survive_eviction(store: Store) -> None:
    assert await store.adopt_many([adopted("a", None), adopted("b", None, None)]) == Adopted(added=2)
    husk = await stored(store, A)
    assert (husk.item, husk.internal_id, husk.version) == (None, GIVEN, 1)
    assert (await store.stats(at=NOW)).entities["user"] == 0
    assert await store.prune(older_than=NOW + 1) == 0
    assert await store.get_many([A, B]) == {A: husk}
    assert one(A, await store.put_many([write("a")])).internal_id == GIVEN


async def test_ids_alone_leave_what_is_held(store: Store) -> None:
    await store.put_many([write("a", b"held")])
    await changed(store, A, department_id="d")
    brought = adopted("a", None, None, version=7, is_field_worker=1)
    assert await store.adopt_many([brought]) == Adopted(updated=1)
    kept = await stored(store, A)
    assert (kept.item, kept.internal_id, kept.version) == (b"held", derive(A, 0), 7)
    assert kept.local == {"department_id": "d", "is_field_worker": 1}


@pytest.mark.parametrize(
    ("later", "item"), [(-0.001, b"held"), (0.0, b"new"), (0.0004, b"new"), (-0.0004, b"new"), (1.0, b"new")]
)
async def test_the_representation_that_was_synced_later_stays(
    store: Store, later: float, item: bytes
) -> None:
    await store.put_many([write("a", b"held")])
    assert await store.adopt_many([adopted("a", internal_id=None, synced=NOW + later)]) == Adopted(updated=1)
    kept = await stored(store, A)
    assert (kept.item, kept.version) == (item, 1)
    assert kept.last_synced_at == round(NOW + (later if item == b"new" else 0), 3)


async def test_a_husk_takes_what_is_brought_whatever_its_age(store: Store) -> None:
    await store.put_many([write("a", b"held")])
    await store.put_many([write("a", b"held more")])
    await store.invalidate_many([A])
    await store.adopt_many([adopted("a", internal_id=None, synced=NOW - 1)])
    kept = await stored(store, A)
    assert (kept.item, kept.last_synced_at, kept.version) == (b"new", NOW - 1, 2)
    assert (await store.stats(at=NOW)).entities["user"] == 1


async def test_local_attributes_that_are_named_are_set_and_others_stay(store: Store) -> None:
    await store.put_many([write("a")])
    await changed(store, A, department_id="d", is_field_worker=1)
    await store.adopt_many([adopted("a", internal_id=None, department_id=None)])
    assert (await stored(store, A)).local == {"is_field_worker": 1}
    await store.adopt_many([adopted("a", internal_id=None, synced=NOW - 1, department_id="e")])
    assert (await stored(store, A)).local == {"department_id": "e", "is_field_worker": 1}


async def test_an_external_id_that_is_known_gets_the_id_that_is_given(store: Store) -> None:
    await store.put_many([write("a", b"held")])
    await changed(store, A, department_id="d")
    brought = adopted("a", synced=NOW - 1)
    assert await store.adopt_many([brought]) == Adopted(updated=1, replaced=1)
    kept = await stored(store, A)
    assert (kept.item, kept.internal_id, kept.local) == (b"held", GIVEN, {"department_id": "d"})
    assert await store.find("user", derive(A, 0)) is None
    assert await store.find("user", GIVEN) == "a"


@pytest.mark.parametrize(("item", "synced"), [(b"new", NOW + 1), (b"new", NOW - 1), (None, NOW + 1)])
async def test_an_id_that_is_known_gets_the_external_id_that_is_given(
    store: Store, item: bytes | None, synced: float
) -> None:
    """What was held said the old one, so that it goes, whatever its age."""
    await store.adopt_many([adopted("old", b"held", version=3, department_id="d")])
    assert await store.adopt_many([adopted("a", item, synced=synced)]) == Adopted(updated=1, renamed=1)
    kept = await stored(store, A)
    assert (kept.item, kept.internal_id, kept.version) == (item, GIVEN, 3)
    assert kept.local == {"department_id": "d"}
    assert await store.get_many([user("old")]) == {}
    assert (await store.stats(at=NOW)).entities["user"] == (item is not None)


@pytest.mark.parametrize(
    ("item", "synced", "expected"), [(b"new", NOW, b"new"), (b"new", NOW - 1, b"held"), (None, NOW, b"held")]
)
async def test_two_rows_become_one(store: Store, item: bytes | None, synced: float, expected: bytes) -> None:
    """The id of one, the external id of the other, and what was held of that one."""
    await store.adopt_many([adopted("old", b"of old", GIVEN, version=4, department_id="old")])
    await store.adopt_many([adopted("a", b"held", OTHER, version=2, department_id="a", is_field_worker=1)])
    assert await store.adopt_many([adopted("a", item, synced=synced)]) == Adopted(updated=1, renamed=1)
    kept = await stored(store, A)
    assert (kept.item, kept.internal_id, kept.version) == (expected, GIVEN, 4)
    assert kept.local == {"department_id": "old"}, "they belong to the internal id"
    assert await store.page("user", after=None, limit=9) == [kept]
    assert (await store.stats(at=NOW)).entities["user"] == 1


async def test_two_rows_become_one_with_what_the_import_names(store: Store) -> None:
    await store.adopt_many([adopted("old", None, GIVEN, department_id="old", is_field_worker=0)])
    await store.adopt_many([adopted("a", None, OTHER, version=9, department_id="a")])
    await store.adopt_many([adopted("a", None, department_id="new", is_field_worker=None)])
    kept = await stored(store, A)
    assert (kept.internal_id, kept.version, kept.local) == (GIVEN, 9, {"department_id": "new"})


async def test_two_rows_can_change_their_ids(store: Store) -> None:
    await store.adopt_many([adopted("a", b"a", GIVEN), adopted("b", b"b", OTHER)])
    await store.adopt_many([adopted("a", b"a", OTHER), adopted("b", b"b", GIVEN)])
    found = await store.get_many([A, B])
    assert {key.id: (kept.item, kept.internal_id) for key, kept in found.items()} == {
        "a": (b"a", OTHER),
        "b": (b"b", GIVEN),
    }


async def test_an_import_without_ids_gives_none_twice(store: Store) -> None:
    await store.adopt_many([adopted("a", internal_id=derive(B, 0))])
    assert await store.adopt_many([adopted("b", internal_id=None)]) == Adopted(added=1)
    assert (await stored(store, B)).internal_id == derive(B, 1)


async def test_an_import_is_taken_altogether_or_not_at_all(store: Store) -> None:
    before = await store.put_many([write("a", b"held")])
    bad = Write(replace(adopted("c").entry, source_version="secret\ud800"), {})
    with pytest.raises(StoreError) as caught:
        await store.adopt_many([adopted("a", synced=NOW + 1), adopted("b", internal_id=None), bad])
    assert "secret" not in str(caught.value)
    assert await store.get_many([A, B, user("c")]) == before
    assert await store.adopt_many([adopted("b")]) == Adopted(added=1)


@pytest.mark.parametrize(
    "brought",
    [
        Write(entry(A, None, absent=True), {}),
        Write(entry(A._replace(variant="v")), {}),
        Write(entry(Key("other", "a")), {}),
        adopted("a", name="n"),
        Write(replace(entry(Key("business", "a")), local={"department_id": "d"}), {}),
    ],
)
async def test_an_import_brings_what_there_is_a_row_for(store: Store, brought: Write) -> None:
    with pytest.raises(ValueError, match=r"are taken over|are set"):
        await store.adopt_many([write("b"), brought])
    assert await store.get_many([A, B]) == {}
