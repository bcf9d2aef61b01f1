"""The simulation of fleets: its clock, its database, and that what it says of small fleets is what must be so."""

import asyncio
import random
from collections import Counter

import pytest

from bench.fleet.clock import simulate
from bench.fleet.databases import LOG_READ, Server, SharedRows
from bench.fleet.load import Load, log_reads
from bench.fleet.model import Simulation, run
from bench.fleet.outcome import Outcome
from bench.fleet.replica import POLL_INTERVAL, Owner, Replica
from proxy.metrics import Metrics
from store.entry import Key
from tests.unit.store.samples import user, write

FEW = Load(lookups=8.0, in_lists=0.0)


def test_time_jumps_to_the_next_timer_and_nobody_waits() -> None:
    happened: list[tuple[str, float]] = []

    async def waits(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        happened.append((name, asyncio.get_running_loop().time()))

    async def work() -> float:
        await asyncio.gather(waits("late", 86_400.0), waits("early", 1.5), waits("middle", 3_600.0))
        return asyncio.get_running_loop().time()

    assert simulate(work()) == pytest.approx(86_400.0)
    assert [name for name, _ in happened] == ["early", "middle", "late"]
    assert [at for _, at in happened] == pytest.approx([1.5, 3_600.0, 86_400.0])


def test_what_would_wait_for_ever_is_an_error() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        simulate(work())


def test_what_fails_where_nobody_waits_for_it_is_an_error_of_the_whole() -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_later(5.0, [].pop)
        await asyncio.sleep(10.0)

    with pytest.raises(RuntimeError) as raised:
        simulate(work())
    assert isinstance(raised.value.__cause__, IndexError)


def test_without_a_proxy_each_lookup_is_a_call() -> None:
    outcome = run("none", 5, users=10)
    assert outcome.upstream_ids == outcome.lookups == 20.0


def test_of_one_replica_that_stays_both_stores_ask_alike() -> None:
    """Once for each time of freshness, and when it was told of a change."""
    steady = Load(lookups=8.0, in_lists=0.0, rollouts=False)
    own, shared = (run(way, 1, users=50, load=steady) for way in ("per pod", "shared"))
    assert shared.lookups == pytest.approx(8.0, rel=0.15)
    assert 0.8 < shared.upstream_ids < 1.3
    assert own.upstream_ids == pytest.approx(shared.upstream_ids, rel=0.02)
    assert own.untold.longest == pytest.approx(shared.untold.longest, abs=0.1)


def test_a_pod_that_goes_takes_its_own_store_with_it() -> None:
    own, shared = (run(way, 1, users=60, load=FEW) for way in ("per pod", "shared"))
    assert own.upstream_ids > shared.upstream_ids
    assert own.rollout_ids > shared.rollout_ids
    assert own.waits > 3 * shared.waits


def test_replicas_that_share_ask_as_one_does() -> None:
    one, many = (run("shared", count, users=60, load=FEW) for count in (1, 10))
    apart = run("per pod", 10, users=60, load=FEW)
    assert many.upstream_ids == pytest.approx(one.upstream_ids, rel=0.15)
    assert apart.upstream_ids > 3 * many.upstream_ids
    assert apart.upstream_ids <= apart.lookups
    assert apart.waits > 10 * many.waits


def test_replicas_that_refresh_parts_of_the_same_list_ask_as_one_does() -> None:
    """Nothing fails, which would be an error of the whole, and each part is asked for once."""
    lists = Load(lookups=12.0, in_lists=0.9)
    one, many = (run("shared", count, users=50, load=lists) for count in (1, 8))
    assert many.upstream_ids == pytest.approx(one.upstream_ids, rel=0.15)


def test_an_invalidation_holds_at_once_where_it_was_said_and_elsewhere_once_the_log_is_read() -> None:
    async def work() -> tuple[list[float], list[float]]:
        fleet = Simulation("shared", 5, 20, Load(), seed=1)
        await fleet.start()
        here, *others = fleet.replicas
        for replica in fleet.replicas:
            await fleet.ask(["u1"], replica)
        await fleet.change("u1", here)
        await asyncio.sleep(0.0002)  # the notification takes 0.5 ms, and the read of the log 1 ms
        await fleet.ask(["u1"], others[0])
        early = list(fleet.stale()[0])
        await asyncio.gather(fleet.ask(["u1"], here), asyncio.sleep(0.002))
        for replica in others:
            await fleet.ask(["u1"], replica)
        await fleet.stop()
        return early, fleet.stale()[0]

    early, of_all = simulate(work())
    assert early == of_all == pytest.approx([0.0002], rel=0.01)


def test_an_answer_is_out_of_date_since_the_first_change_that_it_lacks() -> None:
    async def work() -> tuple[list[float], list[float]]:
        fleet = Simulation("per pod", 2, 20, Load(), seed=1)
        await fleet.start()
        told, other = fleet.replicas
        for user_id in ("u1", "u2"):
            await fleet.ask([user_id], other)
        for is_told in (True, True, False):
            await fleet.change("u1", told if is_told else None)
            await fleet.change("u2", None)
            await asyncio.sleep(1_000.0)
        await fleet.ask(["u1", "u2"], other)
        await fleet.stop()
        return fleet.stale()

    told, untold = simulate(work())
    assert told == pytest.approx([3_000.0], rel=1e-4)
    assert untold == pytest.approx([3_000.0], rel=1e-4)


def test_what_one_was_told_all_that_share_know() -> None:
    told = Load(lookups=20.0, in_lists=0.0, changes=4.0, told=1.0)
    apart, shared = (run(way, 5, users=15, load=told) for way in ("per pod", "shared"))
    assert shared.told.longest < 0.002
    assert apart.told.share > 0.1
    assert apart.told.longest > 3_600


def test_a_change_that_nobody_is_told_of_is_seen_when_freshness_ends() -> None:
    untold = Load(lookups=20.0, in_lists=0.0, changes=2.0, told=0.0)
    outcome = run("shared", 3, users=30, load=untold)
    assert outcome.told.share == 0
    assert outcome.untold.share > 0.1
    # A day of freshness, and until the next look-up through that replica, which is answered with what it has.
    assert 6 * 3_600 < outcome.untold.p50 < outcome.untold.p99 <= outcome.untold.longest < 2 * 86_400


def test_half_a_sample_says_the_same() -> None:
    """Of some 200 and 400 ids the counts are within three deviations of the same rate."""
    half, whole = (run("per pod", 6, users=users, load=FEW) for users in (40, 80))
    assert half.upstream_ids == pytest.approx(whole.upstream_ids, rel=0.15)
    assert half.waits == pytest.approx(whole.waits, rel=0.3)


def test_the_same_seed_gives_the_same() -> None:
    def outcome(seed: int) -> Outcome:
        return run("shared", 3, users=15, load=FEW, seed=seed)

    assert outcome(3) == outcome(3) != outcome(4)


async def test_nothing_is_stored_without_its_lease() -> None:
    calls: Counter[str] = Counter()
    rows = SharedRows(0.0, calls, Server(0.0, lambda: 1.0))
    claims = await rows.claim_many([user("a")], 1, seconds=1.0)
    assert claims[user("a")].is_granted
    assert not (await rows.claim_many([user("a")], 2, seconds=1.0))[user("a")].is_granted
    await rows.invalidate_many([user("a")])
    assert await rows.put_many([write("a")._replace(lease=1)]) == {}
    assert (await rows.claim_many([user("a")], 3, seconds=1.0))[user("a")].is_granted
    assert list(await rows.put_many([write("a")._replace(lease=3)])) == [user("a")]
    assert calls == {"claim": 3, "invalidate": 1, "put": 2}


async def test_a_lease_ends_by_itself_or_by_its_release() -> None:
    now = 1.0
    rows = SharedRows(0.0, Counter(), Server(0.0, lambda: now))
    await rows.claim_many([user("a"), user("b")], 1, seconds=1.0)
    await rows.release_many([user("a")], 1)
    claims = await rows.claim_many([user("a"), user("b")], 2, seconds=1.0)
    assert [claims[user("a")].is_granted, claims[user("b")].is_granted] == [True, False]
    now = 2.1
    assert (await rows.claim_many([user("b")], 2, seconds=1.0))[user("b")].is_granted


async def test_the_log_tells_of_what_others_have_changed() -> None:
    server = Server(0.0, lambda: 1.0)
    one, other = (SharedRows(0.0, Counter(), server) for _ in range(2))
    began = await one.changes_begin()
    await one.invalidate_many([user("a")])
    await other.invalidate_many([user("b")])
    news = await one.changes_since(began)
    assert [change.key for change in news.changes] == [Key("user", "b")]
    assert list((await one.changes_since(news.cursor)).changes) == []


@pytest.mark.parametrize("changes", [0.0, 0.2, 2.0])
def test_the_log_is_read_as_often_as_arithmetic_says(changes: float) -> None:
    """`changes`: a second. By the program's own reader of the log, in 1,000 seconds."""

    async def work() -> float:
        loop = asyncio.get_running_loop()
        server, calls, rng = Server(0.0005, loop.time), Counter[str](), random.Random(1)
        replicas = [
            Replica(Owner(0.1), SharedRows(0.001, calls, server), loop.time, rng, Metrics(), POLL_INTERVAL)
            for _ in range(3)
        ]
        for replica in replicas:
            await replica.start()
        before = calls[LOG_READ]
        began = loop.time()
        while loop.time() < began + 1_000.0:
            await asyncio.sleep(rng.expovariate(changes) if changes else 1_000.0)
            if changes:
                server.notify()
        reads = calls[LOG_READ] - before
        seconds = loop.time() - began
        for replica in replicas:
            await replica.stop()
        return reads / seconds

    assert simulate(work()) == pytest.approx(log_reads(3, changes, POLL_INTERVAL), rel=0.1)
