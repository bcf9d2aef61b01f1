"""Something blocks the event loop: time-outs fire late, and nothing becomes a wrong answer."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.faults.asking import answered, asked, held_is_served, warm
from tests.faults.sick import SickUpstream, well
from tests.faults.watch import HELD, TTL, until, watched
from tests.integration.harness import Response, Seen

BLOCKED = 0.4
"""Seconds: longer than a call may take."""


async def test_a_blocked_loop_shows_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.app._LAG_EVERY", 0.01)
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path) as seen:
        await warm(seen)
        worst = 0.0
        observe = seen.proxy.app.metrics.loop_lag

        def noted(seconds: float) -> None:
            nonlocal worst
            worst = max(worst, seconds)
            observe(seconds)

        monkeypatch.setattr(seen.proxy.app.metrics, "loop_lag", noted)
        time.sleep(BLOCKED)  # noqa: ASYNC251 - that is the fault
        await until(lambda: worst > BLOCKED / 2)
        await until(lambda: seen.proxy.metric("event_loop_lag_seconds") < BLOCKED / 2)
        await held_is_served(seen)


@pytest.mark.parametrize("face", ["bulk", "single", "login", "pass"])
async def test_time_outs_that_fire_late_are_errors_or_answers_and_never_absences(
    face: str, tmp_path: Path
) -> None:
    """The loop is blocked while the answers of the upstream are on their way, for longer than they may take."""
    async with SickUpstream() as upstream:
        arrived = 0

        async def slow(one: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal arrived
            arrived += 1
            await well(one, reader, writer)
            await writer.drain()

        async with watched(upstream.url, tmp_path) as seen:
            await warm(seen)
            upstream.illness = slow
            users = [f"user-{number}" for number in range(20)]
            with seen.hurried():
                crowd = [asyncio.create_task(asked(seen, face, user)) for user in users]
                await until(lambda: arrived >= 1)
                time.sleep(BLOCKED)  # noqa: ASYNC251 - that is the fault
                answers = await asyncio.gather(*crowd)
            for user, answer in zip(users, answers, strict=True):
                if not isinstance(answer, Response):
                    continue  # cut: no answer at all
                assert answer.status in {200, 502, 503, 504}
                if answer.status == 200 and face != "pass":
                    assert user in json.dumps(answer.json())
            await held_is_served(seen)
            await seen.settled()
            upstream.illness = None
            seen.proxy.clock.tick(TTL)
            for user in users:
                assert (await answered(seen, face, user)).status == 200
            assert (await answered(seen, "bulk", HELD)).status == 200
            assert seen.logged("internal_error") == 0
