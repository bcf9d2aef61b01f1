"""The system's clock is set: back, forward, and to and fro, while the program runs and between two runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from tests.faults.asking import answered
from tests.faults.sick import SickUpstream, says
from tests.faults.watch import HELD, Watched, until, watched
from tests.integration.harness import Clock

DAY = 86_400.0
MINUTE = 60.0


@asynccontextmanager
async def set_by_hand(directory: Path, upstream: SickUpstream) -> AsyncIterator[tuple[Watched, Clock]]:
    """A proxy with a wall clock, `proxy.clock`, and a monotonic one of its own."""
    monotonic = Clock()
    async with watched(upstream.url, directory, monotonic=monotonic) as seen:
        yield seen, monotonic


def passes(seen: Watched, monotonic: Clock, seconds: float) -> None:
    """Time goes by."""
    seen.proxy.clock.tick(seconds)
    monotonic.tick(seconds)


async def is_hit(seen: Watched) -> bool:
    answer = await answered(seen, "bulk", HELD)
    assert answer.status == 200
    assert int(answer.field("age") or 0) >= 0
    return (
        answer.field("cache-status").startswith("handshake-proxy; hit; ttl=")
        and "-" not in (answer.field("cache-status").partition("ttl=")[2])
    )


@pytest.mark.parametrize("step", [-DAY, -3.0])
async def test_a_step_back_keeps_nothing_fresh_for_longer(step: float, tmp_path: Path) -> None:
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, monotonic):
        await answered(seen, "bulk", HELD)
        passes(seen, monotonic, MINUTE / 2)
        seen.proxy.clock.tick(step)
        assert await is_hit(seen)
        passes(seen, monotonic, MINUTE / 2 - 1)
        assert await is_hit(seen)
        passes(seen, monotonic, 2)
        calls = len(upstream.upstream.seen)
        assert not await is_hit(seen)  # a minute has gone by, whatever the clock says
        assert len(upstream.upstream.seen) == calls + 1
        assert await is_hit(seen)
        passes(seen, monotonic, MINUTE + 1)
        assert not await is_hit(seen)


async def test_a_step_forward_makes_all_stale_and_a_step_back_from_it_heals(tmp_path: Path) -> None:
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, monotonic):
        await answered(seen, "bulk", HELD)
        seen.proxy.clock.tick(DAY)
        upstream.illness = says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", then="go on")
        assert (await answered(seen, "bulk", HELD)).status == 200  # stale, for the upstream fails
        upstream.illness = None
        passes(seen, monotonic, MINUTE)  # it is let be for a while
        assert not await is_hit(seen)
        assert await is_hit(seen)
        seen.proxy.clock.tick(-DAY)  # it was a mistake
        assert await is_hit(seen)
        passes(seen, monotonic, MINUTE + 1)
        assert not await is_hit(seen)
        assert await is_hit(seen)


async def test_what_an_origin_dates_is_still_believed_after_a_step_back(tmp_path: Path) -> None:
    """Date is compared with the plain clock: by one that is a day ahead all that comes would be a day old."""
    item = b'{"id":"%s"}' % HELD.encode()
    dated = b"HTTP/1.1 200 OK\r\nDate: %s\r\nCache-Control: max-age=100\r\nContent-Length: %d\r\n\r\n%s"
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, monotonic):
        await answered(seen, "single", HELD)
        seen.proxy.clock.tick(-DAY)
        passes(seen, monotonic, MINUTE + 1)
        upstream.illness = says(dated % (_date(seen.proxy.clock.now), len(item), item), then="go on")
        assert (
            not (await answered(seen, "single", HELD))
            .field("cache-status")
            .startswith("handshake-proxy; hit")
        )
        passes(seen, monotonic, 99)
        assert (await answered(seen, "single", HELD)).field("cache-status").startswith("handshake-proxy; hit")
        passes(seen, monotonic, 2)
        assert (
            not (await answered(seen, "single", HELD))
            .field("cache-status")
            .startswith("handshake-proxy; hit")
        )


def _date(now: float) -> bytes:
    return formatdate(now, usegmt=True).encode()


async def test_what_was_kept_by_a_clock_that_was_ahead_is_asked_for_again_by_the_next_run(
    tmp_path: Path,
) -> None:
    async with SickUpstream() as upstream:
        async with set_by_hand(tmp_path, upstream) as (seen, monotonic):
            seen.proxy.clock.tick(DAY)
            await answered(seen, "login", HELD)
            await seen.proxy.durable()
        async with set_by_hand(tmp_path, upstream) as (seen, monotonic):
            assert not await is_hit(seen)
            assert await is_hit(seen)
            passes(seen, monotonic, MINUTE + 1)
            assert not await is_hit(seen)
            upstream.illness = says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", then="go on")
            assert (await answered(seen, "bulk", HELD)).status == 200


async def test_time_outs_and_the_circuit_go_by_the_monotonic_clock(tmp_path: Path) -> None:
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, monotonic):
        await upstream.stop()
        for number in range(5):
            assert (await answered(seen, "bulk", f"user-{number}")).status == 503
        state = seen.proxy.app._upstreams[0].circuit_state
        assert state() == "open"
        for step in (DAY, -2 * DAY, DAY):
            seen.proxy.clock.tick(step)
            assert state() == "open"
            assert (await answered(seen, "bulk", "user-x")).field("retry-after") in {"4", "5"}
        passes(seen, monotonic, 6)
        assert state() == "half_open"
        await upstream.start()
        assert (await answered(seen, "bulk")).status == 200
        assert state() == "closed"


async def test_the_log_says_once_that_the_clock_was_set_back_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.app._LAG_EVERY", 0.01)
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, monotonic):
        upstream.illness = says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", then="go on")
        assert (await answered(seen, "bulk", "before")).status == 500
        seen.proxy.clock.tick(-DAY)
        await until(lambda: seen.logged("clock_set_back", seconds=86400) == 1)
        passes(seen, monotonic, MINUTE)
        lines = seen.logged("request", code=500)
        assert (await answered(seen, "bulk", "after")).status == 500
        assert seen.logged("request", code=500) == lines + 1
        storage = seen.proxy.app._storage
        storage._failed("get")
        passes(seen, monotonic, 11)
        seen.proxy.clock.tick(-DAY)
        storage._failed("get")
        assert seen.logged("store_failed", operation="get") == 2  # a throttle does not go silent
        assert seen.logged("clock_set_back", seconds=86400) == 1


async def test_a_clock_that_was_put_right_and_set_back_again_is_told_of_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.app._LAG_EVERY", 0.01)
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, _):
        for times in (1, 2):
            seen.proxy.clock.tick(-DAY)
            await until(partial(_told, seen, times))
            seen.proxy.clock.tick(DAY)
            await until(lambda: seen.proxy.app._told_ahead == 0)


def _told(seen: Watched, times: int) -> bool:
    return seen.logged("clock_set_back", seconds=86400) == times


async def test_a_date_to_come_again_at_is_told_from_the_plain_clock(tmp_path: Path) -> None:
    async with SickUpstream() as upstream, set_by_hand(tmp_path, upstream) as (seen, _):
        seen.proxy.clock.tick(-DAY)
        wish = _date(seen.proxy.clock.now + 120)
        busy = b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % wish
        upstream.illness = says(busy, then="go on")
        answer = await answered(seen, "login", HELD)
        assert (answer.status, answer.field("retry-after")) == (503, "120")
