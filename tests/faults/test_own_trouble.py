"""The proxy's own trouble says nothing of the upstream: neither the circuit nor the back-off takes note of it."""

import asyncio
import errno
import threading
import time
from typing import Any

import pytest

from tests.integration.harness import PATIENCE, Clock, ScriptedUpstream
from tests.integration.test_passthrough import OK
from tests.integration.test_upstream_retries import Caller, Gate, answer, answering, calling

TIMEOUT = 1.0


def blamed(caller: Caller) -> float:
    """Failures that were counted as the upstream's."""
    return caller.errors() - caller.errors(reason="overloaded")


async def test_who_gets_no_connection_in_half_of_the_time_has_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeout = asyncio.timeout
    async with answering(OK) as upstream, calling(upstream.url, failures=1, max_connections=1) as caller:
        async with caller.upstream.open():
            with monkeypatch.context() as patched:
                # The half is over at once, and the whole far away, however late this loop is.
                patched.setattr(asyncio, "timeout", lambda delay: timeout(delay / 1000))
                assert await caller.reason() == "overloaded"
        assert (upstream.seen, blamed(caller), caller.upstream.circuit_state()) == ([], 0, "closed")
        assert await caller.status() == 200


async def test_half_of_the_time_is_left_for_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float | None] = []
    timeout = asyncio.timeout

    def noted(delay: float | None) -> asyncio.Timeout:
        delays.append(delay)
        return timeout(delay)

    async with answering(OK) as upstream, calling(upstream.url) as caller:
        monkeypatch.setattr(asyncio, "timeout", noted)
        assert await caller.status() == 200
    turn = delays[0]
    assert turn is not None
    assert PATIENCE / 4 < turn <= PATIENCE / 2


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (errno.EMFILE, "overloaded"),
        (errno.ENFILE, "overloaded"),
        (errno.ENOBUFS, "overloaded"),
        (errno.ENOMEM, "overloaded"),
        (errno.ECONNREFUSED, "connect"),
        (errno.EHOSTUNREACH, "connect"),
    ],
)
async def test_what_a_connection_takes_has_run_out(
    why: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(**_: Any) -> None:
        raise OSError(why, "no")

    async with answering(OK) as upstream, calling(upstream.url, failures=1, retries=0) as caller:
        with monkeypatch.context() as patched:
            patched.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", fails)
            assert await caller.reason() == reason
        state = "closed" if reason == "overloaded" else "open"
        assert (upstream.seen, caller.upstream.circuit_state()) == ([], state)


async def test_no_thread_to_be_had_for_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with answering(OK) as upstream:
        url = upstream.url.replace("127.0.0.1", "localhost")
        async with calling(url, failures=1) as caller:
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", none)
                assert await caller.reason() == "overloaded"
            assert (blamed(caller), caller.upstream.circuit_state()) == (0, "closed")
            assert await caller.status() == 200


async def test_a_deadline_that_is_noticed_late_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.upstream._LATE", 0.05)
    gate = Gate()
    async with ScriptedUpstream(gate) as upstream, calling(upstream.url, failures=1) as caller:
        waiting = asyncio.create_task(caller.reason(within=TIMEOUT))
        await gate.arrived.wait()
        time.sleep(TIMEOUT + 0.1)  # noqa: ASYNC251 - that is the fault
        assert await waiting == "overloaded"
        assert (blamed(caller), caller.upstream.circuit_state()) == (0, "closed")
        gate.opened.set()
        assert await caller.status() == 200


async def test_429_to_somebody_elses_call_is_about_that_caller_alone() -> None:
    busy = answer(429)
    async with answering(busy, busy, answer(500), busy, OK) as upstream:
        async with calling(upstream.url, failures=2, retries=0) as caller:

            async def status(*, own: bool) -> int:
                fetched = await caller.upstream.fetch(
                    "user.single", "GET", b"/x", [], max_body=100, within=PATIENCE, own_credential=own
                )
                return fetched.head.status

            clock: Clock = caller.clock
            assert [await status(own=False), await status(own=True)] == [429, 429]
            assert caller.upstream.circuit_state() == "closed"
            assert await status(own=False) == 500  # the second that counts
            assert caller.upstream.circuit_state() == "open"
            clock.tick(6)
            assert await status(own=False) == 429  # as a probe it says that the upstream answers
            assert caller.upstream.circuit_state() == "closed"
            assert await status(own=True) == 200
