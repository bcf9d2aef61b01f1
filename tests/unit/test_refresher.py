"""The refresher's rounds: what it asks for, how fast, and when it lets the upstream alone. Time is simulated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from config.model import RefreshConfig
from proxy.exchange import Fetched, UpstreamError
from proxy.refresher import Refresher, Subject
from tests.integration.harness import metric
from tests.unit.virtual_time import running_loop, simulated
from tests.unit.world import SINGLE, World, populated, sources, versions, world

INTERVAL = 2.0
TTL = 100.0
LONG = 10**6
TEN = tuple(str(number) for number in range(10))
FIVE = TEN[:5]


@dataclass
class Refreshed:
    """A world, and its refresher, which begins when it is told to."""

    there: World
    refresher: Refresher
    crashes: list[BaseException] = field(default_factory=list)
    is_well: bool = True
    leads: bool = True
    asked_to_lead: list[float] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    """When calls began and ended."""

    def start(self) -> None:
        self.there.supervisor.spawn("refresher", self.refresher.run())

    @property
    def calls(self) -> list[tuple[str, ...]]:
        return [call.ids for call in self.there.upstream.calls]

    async def use(self, seconds: float, *ids: str, every: float = 1.0) -> set[str]:
        """Ask for each of these so often, one after the other; how they were answered."""
        found: set[str] = set()
        for _ in range(round(seconds / every)):
            for entity in ids:
                found |= set(sources(await self.there.ask(entity)))
                await asyncio.sleep(every / len(ids))
        return found

    def take_time(self, seconds: float) -> None:
        """Have each call take so long from now on."""
        fetch = self.there.upstream.fetch
        loop = running_loop()

        async def slow(*args: Any, **how: Any) -> Fetched:
            began = loop.time()
            fetched = await fetch(*args, **how)
            await asyncio.sleep(seconds)
            self.spans.append((began, loop.time()))
            return fetched

        self.there.upstream.fetch = slow  # type: ignore[method-assign]


@asynccontextmanager
async def refreshed(
    *, is_shared: bool = False, seats: int = 100, batch: int = 100, concurrency: int = 2, **how: Any
) -> AsyncIterator[Refreshed]:
    """The upstream has users 0 to 299. Nothing is held."""
    loop = running_loop()
    how.setdefault("freshness", {"ttl": TTL, "stale_while_revalidate": LONG})
    async with world(refresh_gathers=0.5, **how) as there:
        populated(there)
        epoch = there.now - loop.time()
        loop.tell(lambda now: setattr(there, "now", epoch + now))
        refresher = Refresher(
            RefreshConfig.model_validate(
                {"enabled": True, "interval": "2s", "batch": batch, "concurrency": concurrency}
            ),
            metrics=there.metrics,
            clock=lambda: there.now,
            monotonic=loop.time,
            rng=lambda: 0.5,
            on_crash=lambda _, error: one.crashes.append(error),
        )
        one = Refreshed(there, refresher)

        async def lead(seconds: float) -> bool:
            one.asked_to_lead.append(seconds)
            return one.leads

        refresher.add(
            Subject(
                there.loader,
                lambda: there.store.memory.plain_slots("user"),
                seats=seats,
                idle=9 * TTL,
                may_call=lambda: one.is_well,
                lead=lead if is_shared else None,
            )
        )
        yield one


@simulated
async def test_what_is_used_is_never_served_stale_and_many_are_renewed_in_one_call() -> None:
    async with refreshed() as one:
        one.start()
        await one.use(1, *TEN)
        assert await one.use(10 * TTL, *TEN) == {"hit"}
        calls = one.calls[len(TEN) :]
        assert {len(ids) for ids in calls} == {10}
        assert 10 < len(calls) <= 10 * 10, "each copy many times in a lifetime, for less than one call a copy"


@simulated
async def test_without_it_the_same_takes_more_calls_and_stale_answers() -> None:
    async with refreshed() as one:
        await one.use(1, *TEN)
        assert await one.use(10 * TTL, *TEN) == {"hit", "stale"}


@pytest.mark.parametrize("users", [1, 2, 5, 20])
@simulated
async def test_few_entities_cost_no_more_calls_than_without_it(users: int) -> None:
    made = []
    for is_on in (False, True):
        async with refreshed() as one:
            if is_on:
                one.start()
            random = Random(4)
            until = running_loop().time() + 30 * TTL
            while running_loop().time() < until:
                await one.there.ask(str(random.randrange(users)))
                await asyncio.sleep(random.expovariate(users / 5))
            made.append(len(one.calls))
    without, with_it = made
    # Who is alone in a call has at least 95 % of a lifetime.
    assert with_it <= (without if users > 1 else 1 + without / 0.95)


@simulated
async def test_what_changes_at_the_upstream_is_seen_long_before_its_copy_would_have_ended() -> None:
    async with refreshed() as one:
        one.start()
        await one.use(TTL, *TEN)
        one.there.upstream.users |= dict.fromkeys(TEN, 2)
        await one.use(TTL / 2, *TEN)
        assert set(versions(await one.there.ask(*TEN)).values()) == {2}


@simulated
async def test_each_result_is_counted_by_ids() -> None:
    async with refreshed() as one:
        assert metric(one.there.metrics, "refreshes_total", resource="user", result="changed") == 0
        await one.use(1, *TEN)
        one.there.upstream.users["1"] = 2
        del one.there.upstream.users["2"]
        calls = len(one.calls)
        one.start()
        while len(one.calls) == calls:
            await one.use(1, *TEN)
        await one.use(1, "1")
        count = {
            result: metric(one.there.metrics, "refreshes_total", resource="user", result=result)
            for result in ("changed", "unchanged", "absent", "failed")
        }
        assert count == {"changed": 1, "unchanged": 8, "absent": 1, "failed": 0}


@simulated
async def test_no_call_asks_for_more_than_the_configuration_and_the_upstream_allow() -> None:
    for batch, seats in ((3, 100), (100, 3)):
        async with refreshed(batch=batch, seats=seats) as one:
            one.start()
            await one.use(3 * TTL, *TEN)
            assert max(len(ids) for ids in one.calls[len(TEN) :]) == 3


@simulated
async def test_without_a_bulk_call_each_is_renewed_in_its_last_moments() -> None:
    async with refreshed(bulk=None, single=SINGLE, seats=1) as one:
        one.start()
        await one.use(1, *FIVE)
        assert await one.use(10 * TTL, *FIVE) == {"hit"}
        assert len(one.calls) <= len(FIVE) * (1 + 10 / 0.95)


@simulated
async def test_what_nobody_uses_any_more_comes_to_its_end() -> None:
    async with refreshed() as one:
        one.start()
        await one.use(1, *TEN)
        await one.use(20 * TTL, "0")
        assert "1" not in one.calls[-1]
        assert "0" in one.calls[-1]


@simulated
async def test_copies_with_a_variant_are_not_asked_for_without_it() -> None:
    async with refreshed(key_headers=["x-tenant"]) as one:
        one.start()
        for _ in range(300):
            await one.there.ask("1", variant="t", fields=((b"x-tenant", b"t"),))
            await asyncio.sleep(1)
        assert all(dict(call.fields).get(b"x-tenant") for call in one.there.upstream.calls)


@simulated
async def test_none_is_made_while_the_circuit_is_open_and_nothing_is_made_up_for() -> None:
    async with refreshed() as one:
        one.start()
        await one.use(TTL, *TEN)
        one.is_well = False
        calls = len(one.calls)
        await one.use(TTL / 2, *TEN)
        assert len(one.calls) == calls
        one.is_well = True
        await one.use(INTERVAL, *TEN)
        assert len(one.calls) <= calls + 2


@simulated
async def test_a_failure_ends_the_round_until_the_back_off_is_over() -> None:
    async with refreshed(batch=1) as one:
        await one.use(1, *TEN)
        await one.use(TTL - 3 * INTERVAL, *TEN)
        one.there.upstream.error = UpstreamError("reset")
        calls = len(one.calls)
        await one.refresher.round(running_loop().time())
        one.start()
        await asyncio.sleep(3.5 * INTERVAL)
        failed = len(one.calls) - calls
        assert 1 <= failed < 8, "each is due, and would have been asked for"


@simulated
async def test_what_could_not_be_renewed_lets_others_have_their_turn() -> None:
    async with refreshed() as one:
        await one.use(1, *TEN)
        one.there.upstream.status = 403
        one.start()
        await one.use(TTL / 2, *TEN)
        made = one.calls[len(TEN) :]
        assert len(made) == 1
        assert metric(one.there.metrics, "refreshes_total", resource="user", result="failed") == 10
        one.there.upstream.status = 200
        await one.use(60, *TEN)
        assert len(one.calls) > len(TEN) + 1


@simulated
async def test_calls_of_a_round_are_spread_and_each_is_followed_by_a_rest_as_long() -> None:
    async with refreshed(batch=1, concurrency=2, bulk=None, single=SINGLE, seats=1) as one:
        await one.use(1, *FIVE)
        await asyncio.sleep(TTL - 5)
        await one.use(2, *FIVE, every=2)
        one.take_time(0.3)
        one.start()
        await asyncio.sleep(3 * INTERVAL)
        spans = sorted(one.spans)
        assert len(spans) == len(FIVE)
        begun = [began for began, _ in spans]
        assert max(sum(began <= at < ended for began, ended in spans) for at in begun) <= 2
        assert all(third >= ended + 0.3 - 1e-6 for (_, ended), third in zip(spans, begun[2:], strict=False))


@simulated
async def test_a_round_ends_when_somebody_stands_in_line() -> None:
    async with refreshed(parallel=1, batch=1, bulk=None, single=SINGLE, seats=1) as one:
        await one.use(1, *TEN)
        await asyncio.sleep(TTL - 2.0)
        one.take_time(1.5)
        asking = [asyncio.create_task(one.there.ask(entity)) for entity in ("100", "101")]
        await asyncio.sleep(0.1)
        one.start()
        await asyncio.sleep(1.0)
        assert one.calls[len(TEN) :] == [("100",)], "nothing but what is waited for"
        await asyncio.gather(*asking)


@simulated
async def test_one_replica_leads_and_the_others_do_nothing() -> None:
    async with refreshed(is_shared=True) as one:
        one.leads = False
        one.start()
        await one.use(1, *TEN)
        assert "stale" in await one.use(2 * TTL, *TEN)
        calls = len(one.calls)
        assert one.asked_to_lead[0] < INTERVAL, "it runs out before the next round"
        one.leads = True
        await one.use(TTL, *TEN)
        assert len(one.calls[calls:]) > 1
        assert {len(ids) for ids in one.calls[-3:]} == {10}


@simulated
async def test_what_was_forgotten_since_it_was_surveyed_is_not_asked_for() -> None:
    async with refreshed(batch=1, concurrency=1, bulk=None, single=SINGLE, seats=1) as one:
        await one.use(1, *TEN)
        await asyncio.sleep(TTL - 2.0)
        one.take_time(0.05)
        one.start()
        await asyncio.sleep(0.1)
        assert 0 < len(one.spans) < 5
        asked = {entity for ids in one.calls[len(TEN) :] for entity in ids}
        left = [entity for entity in TEN if entity not in asked]
        for entity in left[1:]:
            await one.there.invalidate(entity)
        await asyncio.sleep(2 * INTERVAL)
        assert {entity for ids in one.calls[len(TEN) :] for entity in ids} <= asked | {left[0]}


@simulated
async def test_a_defect_in_one_round_is_told_and_the_next_goes_on() -> None:
    async with refreshed() as one:
        renew = one.there.loader.renew

        async def defective(held: Any) -> Any:
            one.there.loader.renew = renew  # type: ignore[method-assign]
            raise ValueError("a defect")

        one.there.loader.renew = defective  # type: ignore[method-assign]
        one.start()
        await one.use(TTL, *TEN)
        assert [str(error) for error in one.crashes] == ["a defect"]
        assert len(one.calls) > len(TEN)


@simulated
async def test_who_asks_for_what_is_being_renewed_joins() -> None:
    async with refreshed() as one:
        await one.use(1, *TEN)
        await asyncio.sleep(TTL - 2.5)
        one.take_time(2.5)
        one.start()
        calls = len(one.calls)
        await asyncio.sleep(1.0)
        assert sources(await one.there.ask("1")) == ["hit"]
        await asyncio.sleep(1.0)
        assert sources(await one.there.ask("1")) == ["stale"]
        await asyncio.sleep(2.0)
        assert len(one.calls) == calls + 1
