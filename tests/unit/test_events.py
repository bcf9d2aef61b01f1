"""What owners tell, done to the local copy: from memory and from the database, in any order, however often."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.events import Invalid
from proxy.refetching import QUIET
from store.base import StoreError
from tests.unit.store.fakes import Database
from tests.unit.store.samples import open_store
from tests.unit.told import A, There, there
from tests.unit.world import sources, versions


@pytest.fixture(params=["memory", "database"])
async def one(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[There]:
    database = None if request.param == "memory" else await open_store(tmp_path / "events.db")
    async with there(database) as made:
        yield made
    if database is not None:
        await database.close()


async def test_what_an_event_brings_is_what_the_next_request_sees(one: There) -> None:
    await one.in_step(1)
    assert await one.tell(2, {"v": 2, "name": "new"}) == "merged"
    assert await one.item() == b'{"id": "a","v": 2,"name": "new"}'
    assert sources(await one.world.ask("a")) == ["hit"]
    assert len(one.world.upstream.calls) == 1
    assert one.invalidated == [A]


async def test_what_an_event_does_not_name_keeps_its_bytes(one: There) -> None:
    await one.in_step(1)
    assert await one.tell(2, {"name": "x"}) == "merged"
    assert await one.tell(3, {"name": None}) == "merged"
    assert await one.item() == b'{"id": "a","v": 1}'
    held = await one.held()
    assert held is not None
    assert (held.source_version, held.version) == ("3", 3)


async def test_a_merged_copy_is_as_fresh_as_a_fetched_one(one: There) -> None:
    await one.in_step(1)
    one.world.tick(90)
    await one.tell(2, {"v": 2})
    one.world.tick(90)
    assert sources(await one.world.ask("a")) == ["hit"]
    one.world.tick(11)
    one.world.upstream.users["a"] = 2
    assert sources(await one.world.ask("a")) == ["miss"]


async def test_an_event_without_data_is_fetched_behind(one: There) -> None:
    await one.in_step(1)
    one.world.upstream.users["a"] = 2
    assert await one.tell(2) == "invalidated"
    assert await one.item() is None
    assert await one.fetched_behind() == 1
    assert versions(await one.world.ask("a")) == {"a": 2}
    assert len(one.world.upstream.calls) == 2


async def test_a_request_between_an_event_and_the_fetch_behind_it_is_the_fetch(one: There) -> None:
    await one.in_step(1)
    one.world.upstream.users["a"] = 2
    await one.tell(2)
    assert versions(await one.world.ask("a")) == {"a": 2}


@pytest.mark.parametrize("version", [2, None])
async def test_a_storm_makes_one_fetch(one: There, version: int | None) -> None:
    await one.in_step(1)
    one.world.upstream.users["a"] = 102
    for number in range(100):
        outcome = await one.tell(None if version is None else version + number)
        assert outcome == "invalidated"
    assert await one.fetched_behind() == 1
    assert await one.fetched_behind() == 0
    assert versions(await one.world.ask("a")) == {"a": 102}


async def test_a_storm_that_goes_on_while_it_is_fetched_is_fetched_again(one: There) -> None:
    await one.in_step(1)
    await one.tell()
    one.world.upstream.gate.clear()
    one.world.upstream.arrived.clear()
    one.timers.tick(QUIET)
    await one.world.upstream.arrived.wait()
    one.world.upstream.users["a"] = 2
    one.world.upstream.invalidated["a"] += 1
    assert await one.tell() == "invalidated"
    one.world.upstream.gate.set()
    await one.world.idle()
    # What the first has brought was true before the second.
    assert await one.item() is None
    assert await one.fetched_behind() == 1
    assert versions(await one.world.ask("a")) == {"a": 2}


@pytest.mark.parametrize("data", [None, {"v": 0}])
async def test_what_is_older_or_equal_changes_nothing(one: There, data: dict[str, Any] | None) -> None:
    await one.in_step(5)
    before = await one.held()
    for version in (5, 4, 0, -1):
        assert await one.tell(version, data) == "unchanged"
    assert await one.held() == before
    assert await one.fetched_behind() == 0
    assert one.invalidated == []


async def test_out_of_order_the_newest_stands(one: There) -> None:
    await one.in_step(1)
    one.world.upstream.users["a"] = 3
    # The second comes before the first: what is between them is missing.
    assert await one.tell(3, {"v": 3}) == "invalidated"
    assert await one.tell(2, {"v": 2}) == "unchanged"
    assert await one.fetched_behind() == 1
    assert versions(await one.world.ask("a")) == {"a": 3}
    assert await one.tell(2, {"v": 2}) == "unchanged"
    assert versions(await one.world.ask("a")) == {"a": 3}


async def test_a_message_counts_once(one: There) -> None:
    await one.in_step(1)
    assert await one.tell(name="m") == "invalidated"
    await one.in_step(2)
    assert await one.tell(name="m") == "repeated"
    assert versions(await one.world.ask("a")) == {"a": 2}
    assert len(one.world.upstream.calls) == 2


async def test_what_is_deleted_is_absent_at_once(one: There) -> None:
    await one.in_step(1)
    assert await one.tell(2, deleted=True) == "deleted"
    assert versions(await one.world.ask("a")) == {"a": None}
    assert await one.fetched_behind() == 0
    assert len(one.world.upstream.calls) == 1
    # What was sent before the deletion comes after it.
    assert await one.tell(1, {"v": 1}) == "unchanged"
    one.world.upstream.users["a"] = 3
    assert await one.tell(3, {"v": 3}) == "invalidated"
    assert versions(await one.world.ask("a")) == {"a": 3}


async def test_of_what_nobody_has_asked_for_nothing_is_fetched(one: There) -> None:
    one.world.upstream.users["a"] = 1
    assert await one.tell(2, {"v": 2}) == "invalidated"
    assert await one.tell(None) == "invalidated"
    assert await one.fetched_behind() == 0
    assert await one.held() is None


async def test_an_answer_that_is_older_than_an_event_is_not_believed_for_a_while(one: There) -> None:
    await one.in_step(1)
    await one.tell(2)
    # The owner reads from where the change has not arrived yet: there is nothing newer to show.
    assert versions(await one.world.ask("a")) == {"a": 1}
    assert versions(await one.world.ask("a")) == {"a": 1}
    assert len(one.world.upstream.calls) == 3
    one.world.upstream.users["a"] = 2
    assert versions(await one.world.ask("a")) == {"a": 2}
    assert sources(await one.world.ask("a")) == ["hit"]


async def test_what_an_event_has_brought_is_not_gone_back_from_for_a_while(one: There) -> None:
    await one.in_step(1)
    await one.tell(2, {"v": 2})
    await one.world.resolver.refresh("a")
    assert versions(await one.world.ask("a")) == {"a": 2}
    one.world.tick(61)
    # By now it is the owner's word, whatever it was before.
    await one.world.resolver.refresh("a")
    assert versions(await one.world.ask("a")) == {"a": 1}


async def test_data_that_does_not_fit_changes_nothing(one: There) -> None:
    await one.in_step(1)
    for data in ({"id": "b"}, {"id": None}):
        with pytest.raises(Invalid):
            await one.tell(2, data, name="m")
    assert versions(await one.world.ask("a")) == {"a": 1}
    assert await one.tell(2, {"v": 2}, name="m") == "merged"


async def test_an_item_that_grows_too_large_is_fetched(one: There) -> None:
    await one.in_step(1)
    assert await one.tell(2, {"name": "x" * 2**20}) == "invalidated"
    assert await one.item() is None


async def test_versions_that_do_not_compare_are_fetched(one: There) -> None:
    await one.in_step(1)
    for version in ("2024-01-01T00:00:00Z", "etag"):
        assert await one.tell(version, {"name": "x"}) == "invalidated"
    assert await one.fetched_behind() == 1


async def test_a_fetch_that_names_no_version_keeps_that_of_an_event(tmp_path: Path) -> None:
    for database in (None, await open_store(tmp_path / "events.db")):
        async with there(database, source_version=None) as one:
            await one.in_step(1)
            assert await one.tell(7, {"v": 7}) == "invalidated"
            await one.in_step(8)
            # What was sent before it, and comes late.
            assert await one.tell(7, {"v": 7}) == "unchanged"
            assert await one.tell(6) == "unchanged"
            # Whether what is held has this already nobody knows.
            assert await one.tell(8, {"v": 8}) == "invalidated"
        if database is not None:
            await database.close()


async def test_a_database_that_fails_takes_no_event(tmp_path: Path) -> None:
    database = Database()
    async with there(database) as one:
        await one.in_step(1)
        database.broken |= {"apply", "invalidate", "get"}
        one.world.upstream.users["a"] = 2
        with pytest.raises(StoreError):
            await one.tell(2, {"v": 2}, name="m")
        assert one.invalidated == [A]
        assert versions(await one.world.ask("a")) == {"a": 2}
        database.broken.clear()
        assert await one.tell(2, {"v": 2}, name="m") != "repeated"


async def test_local_attributes_stay_ours(tmp_path: Path) -> None:
    database = await open_store(tmp_path / "events.db")
    async with there(database) as one:
        await one.in_step(1)
        await one.world.store.change(A, local={"department_id": "d"})
        first = await one.held()
        await one.tell(2, {"v": 2, "departmentId": "theirs", "department_id": "theirs"})
        await one.tell(3, deleted=True)
        one.world.tick(60)
        await one.in_step(4)
        held = await one.held()
        assert first is not None
        assert held is not None
        assert held.local == {"department_id": "d"}
        assert held.internal_id == first.internal_id
        assert held.version > first.version
    await database.close()


async def test_what_is_erased_is_not_fetched_behind(one: There) -> None:
    await one.in_step(1)
    await one.tell()
    one.world.resolver.let_go("a")
    await one.world.store.erase(A)
    assert await one.fetched_behind() == 0
    assert await one.held() is None


async def test_an_older_event_changes_nothing_after_an_answer_that_was_behind(one: There) -> None:
    await one.in_step(5)
    one.world.upstream.users["a"] = 6
    await one.tell(8)
    # By one who waits: the owner reads from where neither has arrived.
    assert versions(await one.world.ask("a")) == {"a": 6}
    assert await one.tell(7, {"v": 7}) == "unchanged"
    one.world.upstream.users["a"] = 7
    assert versions(await one.world.ask("a")) == {"a": 7}
    one.world.upstream.users["a"] = 8
    assert versions(await one.world.ask("a")) == {"a": 8}
    assert sources(await one.world.ask("a")) == ["hit"]


async def test_what_an_event_finds_as_new_is_not_gone_back_from_either(one: There) -> None:
    await one.in_step(2)
    assert await one.tell(2) == "unchanged"
    one.world.upstream.users["a"] = 1
    await one.world.resolver.refresh("a")
    assert versions(await one.world.ask("a")) == {"a": 2}


async def test_nothing_is_fetched_after_the_end(one: There) -> None:
    await one.in_step(1)
    await one.tell()
    one.events.close()
    one.events.close()
    assert len(one.events._subjects["user"].refetching) == 0
