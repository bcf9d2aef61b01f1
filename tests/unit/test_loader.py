"""Flights: who boards, who joins, who waits how long, and what everybody gets."""

import asyncio
from typing import Any

import pytest

from proxy.core.http.directives import RequestDirectives
from proxy.core.policy import Asked
from proxy.exchange import UpstreamError
from proxy.outcomes import NotFound
from store.entry import Entry, Key
from tests.integration.harness import metric
from tests.unit.world import ONE, SINGLE, STALE, World, populated, sources, versions, world


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


async def test_a_call_that_stood_in_line_has_its_whole_time() -> None:
    """Else the proxy's own line would look like a slow upstream, and open the circuit of a healthy one."""
    async with world(parallel=1, bulk=ONE) as there:
        populated(there)
        await asyncio.gather(*(there.ask(str(number)) for number in range(4)))
        assert [call.within for call in there.upstream.calls] == [4.0] * 4


async def test_who_gets_no_turn_is_not_the_upstreams_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time is for the line: who had waited longer would not see the answer, and is told to come again."""
    waits: list[float | None] = []
    timeout = asyncio.timeout

    def noted(delay: float | None) -> asyncio.Timeout:
        waits.append(delay)
        return timeout(delay)

    monkeypatch.setattr(asyncio, "timeout", noted)
    async with world(parallel=1, upstream_timeout=0.02) as there:
        populated(there)
        await there.loader._turns._free.acquire()
        refused = await there.ask("1")
        assert (refused.failure, refused.retry_after, waits) == ("overloaded", 1.0, [0.01])
        await there.idle()
        assert not there.upstream.calls
        assert not there.loader.backing_off
        assert metric(there.metrics, "upstream_errors_total") == 1
        assert metric(there.metrics, "upstream_errors_total", reason="overloaded") == 1  # it was not asked
        there.loader._turns._free.release()
        assert (await there.ask("1")).complete


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


async def test_calls_are_counted_that_a_refresher_would_have_saved() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await there.ask("1")
        assert there.loader.renewals == 0
        there.tick(101)
        assert sources(await there.ask("1")) == ["stale"]
        await there.idle()
        assert there.loader.renewals == 1
        # These would be made all the same.
        await there.resolver.refresh("1")
        await there.ask("1", asked=Asked(RequestDirectives(no_cache=True)))
        await there.loader.renew({"1": held(there, "1")})
        assert len(there.upstream.calls) == 5
        assert there.loader.renewals == 1
        # Of what was not asked for until it is not even shown stale nobody knows that it is used.
        there.tick(1000)
        assert sources(await there.ask("1")) == ["miss"]
        assert there.loader.renewals == 1


def held(there: World, entity: str) -> Entry:
    entry = there.store.memory.look_at(Key("user", entity))
    assert entry is not None
    return entry
