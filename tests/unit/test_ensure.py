"""Resolving for a local copy: what stands in for a failure, what an absence is worth, what a refresh waits for."""

import asyncio
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from proxy.exchange import UpstreamError
from tests.unit.world import SINGLE, STALE, World, populated, sources, versions, world

SET_COOKIE = ((b"Set-Cookie", b"session=1"),)
NO_STORE = ((b"Cache-Control", b"no-store"),)


async def ensured(there: World, *ids: str) -> dict[str, int | None]:
    resolution = await there.resolver.ensure(ids)
    assert resolution.complete, resolution
    return versions(resolution)


Fault = Literal["connect", "timeout", "circuit_open", "too_large"]


def fail(there: World, how: Fault | Literal["refused"]) -> None:
    if how == "refused":
        there.upstream.status = 401
    else:
        there.upstream.error = UpstreamError(how)


@pytest.mark.parametrize("how", ["connect", "timeout", "circuit_open", "refused", "too_large"])
@pytest.mark.parametrize("age", [150.0, 5_000.0, 10_000_000.0])
async def test_any_copy_however_old_stands_in_for_a_failure(how: Fault, age: float) -> None:
    # A table would hold it as long; memory holds what has a validator for stale_if_error.
    async with world(freshness={"stale_if_error": 1e9}) as there:
        there.resolver._limits = there.resolver._limits.__class__(0.0, 0.0)  # nothing may be served stale
        populated(there)
        await ensured(there, "1")
        there.tick(age)
        fail(there, how)
        resolution = await there.resolver.ensure(["1"])
        assert (versions(resolution), sources(resolution)) == ({"1": 1}, ["stale"])
        refused = await there.resolver.ensure(["2"])
        assert not refused.complete
        assert not refused.outcomes


async def test_what_fails_does_not_take_the_others_with_it() -> None:
    async with world() as there:
        populated(there)
        await ensured(there, "1", "2")
        fail(there, "connect")
        resolution = await there.resolver.ensure(["1", "x", "2"])
        assert versions(resolution) == {"1": 1, "2": 1}
        assert resolution.failure == "connect"


@pytest.mark.parametrize("fields", [SET_COOKIE, NO_STORE])
@pytest.mark.parametrize("single", [False, True])
async def test_what_can_t_be_held_is_given_all_the_same(fields: Any, single: bool) -> None:
    how: dict[str, Any] = {"single": SINGLE, "bulk": None} if single else {}
    async with world(**how) as there:
        populated(there)
        there.upstream.fields = fields
        for _ in range(5):
            resolution = await there.resolver.ensure(["1", "nobody"])
            assert resolution.complete
            assert versions(resolution) == {"1": 1, "nobody": None}
        both = await asyncio.gather(*(there.resolver.ensure(["1"]) for _ in range(3)))
        assert [versions(one) for one in both] == [{"1": 1}] * 3


async def test_an_absence_is_doubted_once_a_second() -> None:
    async with world(freshness={"negative_ttl": 10}) as there:
        assert await ensured(there, "1") == {"1": None}
        assert await ensured(there, "1") == {"1": None}
        assert there.upstream.ids["1"] == 1
        there.tick(1)
        for _ in range(3):
            assert await ensured(there, "1") == {"1": None}
        assert there.upstream.ids["1"] == 2
        assert sources(await there.ask("1")) == ["negative"]
        there.upstream.users["1"] = 7
        assert await ensured(there, "1") == {"1": None}
        there.tick(1)
        assert await ensured(there, "1") == {"1": 7}
        assert there.upstream.ids["1"] == 3


async def test_an_absence_is_doubted_once_a_second_when_the_upstream_fails_too() -> None:
    async with world(freshness={"negative_ttl": 10}) as there:
        await ensured(there, "1")
        fail(there, "connect")
        for tenth in range(40):
            assert await ensured(there, "1") == {"1": None}, "what is remembered stands in for a failure"
            assert there.upstream.ids["1"] <= 2 + tenth // 10
            there.tick(0.1)


async def test_whoever_doubts_while_somebody_asks_waits_for_the_same_answer() -> None:
    async with world(freshness={"negative_ttl": 10}) as there:
        await ensured(there, "1")
        there.tick(2)
        there.upstream.users["1"] = 7
        there.upstream.gate.clear()
        there.upstream.arrived.clear()
        first = asyncio.create_task(there.resolver.ensure(["1"]))
        await there.upstream.arrived.wait()
        second = asyncio.create_task(there.resolver.ensure(["1"]))
        await asyncio.sleep(0)
        there.upstream.gate.set()
        assert versions(await first) == versions(await second) == {"1": 7}
        assert there.upstream.ids["1"] == 2


async def test_a_refresh_is_a_call_of_its_own() -> None:
    async with world() as there:
        populated(there)
        await ensured(there, "1")
        there.upstream.users["1"] = 2
        assert versions(await there.resolver.refresh("1")) == {"1": 2}
        assert await ensured(there, "1") == {"1": 2}


async def test_a_refresh_does_not_join_a_call_that_began_before_it() -> None:
    async with world() as there:
        populated(there)
        there.upstream.gate.clear()
        early = asyncio.create_task(there.resolver.ensure(["1"]))
        await there.upstream.arrived.wait()
        there.upstream.users["1"] = 2  # the call under way has its answer already
        late = [asyncio.create_task(there.resolver.refresh("1")) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert there.upstream.ids["1"] == 1
        there.upstream.gate.set()
        assert versions(await early) == {"1": 1}
        assert [versions(await one) for one in late] == [{"1": 2}] * 3
        assert there.upstream.ids["1"] == 2, "those that came together share one call"
        assert await ensured(there, "1") == {"1": 2}


@pytest.mark.parametrize("how", ["connect", "refused"])
async def test_nothing_stands_in_for_a_refresh_that_failed(how: Fault) -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await ensured(there, "1")
        fail(there, how)
        resolution = await there.resolver.refresh("1")
        assert not resolution.complete
        assert not resolution.outcomes
        assert await ensured(there, "1") == {"1": 1}


async def test_a_refresh_behind_a_call_that_hangs_gives_up_in_time() -> None:
    async with world(upstream_timeout=0.05) as there:
        populated(there)
        there.upstream.gate.clear()
        early = asyncio.create_task(there.resolver.ensure(["1"]))
        await there.upstream.arrived.wait()
        assert (await there.resolver.refresh("1")).failure == "timeout"
        await early


async def test_explain_decides_as_a_request_would_and_fetches_nothing() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        entry, decision, _ = await there.resolver.explain("1")
        assert (entry, type(decision).__name__) == (None, "Miss")
        await ensured(there, "1")
        assert type((await there.resolver.explain("1"))[1]).__name__ == "Hit"
        there.tick(101)
        assert type((await there.resolver.explain("1"))[1]).__name__ == "Stale"
        await there.idle()
        assert there.upstream.ids["1"] == 1


async def test_a_refresh_that_has_not_been_made_yet_leaves_out_what_was_erased() -> None:
    async with world(freshness=STALE) as there:
        populated(there)
        await ensured(there, "1", "2")
        there.tick(101)
        resolution = await there.resolver.ensure(["1", "2"])
        assert sources(resolution) == ["stale", "stale"]
        there.resolver.let_go("1")
        await there.idle()
        assert (there.upstream.ids["1"], there.upstream.ids["2"]) == (1, 2)


async def test_who_waits_for_a_call_that_leaves_it_out_is_told_so() -> None:
    async with world(parallel=1) as there:
        populated(there)
        there.upstream.gate.clear()
        first = asyncio.create_task(there.resolver.ensure(["1"]))
        await there.upstream.arrived.wait()
        queued = asyncio.create_task(there.resolver.ensure(["2"]))
        for _ in range(5):
            await asyncio.sleep(0)
        there.resolver.let_go("2")
        there.upstream.gate.set()
        assert (await first).complete
        assert (await queued).failure == "aborted"
        assert there.upstream.ids["2"] == 0


async def test_what_a_wider_envelope_leaves_out_is_not_known_to_be_absent() -> None:
    async with world() as there:
        populated(there)
        await ensured(there, "1")
        answer = there.upstream._answer

        def wider(*arguments: Any, **how: Any) -> Any:
            found = answer(*arguments, **how)
            return replace(found, body=b'{"page":1,' + found.body[1:])

        there.upstream._answer = wider  # type: ignore[method-assign]
        del there.upstream.users["1"]
        there.tick(500)
        resolution = await there.resolver.ensure(["1", "2", "nobody"])
        assert versions(resolution) == {"1": 1, "2": 1}
        assert sources(resolution) == ["stale", "miss"]
        assert resolution.failure == "uncacheable"


async def test_a_refresh_behind_another_call_takes_no_longer_than_one() -> None:
    async with world(upstream_timeout=0.2) as there:
        populated(there)
        there.upstream.gate.clear()
        early = asyncio.create_task(there.resolver.ensure(["1"]))
        await there.upstream.arrived.wait()
        loop = asyncio.get_running_loop()
        started = loop.time()
        loop.call_later(0.15, there.upstream.gate.set)
        loop.call_later(0.151, there.upstream.gate.clear)
        await there.resolver.refresh("1")
        assert loop.time() - started < 0.35
        await early
