"""Flights: who boards, who joins, who waits how long, and what everybody gets."""

import asyncio
import json
from typing import Any

import pytest

from proxy.core.http.directives import RequestDirectives
from proxy.core.policy import Asked
from proxy.exchange import Fetched, UpstreamError
from proxy.resolver import Found, NotFound
from store.entry import Key
from tests.integration.harness import metric
from tests.unit.store.fakes import Database
from tests.unit.world import SINGLE, World, fetched, item, sources, versions, world

NO_CACHE = Asked(RequestDirectives(no_cache=True))
STALE = {"stale_while_revalidate": 500}
ONE = {"path": "/b", "ids": "/userIds", "items": "/users", "max_ids": 1}
KEY = Key("user", "1")


def populated(there: World, count: int = 300) -> None:
    there.upstream.users |= {str(number): 1 for number in range(count)}


async def test_misses_of_one_loop_turn_gather_into_one_call() -> None:
    async with world() as there:
        populated(there)
        answers = await asyncio.gather(*(there.ask(str(number)) for number in range(50)))
        assert [call.ids for call in there.upstream.calls] == [tuple(map(str, range(50)))]
        assert all(versions(answer) == {str(number): 1} for number, answer in enumerate(answers))


async def test_more_than_a_call_may_ask_for_goes_in_parallel_chunks() -> None:
    async with world() as there:
        populated(there)
        there.upstream.gate.clear()
        asking = asyncio.create_task(there.ask(*map(str, range(250))))
        while len(there.upstream.calls) < 3:
            await asyncio.sleep(0)
        assert [len(call.ids) for call in there.upstream.calls] == [100, 100, 50]
        there.upstream.gate.set()
        assert len((await asking).outcomes) == 250


async def test_chunks_run_under_a_limit() -> None:
    async with world(bulk={"path": "/b", "ids": "/userIds", "items": "/users", "max_ids": 2}) as there:
        populated(there)
        await there.ask(*map(str, range(200)))
        assert len(there.upstream.calls) == 100
        assert there.upstream.most_calls == 24


async def test_where_there_is_only_a_single_call_misses_run_concurrently_under_a_limit() -> None:
    async with world(bulk=None, single=SINGLE) as there:
        populated(there)
        await asyncio.gather(*(there.ask(str(number), single=True) for number in range(100)))
        assert len(there.upstream.calls) == 100
        assert there.upstream.most_calls == 24


async def test_a_single_that_is_alone_goes_by_a_get_and_with_others_by_a_bulk() -> None:
    async with world(single=SINGLE) as there:
        populated(there)
        await there.ask("1", single=True)
        await asyncio.gather(there.ask("2", single=True), there.ask("3", single=True))
        await there.ask("4")
        assert [(call.ids, call.single) for call in there.upstream.calls] == [
            (("1",), True),
            (("2", "3"), False),
            (("4",), False),
        ]


async def test_an_absence_that_a_bulk_brought_is_no_answer_to_a_get() -> None:
    async with world(single=SINGLE) as there:
        populated(there)
        known, unknown = await asyncio.gather(there.ask("1", single=True), there.ask("none", single=True))
        assert known.complete
        assert unknown.pass_on
        there.upstream.calls.clear()
        alone = await there.ask("none", single=True)  # what the bulk said is not shown either
        assert isinstance(alone.outcomes["none"], NotFound)
        assert alone.outcomes["none"].entry.item == b'{"why":"none"}'


async def test_a_waiter_that_goes_away_cancels_nothing() -> None:
    async with world() as there:
        populated(there)
        there.upstream.gate.clear()
        first = asyncio.create_task(there.ask("1"))
        await there.upstream.arrived.wait()
        second = asyncio.create_task(there.ask("1"))
        await asyncio.sleep(0)
        first.cancel()
        there.upstream.gate.set()
        assert versions(await second) == {"1": 1}
        with pytest.raises(asyncio.CancelledError):
            await first
        assert len(there.upstream.calls) == 1
        assert there.loader._waiters == 0


async def test_waiters_are_capped_and_the_one_too_many_is_told_to_come_again() -> None:
    async with world(max_waiters=2) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.gate.clear()
        waiting = [asyncio.create_task(there.ask("7")) for _ in range(2)]
        await there.upstream.arrived.wait()
        while there.loader._waiters < 2:
            await asyncio.sleep(0)
        refused = await there.ask("8")
        assert (refused.failure, refused.retry_after) == ("overloaded", 1.0)
        assert sources(await there.ask("1")) == ["stale"]  # a copy needs no place in the queue
        there.upstream.gate.set()
        assert [versions(answer) for answer in await asyncio.gather(*waiting)] == [{"7": 1}, {"7": 1}]


async def test_waiters_time_out_with_their_flight() -> None:
    async with world(upstream_timeout=0.02) as there:
        populated(there)
        there.upstream.gate.clear()
        answers = await asyncio.gather(*(there.ask("1") for _ in range(3)))
        assert [answer.failure for answer in answers] == ["timeout"] * 3
        assert len(there.upstream.calls) == 1


async def test_a_failure_reaches_every_waiter_once_and_is_no_absence() -> None:
    async with world() as there:
        populated(there)
        there.upstream.error = UpstreamError("reset")
        answers = await asyncio.gather(*(there.ask("1", "2") for _ in range(5)))
        assert [answer.failure for answer in answers] == ["reset"] * 5
        assert len(there.upstream.calls) == 1
        there.upstream.error = None
        assert versions(await there.ask("1", "2")) == {"1": 1, "2": 1}


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


async def test_a_refusal_is_for_everybody_who_asked_alike() -> None:
    async with world() as there:
        there.upstream.status = 403
        mine = ((b"authorization", b"a"),)
        answers = await asyncio.gather(
            there.ask("1", fields=mine),
            there.ask("1", fields=(*mine, (b"traceparent", b"x"))),
            there.ask("1", fields=((b"authorization", b"b"),)),
        )
        assert [answer.passed is not None for answer in answers] == [True, True, False]
        assert answers[2].pass_on
        assert len(there.upstream.calls) == 1


async def test_who_differs_for_the_upstream_does_not_share_a_call() -> None:
    async with world() as there:
        populated(there)
        await asyncio.gather(
            there.ask("1", fields=((b"authorization", b"a"), (b"traceparent", b"x"))),
            there.ask("2", fields=((b"authorization", b"a"), (b"traceparent", b"y"))),
            there.ask("3", fields=((b"authorization", b"b"),)),
        )
        assert [call.ids for call in there.upstream.calls] == [("1", "2"), ("3",)]
        assert (b"traceparent", b"x") in there.upstream.calls[0].fields


async def test_each_variant_is_an_entity_of_its_own() -> None:
    async with world() as there:
        populated(there)
        tenants = [{"variant": name, "fields": ((b"x-tenant", name.encode()),)} for name in ("a", "b")]
        for _ in range(2):
            await asyncio.gather(*(there.ask("1", **tenant) for tenant in tenants))
        assert [call.fields[-1] for call in there.upstream.calls] == [
            (b"x-tenant", b"a"),
            (b"x-tenant", b"b"),
        ]
        await there.invalidate("1")
        await asyncio.gather(*(there.ask("1", **tenant) for tenant in tenants))
        assert len(there.upstream.calls) == 4


async def test_what_comes_after_an_invalidation_joins_no_older_flight() -> None:
    async with world() as there:
        there.upstream.users["1"] = 1
        there.upstream.gate.clear()
        early = asyncio.create_task(there.ask("1"))
        await there.upstream.arrived.wait()
        there.upstream.users["1"] = 2
        await there.invalidate("1")
        late = asyncio.create_task(there.ask("1"))
        while len(there.upstream.calls) < 2:
            await asyncio.sleep(0)
        there.upstream.gate.set()
        assert (versions(await early), versions(await late)) == ({"1": 1}, {"1": 2})
        assert versions(await there.ask("1")) == {"1": 2}
        assert len(there.upstream.calls) == 2


async def test_an_invalidation_of_what_is_still_boarding_delays_nobody() -> None:
    async with world() as there:
        populated(there)
        asking = asyncio.create_task(there.ask("1"))
        while not there.loader._flights:
            await asyncio.sleep(0)
        await there.invalidate("1")
        await asking
        assert sources(await there.ask("1")) == ["hit"]
        assert len(there.upstream.calls) == 1


async def test_a_stale_answer_is_refreshed_behind_with_others() -> None:
    async with world(freshness=STALE, refresh_gathers=0.01) as there:
        populated(there)
        await there.ask("1", "2", "3")
        there.tick(200)
        there.upstream.users |= {"1": 2, "2": 2}
        answers = [await there.ask("1"), await there.ask("2", "1"), await there.ask("1")]
        assert [sources(answer) for answer in answers] == [["stale"], ["stale", "stale"], ["stale"]]
        assert len(there.upstream.calls) == 1  # nobody has waited
        while len(there.upstream.calls) < 2:
            await asyncio.sleep(0.001)
        await there.idle()
        assert there.upstream.calls[1].ids == ("1", "2")
        assert versions(await there.ask("1", "2")) == {"1": 2, "2": 2}
        assert metric(there.metrics, "entities_total", result="stale") == 4


async def test_who_waits_for_a_refresh_makes_it_take_off() -> None:
    async with world(freshness=STALE, refresh_gathers=3600.0) as there:
        populated(there)
        await there.ask("1", "2")
        there.tick(200)
        await there.ask("1", "2")
        assert len(there.upstream.calls) == 1
        assert sources(await there.ask("1", asked=NO_CACHE)) == ["miss"]
        assert there.upstream.calls[1].ids == ("1", "2")


async def test_refreshes_leave_room_for_those_who_wait_and_are_bounded() -> None:
    async with world(freshness=STALE, bulk=ONE) as there:
        populated(there)
        ids = [str(number) for number in range(150)]
        await there.ask(*ids)
        there.upstream.calls.clear()
        there.tick(200)
        there.upstream.gate.clear()
        await there.ask(*ids)
        while len(there.upstream.calls) < 4:
            await asyncio.sleep(0)
        assert there.loader._refreshes == 100
        waiting = asyncio.create_task(there.ask("200"))
        while len(there.upstream.calls) < 5:
            await asyncio.sleep(0)
        assert there.upstream.calls[4].ids == ("200",)
        there.upstream.gate.set()
        await waiting
        await there.idle()
        assert len(there.upstream.calls) == 101
        assert there.loader._refreshes == 0


@pytest.mark.parametrize("status", [403, 302])
async def test_a_refresh_that_is_refused_is_not_tried_at_each_request(status: int) -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.status = status
        for calls, seconds in ((2, 1), (2, 3), (2, 2), (3, 1), (3, 0)):
            assert sources(await there.ask("1")) == ["stale"]
            await there.idle()
            assert len(there.upstream.calls) == calls
            there.tick(seconds)
        there.upstream.status = 200
        there.tick(5)
        await there.ask("1")
        await there.idle()
        assert sources(await there.ask("1")) == ["hit"]


@pytest.mark.parametrize("field", [(b"Cache-Control", b"no-store"), (b"Set-Cookie", b"a=1"), (b"Vary", b"X")])
async def test_a_refresh_that_may_not_be_kept_ends_the_copy(field: tuple[bytes, bytes]) -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.fields = (field,)
        assert sources(await there.ask("1")) == ["stale"]
        await there.idle()
        assert there.store.peek(Key("user", "1")) is None
        assert (await there.ask("1")).pass_on


async def test_a_refresh_that_finds_nothing_ends_the_copy() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        del there.upstream.users["1"]
        assert sources(await there.ask("1")) == ["stale"]
        await there.idle()
        assert sources(await there.ask("1")) == ["negative"]


async def test_a_refresh_that_fails_is_tried_again_after_the_back_off() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.error = UpstreamError("reset")
        for calls in (2, 2, 3):
            assert sources(await there.ask("1")) == ["stale"]
            await there.idle()
            assert len(there.upstream.calls) == calls
            there.tick(0.3)


async def test_a_hung_upstream_holds_nobody_who_has_a_copy() -> None:
    async with world(freshness={"revalidate_timeout": 0.1}) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.gate.clear()
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert sources(await there.ask("1")) == ["stale"]
        assert 0.09 < loop.time() - started < 1.0
        # The same call is not waited for again by everybody who comes.
        started = loop.time()
        for _ in range(20):
            assert sources(await there.ask("1")) == ["stale"]
        assert loop.time() - started < 1.0
        assert len(there.upstream.calls) == 2
        there.upstream.users["1"] = 2
        there.upstream.gate.set()
        await there.idle()
        assert sources(await there.ask("1")) == ["hit"]


async def test_what_has_no_copy_is_waited_for_and_the_rest_goes_with_it() -> None:
    async with world(freshness={"revalidate_timeout": 0.01}) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.gate.clear()
        asking = asyncio.create_task(there.ask("1", "2"))
        await asyncio.sleep(0.03)
        assert not asking.done()
        there.upstream.gate.set()
        assert sources(await asking) == ["miss", "miss"]


async def test_after_a_failure_copies_are_served_without_asking() -> None:
    async with world() as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.error = UpstreamError("reset")
        for _ in range(10):
            assert sources(await there.ask("1")) == ["stale"]
        assert len(there.upstream.calls) == 2
        there.tick(0.6)  # half a second is the least of the first back-off
        assert sources(await there.ask("1")) == ["stale"]
        assert len(there.upstream.calls) == 3
        there.tick(0.6)
        await there.ask("1")
        assert len(there.upstream.calls) == 3  # the second is twice as long
        assert (await there.ask("7")).failure == "reset"  # of what there is no copy of the upstream is asked
        there.upstream.error = None
        there.tick(1)
        assert sources(await there.ask("1")) == ["miss"]


async def test_the_retry_after_of_a_failure_is_kept() -> None:
    async with world() as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.status, there.upstream.fields = 503, ((b"Retry-After", b"30"),)
        for seconds in (0, 10, 19):
            there.tick(seconds)
            assert sources(await there.ask("1")) == ["stale"]
        assert len(there.upstream.calls) == 2
        there.upstream.status, there.upstream.fields = 200, ()
        there.tick(2)
        assert sources(await there.ask("1")) == ["miss"]


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


async def test_a_call_that_stood_in_line_has_its_whole_time() -> None:
    """Else the proxy's own line would look like a slow upstream, and open the circuit of a healthy one."""
    async with world(parallel=1, upstream_timeout=1.0, bulk=ONE) as there:
        populated(there)
        within: list[float] = []
        fetch = there.upstream.fetch

        async def slow(*args: Any, **how: Any) -> Fetched:
            within.append(how["within"])
            await asyncio.sleep(0.7)
            return await fetch(*args, **how)

        there.upstream.fetch = slow  # type: ignore[method-assign]
        answers = await asyncio.gather(*(there.ask(str(number)) for number in range(4)))
        failures = [answer.failure for answer in answers]
        assert failures == [None, "timeout", "timeout", "timeout"]  # each waited as long as a call may take
        await there.idle()
        assert within == [1.0, 1.0]  # those beyond were never asked for
        assert not there.loader.backing_off
        assert metric(there.metrics, "upstream_errors_total") == 0
        assert sources(await there.ask("1")) == ["hit"]  # nothing was in vain


async def test_nobody_stands_in_the_line_of_the_refreshes() -> None:
    async with world(freshness=STALE, bulk=ONE) as there:
        populated(there)
        ids = [str(number) for number in range(20)]
        await there.ask(*ids)
        there.upstream.calls.clear()
        there.tick(200)
        there.upstream.gate.clear()
        await there.ask(*ids)
        while len(there.upstream.calls) < 4:
            await asyncio.sleep(0)
        await there.invalidate("19")
        late = asyncio.create_task(there.ask("19"))
        while len(there.upstream.calls) < 5:
            await asyncio.sleep(0)
        assert there.upstream.calls[4].ids == ("19",)
        there.upstream.gate.set()
        assert sources(await late) == ["miss"]
        await there.idle()
        assert there.upstream.ids["19"] == 1  # the refresh left it out


async def test_a_refresh_that_gathered_while_the_upstream_failed_is_left() -> None:
    async with world(freshness=STALE, refresh_gathers=0.01) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.error = UpstreamError("reset")
        assert (await there.ask("1", "2")).failure == "reset"
        await there.idle()
        assert [call.ids for call in there.upstream.calls] == [("1",), ("2",)]


async def test_what_a_refresh_finds_beyond_this_cache_goes_past_it() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.error = UpstreamError("too_large")
        assert sources(await there.ask("1")) == ["stale"]
        await there.idle()
        assert (await there.ask("1")).pass_on
        there.upstream.error = UpstreamError("reset")
        assert sources(await there.ask("1")) == ["stale"]  # it has failed: the copy is there for that
        there.upstream.error = None
        there.tick(5)
        assert sources(await there.ask("1")) == ["miss"]
        there.tick(200)
        assert sources(await there.ask("1")) == ["stale"]  # and what came is as good as any


async def test_what_one_caller_is_refused_another_may_refresh() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        good, bad = ((b"authorization", b"good"),), ((b"authorization", b"bad"),)
        await there.ask("1", fields=good)
        there.tick(200)
        there.upstream.status = 401
        await there.ask("1", fields=bad)
        await there.idle()
        there.upstream.status = 200
        await there.ask("1", fields=bad)
        await there.idle()
        assert len(there.upstream.calls) == 2
        await there.ask("1", fields=good)
        await there.idle()
        assert sources(await there.ask("1")) == ["hit"]


async def test_the_words_of_a_failure_are_for_who_caused_it() -> None:
    async with world() as there:
        there.upstream.status = 503
        mine = ((b"authorization", b"a"),)
        answers = await asyncio.gather(
            there.ask("1", fields=mine),
            there.ask("1", fields=mine),
            there.ask("1", fields=((b"authorization", b"b"),)),
        )
        assert [answer.passed is not None for answer in answers] == [True, True, False]
        assert {answer.failure for answer in answers} == {"status"}


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


async def test_a_flight_that_is_cancelled_before_its_first_step_lands_all_the_same() -> None:
    async with world() as there:
        populated(there)
        asking = asyncio.create_task(there.ask("1"))
        while not there.loader._flights:
            await asyncio.sleep(0)
        (flight,) = there.loader._flights.values()
        assert flight.timer is not None
        flight.timer.cancel()
        there.loader._take_off(flight)
        await there.supervisor.close()
        assert (await asking).failure == "aborted"
        assert not there.loader._flights


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


async def test_a_shutdown_answers_who_waits() -> None:
    async with world() as there:
        populated(there)
        there.upstream.gate.clear()
        asking = asyncio.create_task(there.ask("1"))
        await there.upstream.arrived.wait()
        await there.supervisor.close()
        assert (await asking).failure == "aborted"
        assert (await there.ask("2")).failure == "aborted"


async def test_a_flight_leaves_nothing_behind() -> None:
    async with world() as there:
        populated(there)
        for status in (200, 503):
            there.upstream.status = status
            there.tick(200)
            await asyncio.gather(*(there.ask(str(number), "1") for number in range(2, 20)))
        await there.idle()
        loader: Any = there.loader
        assert (loader._flights, loader._boarding, loader._waiters) == ({}, {}, 0)
        assert len(there.store._generations) == 0


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
