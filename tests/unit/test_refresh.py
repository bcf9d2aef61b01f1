"""Copies that are past their freshness: what is asked behind an answer, and what is not asked at all."""

import asyncio

import pytest

from proxy.core.http.directives import RequestDirectives
from proxy.core.policy import Asked
from proxy.exchange import UpstreamError
from store.entry import Key
from tests.integration.harness import metric
from tests.unit.world import ONE, STALE, populated, sources, versions, world

NO_CACHE = Asked(RequestDirectives(no_cache=True))


async def test_a_stale_answer_is_refreshed_behind_with_others() -> None:
    async with world(freshness=STALE, refresh_gathers=0.01) as there:
        populated(there)
        await there.ask("1", "2", "3")
        there.tick(200)
        there.upstream.users |= {"1": 2, "2": 2}
        answers = [await there.ask("1"), await there.ask("2", "1"), await there.ask("1")]
        assert [sources(answer) for answer in answers] == [["stale"], ["stale", "stale"], ["stale"]]
        assert len(there.upstream.calls) == 1  # nobody has waited
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
    async with world(freshness={"revalidate_timeout": 0}) as there:
        populated(there)
        await there.ask("1")
        there.tick(200)
        there.upstream.gate.clear()
        asking = asyncio.create_task(there.ask("1", "2"))
        while len(there.upstream.calls) < 2:
            await asyncio.sleep(0)
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
