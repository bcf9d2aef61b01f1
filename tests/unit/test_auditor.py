"""Copies that were served are compared with what the upstream has: which of them, how often, and what is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from msgspec.structs import replace

from config.model import AuditConfig
from proxy.auditor import Auditor
from proxy.core.auditing import AuditResult
from proxy.core.http.directives import RequestDirectives
from proxy.core.policy import Asked
from proxy.exchange import UpstreamError
from store.entry import Key
from tests.integration.harness import PATIENCE, metric
from tests.unit.world import SINGLE, STALE, World, populated, sources, versions, world

_TURNS = 50
"""Of the event loop: more than an audit takes."""
_BOUND = "audit_outdated_seconds"


class Audit:
    """An auditor of a world; it stands still after each call until the test lets it go on."""

    def __init__(
        self, there: World, ratio: float, max_rate: int, at_once: int, rng: Callable[[], float]
    ) -> None:
        self.there = there
        self.may_call = True
        self.pauses: list[float] = []
        self.crashes: list[str] = []
        self._go_on = asyncio.Event()
        self.auditor = Auditor(
            AuditConfig(sample_ratio=ratio, max_rate=max_rate),
            metrics=there.metrics,
            rng=rng,
            on_crash=lambda name, error: self.crashes.append(f"{name}: {error!r}"),
            sleep=self._sleep,
        )
        there.resolver.on_served = self.auditor.of(
            there.loader, there.store, at_once=at_once, may_call=lambda: self.may_call
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._go_on.wait()
        self._go_on.clear()

    def go_on(self) -> None:
        """Have the pause end."""
        self._go_on.set()

    async def made(self, calls: int) -> None:
        """Wait until so many calls were made, and what they brought is counted."""
        async with asyncio.timeout(PATIENCE):
            while len(self.pauses) < calls:
                await asyncio.sleep(0)

    async def quiet(self) -> None:
        """Let everything happen that is going to happen by itself."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def count(self, result: AuditResult) -> float:
        return metric(self.there.metrics, "audits_total", resource="user", result=result)

    @property
    def compared(self) -> float:
        return metric(self.there.metrics, "audits_total")

    def seconds(self, bound: str) -> tuple[float, float]:
        """How many times were counted by that bound, and their sum."""
        return tuple(  # type: ignore[return-value]
            self._of_bound(part, bound) for part in ("count", "sum")
        )

    def _of_bound(self, part: str, bound: str) -> float:
        return sum(
            sample.value
            for sample in self.there.metrics.snapshot()
            if sample.name == f"{_BOUND}_{part}" and sample.labels["bound"] == bound
        )


@asynccontextmanager
async def audited(
    *,
    ratio: float = 1.0,
    max_rate: int = 1,
    at_once: int = 100,
    rng: Callable[[], float] = lambda: 0.999,
    **of_world: Any,
) -> AsyncIterator[tuple[World, Audit]]:
    """A world with some users, all of its copies audited; user 1 is in memory."""
    async with world(**of_world) as there:
        populated(there, 5)
        audit = Audit(there, ratio, max_rate, at_once, rng)
        await there.ask("1")
        task = asyncio.create_task(audit.auditor.run())
        try:
            yield there, audit
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert not audit.crashes


async def test_a_copy_that_is_what_the_upstream_has() -> None:
    async with audited() as (there, audit):
        await audit.quiet()
        assert len(there.upstream.calls) == 1  # what was fetched for a request is no copy
        there.tick(50)
        assert sources(await there.ask("1")) == ["hit"]
        await audit.made(1)
        assert (audit.count("current"), audit.compared) == (1, 1)
        assert audit.seconds("at_most") == (0, 0)
        assert there.upstream.ids["1"] == 2
        # It is about no request, and its call is a fetch like any other: the copy is as new as that.
        assert metric(there.metrics, "entities_total") == 2
        assert metric(there.metrics, "misses_total") == 1
        assert metric(there.metrics, "upstream_ids_total") == 2
        held = there.store.memory.look_at(Key("user", "1"))
        assert held is not None
        assert held.received_at == there.now


async def test_a_copy_that_has_changed_was_out_of_date_for_its_age_at_the_most() -> None:
    async with audited() as (there, audit):
        there.upstream.users["1"] = 2
        there.tick(50)
        await there.ask("1")
        await audit.made(1)
        assert (audit.count("outdated"), audit.compared) == (1, 1)
        assert audit.seconds("at_most") == (1, 50)
        assert audit.seconds("at_least") == (0, 0)


async def test_a_version_that_is_a_time_says_for_how_long_at_least() -> None:
    async with audited(source_version="/v") as (there, audit):
        cast("dict[str, str]", there.upstream.users)["1"] = "2027-01-15T08:00:20Z"
        there.tick(50)
        await there.ask("1")
        await audit.made(1)
        assert audit.count("outdated") == 1
        assert audit.seconds("at_most") == (1, 50)
        assert audit.seconds("at_least") == (1, 30)


async def test_a_copy_of_what_is_gone() -> None:
    async with audited() as (there, audit):
        del there.upstream.users["1"]
        there.tick(50)
        await there.ask("1")
        await audit.made(1)
        assert (audit.count("gone"), audit.compared) == (1, 1)
        assert audit.seconds("at_most") == (1, 50)


@pytest.mark.parametrize("status", [403, 500])
async def test_a_call_without_an_answer_says_nothing_of_the_copy(status: int) -> None:
    async with audited() as (there, audit):
        there.upstream.status = status
        await there.ask("1")
        await audit.made(1)
        assert (audit.count("failed"), audit.compared) == (1, 1)
        assert sources(await there.ask("1")) == ["hit"]


async def test_a_copy_that_the_upstream_confirms_by_its_validator() -> None:
    async with audited(bulk=None, single=SINGLE, at_once=1) as (there, audit):
        await there.ask("1")
        await audit.made(1)
        assert audit.count("current") == 1
        assert there.upstream.calls[-1].fields[-1] == (b"If-None-Match", b'"1"')


async def test_what_may_not_be_kept_is_compared_all_the_same() -> None:
    async with audited() as (there, audit):
        there.upstream.users["1"] = 2
        there.upstream.fields = ((b"Set-Cookie", b"a=1"),)
        await there.ask("1")
        await audit.made(1)
        assert (audit.count("outdated"), audit.compared) == (1, 1)


async def test_a_stale_copy_is_compared_by_the_call_that_renews_it() -> None:
    async with audited(freshness=STALE, refresh_gathers=3600.0) as (there, audit):
        there.upstream.users["1"] = 2
        there.tick(200)
        assert sources(await there.ask("1")) == ["stale"]
        await audit.made(1)
        assert audit.count("outdated") == 1
        assert audit.seconds("at_most") == (1, 200)
        assert there.upstream.ids["1"] == 2


async def test_several_are_compared_by_one_call_and_each_once_a_second() -> None:
    async with audited() as (there, audit):
        await there.ask("2", "3")
        there.upstream.calls.clear()
        for _ in range(3):
            await there.ask("1", "2")
        await there.ask("3")
        await audit.made(1)
        assert [call.ids for call in there.upstream.calls] == [("1", "2", "3")]
        audit.go_on()
        await there.ask("1")
        await audit.quiet()
        assert len(there.upstream.calls) == 1
        there.tick(1)
        await there.ask("1")
        await audit.made(2)
        assert [call.ids for call in there.upstream.calls] == [("1", "2", "3"), ("1",)]


async def test_calls_keep_to_their_rate_and_what_is_beyond_is_not_compared() -> None:
    async with audited(max_rate=4, at_once=2) as (there, audit):
        await there.ask("2", "3", "4")
        there.upstream.calls.clear()
        there.tick(1)
        await there.ask("1")
        await audit.made(1)
        there.tick(1)
        await there.ask("1", "2", "3", "4")
        await audit.quiet()
        assert [call.ids for call in there.upstream.calls] == [("1",)]
        audit.go_on()
        await audit.made(2)
        assert [call.ids for call in there.upstream.calls] == [("1",), ("1", "2")]
        audit.go_on()
        await audit.quiet()
        assert len(there.upstream.calls) == 2
        assert audit.compared == 3
        assert audit.pauses == [0.25, 0.25]


async def test_a_part_is_sampled() -> None:
    chances: Iterator[float] = iter([0.24, 0.25, 0.0, 0.9])
    async with audited(ratio=0.25, rng=lambda: next(chances)) as (there, audit):
        await there.ask("2", "3", "4")
        there.upstream.calls.clear()
        await there.ask("1", "2", "3", "4")
        await audit.made(1)
        assert [call.ids for call in there.upstream.calls] == [("1", "3")]


async def test_of_a_ratio_of_nothing_nothing_is_compared() -> None:
    async with audited(ratio=0.0, rng=lambda: 0.0) as (there, audit):
        await there.ask("1")
        await audit.quiet()
        assert len(there.upstream.calls) == 1


async def test_what_only_some_may_see_is_not_compared() -> None:
    async with audited(key_headers=["x-tenant"]) as (there, audit):
        tenant = {"fields": [(b"x-tenant", b"a")], "variant": "digest"}
        await there.ask("1", **tenant)
        assert sources(await there.ask("1", **tenant)) == ["hit"]
        await audit.quiet()
        assert len(there.upstream.calls) == 2


async def test_who_is_absent_is_not_compared() -> None:
    async with audited() as (there, audit):
        await there.ask("nobody")
        assert sources(await there.ask("nobody")) == ["negative"]
        await audit.quiet()
        assert there.upstream.ids["nobody"] == 1


async def test_an_upstream_that_is_unwell_is_left_alone_and_nothing_is_kept_for_later() -> None:
    async with audited() as (there, audit):
        audit.may_call = False
        await there.ask("1")
        await audit.made(1)
        audit.may_call = True
        audit.go_on()
        await audit.quiet()
        assert (len(there.upstream.calls), audit.compared) == (1, 0)
        there.tick(1)
        await there.ask("1")
        await audit.made(2)
        assert audit.count("current") == 1


async def test_an_answer_that_has_failed_has_shown_no_copy() -> None:
    async with audited() as (there, audit):
        there.upstream.error = UpstreamError("reset")
        assert not (await there.ask("1", "2")).complete
        await audit.quiet()
        assert there.upstream.ids["1"] == 1


async def test_what_was_invalidated_since_is_not_asked_for() -> None:
    async with audited() as (there, audit):
        await there.ask("2")
        await there.ask("1", "2")
        await there.invalidate("1")
        await audit.made(1)
        assert there.upstream.calls[-1].ids == ("2",)
        audit.go_on()
        there.tick(1)
        await there.ask("2")
        await there.invalidate("2")
        await audit.made(2)
        assert audit.compared == 1


async def test_what_memory_has_only_the_husk_of_is_not_asked_for() -> None:
    async with audited() as (there, audit):
        await there.ask("1")
        entry = there.store.memory.look_at(Key("user", "1"))
        assert entry is not None
        there.store.memory.put(replace(entry, item=None), there.now + 100)
        await audit.made(1)
        assert (len(there.upstream.calls), audit.compared) == (1, 0)


async def test_a_call_that_was_under_way_when_it_was_served_is_too_old() -> None:
    async with audited() as (there, audit):
        there.upstream.gate.clear()
        forced = asyncio.create_task(there.ask("1", asked=Asked(RequestDirectives(no_cache=True))))
        async with asyncio.timeout(PATIENCE):
            while len(there.upstream.calls) < 2:
                await asyncio.sleep(0)
        there.upstream.users["1"] = 2
        assert sources(await there.ask("1")) == ["hit"]
        await audit.quiet()
        assert len(there.upstream.calls) == 2
        there.upstream.gate.set()
        await audit.made(1)
        assert versions(await forced) == {"1": 1}
        assert (audit.count("outdated"), len(there.upstream.calls)) == (1, 3)


async def test_what_the_fast_lane_answers_with() -> None:
    async with audited() as (there, audit):
        slots = there.resolver.hits(["1"], there.now)
        assert slots is not None
        there.resolver.use(slots, there.now)
        await audit.made(1)
        assert audit.compared == 1
        for calls in (2, 3):
            audit.go_on()
            there.tick(1)
            there.resolver.use(slots, there.now)
            await audit.made(calls)
        assert audit.count("current") == 3


async def test_what_a_handshake_call_answers_with() -> None:
    async with audited() as (there, audit):
        entry = there.store.memory.look_at(Key("user", "1"))
        assert entry is not None
        assert there.resolver.is_hit(entry)
        await audit.made(1)
        audit.go_on()
        there.tick(1)
        await there.resolver.ensure(["1"])
        await audit.made(2)
        assert audit.count("current") == 2


async def test_resources_take_turns() -> None:
    async with audited() as (there, audit), world() as other:
        populated(other)
        other.resolver.on_served = audit.auditor.of(
            other.loader, other.store, at_once=1, may_call=lambda: True
        )
        await other.ask("7")
        there.upstream.calls.clear()
        other.upstream.calls.clear()
        for seconds in (1, 1):
            there.tick(seconds)
            other.tick(seconds)
            await there.ask("1")
            await other.ask("7")
        for calls in (1, 2):
            await audit.made(calls)
            audit.go_on()
        assert (len(there.upstream.calls), len(other.upstream.calls)) == (1, 1)


async def test_a_defect_is_told_and_the_next_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async with audited() as (there, audit):
        with monkeypatch.context() as patched:
            patched.setattr(there.loader, "load", None)
            await there.ask("1")
            await audit.made(1)
        assert [crash.split(":")[0] for crash in audit.crashes] == ["audit"]
        audit.crashes.clear()
        audit.go_on()
        there.tick(1)
        await there.ask("1")
        await audit.made(2)
        assert audit.count("current") == 1


async def test_what_is_not_out_of_date_is_a_number_from_the_start() -> None:
    async with audited() as (there, _):
        results = {
            sample.labels["result"]: sample.value
            for sample in there.metrics.snapshot()
            if sample.name == "audits_total"
        }
        assert results == {"current": 0, "outdated": 0, "gone": 0, "failed": 0}
