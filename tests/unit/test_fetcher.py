"""What an upstream's answer means: validated, absent, beyond the cache, or a failure."""

import asyncio
import json

import pytest

from proxy.exchange import Fetched, UpstreamError
from proxy.outcomes import Found, NotFound
from store.entry import Key
from tests.integration.harness import metric
from tests.unit.store.fakes import Database
from tests.unit.world import SINGLE, STALE, fetched, item, populated, sources, versions, world

KEY = Key("user", "1")


@pytest.mark.parametrize("field", [(b"Cache-Control", b"no-store"), (b"Set-Cookie", b"a=1"), (b"Vary", b"X")])
async def test_uncacheable_answers_do_not_queue_the_herd(field: tuple[bytes, bytes]) -> None:
    async with world() as there:
        populated(there)
        there.upstream.fields = (field,)
        answers = await asyncio.gather(*(there.ask("1") for _ in range(5)))
        assert [answer.pass_on for answer in answers[1:]] == [True] * 4  # each goes on by itself
        assert len(there.upstream.calls) == 1
        later = await asyncio.gather(*(there.ask("1", "2") for _ in range(5)))
        assert all(answer.pass_on for answer in later)
        assert (
            len(there.upstream.calls) == 1
        )  # marked: nobody waits, and the other id is not fetched for nothing
        there.tick(6)
        there.upstream.fields = ()
        assert (await there.ask("1", "2")).complete


@pytest.mark.parametrize("single", [True, False])
async def test_an_upstream_that_sets_cookies_always_is_not_asked_twice_for_each_id(*, single: bool) -> None:
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("50", single=single)
        there.upstream.fields = ((b"Set-Cookie", b"a=1"),)
        for number in range(10):
            assert (await there.ask(str(number), single=single)).pass_on
        assert len(there.upstream.calls) == 1 + 3
        assert sources(await there.ask("50")) == ["hit"]
        there.tick(6)
        assert (await there.ask("20", single=single)).pass_on
        assert len(there.upstream.calls) == 5  # it is looked at again, and has not changed
        assert (await there.ask("21", single=single)).pass_on
        assert len(there.upstream.calls) == 5
        there.tick(6)
        there.upstream.fields = ()
        assert (await there.ask("22", single=single)).complete
        assert (await there.ask("23", single=single)).complete


async def test_an_answer_that_is_too_large_marks_its_ids() -> None:
    async with world() as there:
        there.upstream.error = UpstreamError("too_large")
        assert (await there.ask("1")).pass_on
        assert (await there.ask("1")).pass_on
        assert len(there.upstream.calls) == 1


async def test_a_copy_is_validated_and_kept_by_a_304() -> None:
    """RFC 9111 section 4.3."""
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("1", single=True)
        there.tick(200)
        for asked_as in ({"single": True}, {}):  # a bulk of one knows a validator's worth, too
            again = await there.ask("1", **asked_as)
            outcome = again.outcomes["1"]
            assert isinstance(outcome, Found)
            assert (outcome.validated, outcome.forward) == (True, "stale")
            assert (b"If-None-Match", b'"1"') in there.upstream.calls[-1].fields
            assert sources(await there.ask("1")) == ["hit"]
            there.tick(200)
        there.upstream.users["1"] = 2
        changed = await there.ask("1", single=True)
        assert versions(changed) == {"1": 2}
        assert len(there.upstream.calls) == 4


async def test_the_fence_holds_for_a_304_too() -> None:
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("1", single=True)
        there.tick(200)
        there.upstream.gate.clear()
        there.upstream.arrived.clear()
        early = asyncio.create_task(there.ask("1", single=True))
        await there.upstream.arrived.wait()
        there.upstream.users["1"] = 2
        await there.invalidate("1")
        there.upstream.gate.set()
        assert versions(await early) == {"1": 1}
        assert versions(await there.ask("1", single=True)) == {"1": 2}


async def test_the_validators_of_what_was_dropped_in_line_are_not_sent() -> None:
    """Or an upstream whose validators are coarse would bring back what was invalidated."""
    async with world(single=SINGLE, parallel=1) as there:
        populated(there)
        there.upstream.coarse = True
        await there.ask("1", single=True)
        there.tick(200)
        there.upstream.gate.clear()
        there.upstream.arrived.clear()
        first = asyncio.create_task(there.ask("9", single=True))
        await there.upstream.arrived.wait()
        early = asyncio.create_task(there.ask("1", single=True))
        while KEY not in there.loader._flights:
            await asyncio.sleep(0)
        there.upstream.users["1"] = 2
        await there.invalidate("1")
        late = asyncio.create_task(there.ask("1", single=True))
        await asyncio.sleep(0)
        there.upstream.gate.set()
        await asyncio.gather(first, early)
        assert versions(await late) == {"1": 2}
        assert versions(await there.ask("1", single=True)) == {"1": 2}


async def test_the_validators_of_what_was_dropped_from_a_refresh_are_not_sent() -> None:
    async with world(single=SINGLE, freshness=STALE, refresh_gathers=3600.0) as there:
        populated(there)
        there.upstream.coarse = True
        await there.ask("1", single=True)
        there.tick(200)
        assert sources(await there.ask("1", single=True)) == ["stale"]
        there.upstream.users["1"] = 2
        await there.invalidate("1")
        assert versions(await there.ask("1", single=True)) == {"1": 2}
        assert len(there.upstream.calls) == 2


async def test_an_absence_that_was_learned_while_the_database_failed_is_no_less_true() -> None:
    database = Database()
    async with world(database=database, storage="database") as there:
        populated(there)
        await there.ask("1")
        await there.store.flush()
        there.store.memory.clear()
        del there.upstream.users["1"]
        database.broken.add("get")
        assert versions(await there.ask("1")) == {"1": None}
        database.broken.clear()
        there.tick(30)
        there.upstream.error = UpstreamError("reset")
        assert (await there.ask("1")).failure == "reset"


async def test_an_absence_of_one_variant_says_nothing_of_another() -> None:
    async with world() as there:
        populated(there)
        tenants = [{"variant": name, "fields": ((b"x-tenant", name.encode()),)} for name in ("a", "b")]
        for tenant in tenants:
            await there.ask("1", **tenant)
        there.tick(200)
        del there.upstream.users["1"]
        await there.ask("1", **tenants[0])
        there.upstream.error = UpstreamError("reset")
        there.tick(5)
        assert sources(await there.ask("1", **tenants[1])) == ["stale"]


async def test_a_304_about_something_else_is_asked_again_without_conditions() -> None:
    """RFC 9111 section 4.3.4."""
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("1", single=True)
        there.tick(200)
        answers = [fetched(304, b"", ((b"ETag", b'"other"'),)), fetched(200, item("1", 2))]
        there.upstream._answer = lambda *_, **__: answers.pop(0)  # type: ignore[method-assign]
        assert versions(await there.ask("1", single=True)) == {"1": 2}
        assert not any(name == b"If-None-Match" for name, _ in there.upstream.calls[-1].fields)


async def test_an_unasked_304_is_passed_on_as_it_is() -> None:
    async with world(single=SINGLE) as there:
        there.upstream.status = 304
        assert (await there.ask("1", single=True)).passed is not None


@pytest.mark.parametrize(("held", "missing", "failure"), [(5, 3, True), (5, 2, False), (4, 4, False)])
async def test_an_answer_that_leaves_out_most_of_what_we_hold_is_a_failure(
    held: int, missing: int, *, failure: bool
) -> None:
    async with world() as there:
        populated(there)
        ids = [str(number) for number in range(held)]
        await there.ask(*ids)
        there.tick(200)
        for entity in ids[:missing]:
            del there.upstream.users[entity]
        answer = await there.ask(*ids)
        errors = metric(there.metrics, "upstream_errors_total", reason="implausible_absence")
        if failure:
            assert (sources(answer), errors) == (["stale"] * held, 1)
        else:
            assert (list(versions(answer).values()).count(None), errors) == (missing, 0)


async def test_an_entity_that_is_gone_is_forgotten() -> None:
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("1", single=True)
        there.tick(200)
        del there.upstream.users["1"]
        gone = await there.ask("1", single=True)
        assert isinstance(gone.outcomes["1"], NotFound)
        there.upstream.error = UpstreamError("reset")
        there.tick(30)
        assert (await there.ask("1", single=True)).failure == "reset"


@pytest.mark.parametrize("status", [404, 410])
async def test_an_absence_that_may_not_be_stored_drops_the_copy_all_the_same(status: int) -> None:
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("1", single=True)
        there.tick(200)
        there.upstream.status, there.upstream.fields = status, ((b"Cache-Control", b"no-store"),)
        gone = await there.ask("1", single=True)
        assert (type(gone.outcomes["1"]), gone.outcomes["1"].stored) == (NotFound, False)
        assert there.store.peek(Key("user", "1")) is None


async def test_an_upstream_that_repeats_an_id_is_answered_once_and_not_kept() -> None:
    async with world() as there:
        populated(there)
        item = json.dumps({"id": "1", "v": 1})
        there.upstream._answer = lambda *_, **__: _two(item)  # type: ignore[method-assign]
        first = await there.ask("1")
        assert versions(first) == {"1": 1}
        assert not first.outcomes["1"].stored


def _two(item: str) -> Fetched:
    return fetched(200, f'{{"users":[{item},{item}]}}'.encode())
