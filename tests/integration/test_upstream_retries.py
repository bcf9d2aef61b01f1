"""The proxy's own requests when the upstream fails: retries, their budget, and the circuit, over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from config.model import LimitsConfig, UpstreamConfig
from proxy.core.budget import Budget
from proxy.exchange import Fetched, UpstreamError
from proxy.metrics import Metrics
from proxy.upstream import Upstream
from tests.integration.harness import PATIENCE, Clock, ScriptedUpstream, Seen, metric, running
from tests.integration.test_passthrough import OK, answer_ok

MANY = 1000
"""More failures than any test makes: the circuit stays out of it."""
GARBAGE = b"garbage\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
CLOSES = b""


def answer(status: int, *fields: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in fields)
    return b"HTTP/1.1 %d X\r\n%bContent-Length: 2\r\n\r\nno" % (status, lines)


@dataclass
class Caller:
    """One upstream as the proxy has it; chance draws no delay."""

    upstream: Upstream
    metrics: Metrics
    clock: Clock

    async def fetch(
        self, target: bytes = b"/x", *, max_body: int = 1000, within: float = PATIENCE
    ) -> Fetched:
        return await self.upstream.fetch("user.bulk", "GET", target, [], max_body=max_body, within=within)

    async def status(self, target: bytes = b"/x") -> int:
        return (await self.fetch(target)).head.status

    async def reason(self, **how: Any) -> str:
        """Why a call fails."""
        with pytest.raises(UpstreamError) as caught:
            await self.fetch(**how)
        return caught.value.reason

    async def refused(self) -> float:
        """Seconds until a call that the circuit refuses has a chance."""
        with pytest.raises(UpstreamError, match="circuit_open") as caught:
            await self.fetch()
        assert caught.value.retry_after is not None
        return caught.value.retry_after

    @property
    def retries(self) -> float:
        return metric(self.metrics, "upstream_retries_total", upstream="main")

    def errors(self, **labels: str) -> float:
        return metric(self.metrics, "upstream_errors_total", upstream="main", **labels)


@asynccontextmanager
async def calling(url: str, *, failures: int = MANY, **config: Any) -> AsyncIterator[Caller]:
    circuit = {"failures": failures, "window": "10s", "open_for": "5s"}
    clock, metrics = Clock(), Metrics()
    upstream = Upstream(
        "main",
        UpstreamConfig.model_validate({"url": url, "circuit": circuit, **config}),
        LimitsConfig(),
        metrics,
        via=b"me",
        buffered=Budget(2**20),
        clock=clock,
        monotonic=clock,
        rng=lambda: 0.0,
    )
    await upstream.start()
    try:
        yield Caller(upstream, metrics, clock)
    finally:
        await upstream.close()


def answering(*answers: bytes) -> ScriptedUpstream:
    """An upstream that gives one answer after the other, and the last one from then on; none at all is a close."""

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = answers[min(len(upstream.seen), len(answers)) - 1]
        writer.write(data)
        if data in {CLOSES, HALF}:
            await writer.drain()
            writer.close()

    upstream = ScriptedUpstream(script)
    return upstream


@dataclass
class Gate:
    """The script of an upstream that fails `failures` calls at once, and answers further ones when the test lets it."""

    failures: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(
        self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.failures:
            self.failures -= 1
            writer.write(answer(500))
            return
        self.arrived.set()
        await self.opened.wait()
        writer.write(OK)


# retries


async def test_a_call_whose_connection_was_reset_is_saved_by_a_retry() -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 1:
            writer.transport.abort()
        else:
            writer.write(OK)

    async with ScriptedUpstream(script) as upstream, calling(upstream.url, failures=1) as caller:
        assert (await caller.fetch()).body == b"ok"
        assert (len(upstream.seen), caller.retries) == (2, 1)
        assert (caller.errors(), caller.errors(reason="disconnected") + caller.errors(reason="reset")) == (
            1,
            1,
        )
        assert caller.upstream.circuit_state() == "closed"


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (CLOSES, 3),
        (HALF, 3),
        (answer(502), 3),
        (answer(503), 3),
        (answer(504), 3),
        (answer(503, b"Retry-After: nonsense"), 3),
        (answer(429, b"Retry-After: 0"), 3),
        (answer(429), 1),
        (answer(429, b"Retry-After: nonsense"), 1),
        (answer(500), 1),
        (answer(501), 1),
        (answer(404), 1),
        (answer(503, b"Retry-After: 60"), 1),
        (GARBAGE, 1),
    ],
)
async def test_what_may_pass_is_tried_again_and_nothing_else(first: bytes, tries: int) -> None:
    async with answering(first) as upstream, calling(upstream.url, retries=2) as caller:
        try:
            outcome: object = (await caller.fetch()).head.status
        except UpstreamError as error:
            outcome = error.reason
        assert (len(upstream.seen), caller.retries) == (tries, tries - 1)
        expected = {CLOSES: "disconnected", HALF: "body", GARBAGE: "protocol"}.get(first)
        assert outcome == (expected or int(first[9:12]))
        # The last one that has a status is counted by who judges it.
        assert caller.errors() == (tries if expected else tries - 1)
        assert caller.errors(reason=expected or "status") == caller.errors()


async def test_a_refused_connection_is_tried_again() -> None:
    async with ScriptedUpstream(answer_ok) as upstream:
        url = upstream.url
    async with calling(url, retries=2) as caller:
        assert await caller.reason() == "connect"
        assert (caller.retries, caller.errors(reason="connect")) == (2, 3)


async def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    async with ScriptedUpstream(answer_ok, tls=tls) as upstream, calling(upstream.url) as caller:
        assert await caller.reason() == "tls"
        assert (caller.retries, caller.errors(reason="tls")) == (0, 1)


async def test_an_answer_that_is_too_large_is_not_tried_again() -> None:
    async with answering(OK) as upstream, calling(upstream.url) as caller:
        assert await caller.reason(max_body=1) == "too_large"
        assert (len(upstream.seen), caller.retries, caller.errors(reason="too_large")) == (1, 0, 1)


async def test_retries_have_what_is_left_of_the_time() -> None:
    async def script(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 1:
            writer.write(answer(503))
        else:
            await reader.read()

    async with ScriptedUpstream(script) as upstream, calling(upstream.url, retries=5) as caller:
        async with asyncio.timeout(PATIENCE / 2):
            assert await caller.reason(within=0.2) == "timeout"
        assert (len(upstream.seen), caller.retries, caller.errors(reason="timeout")) == (2, 1, 1)


async def test_the_retry_after_of_an_answer_is_honoured() -> None:
    """RFC 9110 section 10.2.3; a date, so that the wait may be shorter than a second."""
    at: list[float] = []

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at.append(asyncio.get_running_loop().time())
        busy = answer(429, b"Retry-After: Fri, 15 Jan 2027 08:00:00 GMT")
        writer.write(busy if len(at) == 1 else OK)

    async with ScriptedUpstream(script) as upstream, calling(upstream.url) as caller:
        caller.clock.tick(-0.1)
        assert await caller.status() == 200
        assert at[1] - at[0] > 0.09  # timers may be a little early


async def test_no_retries_are_configured() -> None:
    async with answering(answer(503)) as upstream, calling(upstream.url, retries=0) as caller:
        assert await caller.status() == 503
        assert len(upstream.seen) == 1


async def test_a_hundred_failing_calls_are_a_hundred_and_ten_at_the_most() -> None:
    async with answering(answer(503)) as upstream, calling(upstream.url, retries=2) as caller:
        assert {await caller.status() for _ in range(100)} == {503}
        assert (len(upstream.seen), caller.retries) == (110, 10)


async def test_the_retry_on_a_stale_connection_is_free() -> None:
    async with answering(OK, CLOSES, OK) as upstream, calling(upstream.url, retries=0) as caller:
        assert [await caller.status(), await caller.status()] == [200, 200]
        assert (len(upstream.seen), upstream.connections) == (3, 2)
        assert (caller.retries, caller.errors()) == (0, 0)


# the circuit


async def test_after_five_failures_the_next_call_fails_without_a_connection() -> None:
    async with ScriptedUpstream(answer_ok) as upstream:
        url = upstream.url
    async with calling(url, failures=5, retries=0) as caller:
        for _ in range(5):
            assert await caller.reason() == "connect"
        assert caller.upstream.circuit_state() == "open"
        assert await caller.refused() == 5.0
        caller.clock.tick(3)
        assert await caller.refused() == 2.0
        assert (caller.errors(reason="connect"), caller.errors(reason="circuit_open")) == (5, 2)


async def test_a_call_with_its_retries_counts_once() -> None:
    async with answering(answer(503)) as upstream, calling(upstream.url, failures=2, retries=2) as caller:
        await caller.status()
        assert (len(upstream.seen), caller.upstream.circuit_state()) == (3, "closed")
        await caller.status()
        assert caller.upstream.circuit_state() == "open"


@pytest.mark.parametrize("fault", [CLOSES, HALF, GARBAGE, answer(500), answer(503), answer(429), answer(599)])
async def test_what_counts_as_a_failure(fault: bytes) -> None:
    async with answering(fault) as upstream, calling(upstream.url, failures=1, retries=0) as caller:
        with suppress(UpstreamError):
            await caller.fetch()
        assert caller.upstream.circuit_state() == "open"


async def test_a_call_that_takes_too_long_counts_as_a_failure() -> None:
    async with ScriptedUpstream(Gate()) as upstream, calling(upstream.url, failures=1) as caller:
        assert await caller.reason(within=0.05) == "timeout"
        assert caller.upstream.circuit_state() == "open"


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 499])
async def test_any_other_answer_is_a_success(status: int) -> None:
    async with answering(answer(500), answer(status), answer(500)) as upstream:
        async with calling(upstream.url, failures=2) as caller:
            assert [await caller.status() for _ in range(3)] == [500, status, 500]
            assert caller.upstream.circuit_state() == "closed"


async def test_an_answer_that_is_too_large_is_a_success() -> None:
    async with answering(answer(500), OK, answer(500)) as upstream:
        async with calling(upstream.url, failures=2) as caller:
            await caller.status()
            assert await caller.reason(max_body=1) == "too_large"
            await caller.status()
            assert caller.upstream.circuit_state() == "closed"


async def test_a_call_does_not_try_again_once_others_have_opened_the_circuit() -> None:
    async with answering(answer(503), OK) as upstream, calling(upstream.url, failures=1) as caller:
        other = caller.upstream._circuit.admit(caller.clock())
        assert other is not None

        def drawn_while_the_other_fails() -> float:
            caller.upstream._circuit.record(other, caller.clock(), ok=False)
            return 0.0

        caller.upstream._rng = drawn_while_the_other_fails
        assert await caller.status() == 503
        assert (len(upstream.seen), caller.retries) == (1, 0)


async def test_one_probe_is_let_through_when_the_time_is_over() -> None:
    gate = Gate(failures=1)
    async with ScriptedUpstream(gate) as upstream, calling(upstream.url, failures=1) as caller:
        await caller.status()
        caller.clock.tick(5)
        assert caller.upstream.circuit_state() == "half_open"
        probe = asyncio.create_task(caller.status())
        await gate.arrived.wait()
        assert [await caller.refused() for _ in range(10)] == [5.0] * 10
        assert len(upstream.seen) == 2
        gate.opened.set()
        assert await probe == 200
        assert caller.upstream.circuit_state() == "closed"
        assert await caller.status() == 200


async def test_a_probe_that_fails_is_not_tried_again_and_opens_the_circuit() -> None:
    async with answering(answer(500), answer(503)) as upstream, calling(upstream.url, failures=1) as caller:
        await caller.status()
        caller.clock.tick(5)
        assert await caller.status() == 503
        assert (len(upstream.seen), caller.retries) == (2, 0)
        assert await caller.refused() == 5.0


async def test_a_probe_that_was_cancelled_does_not_leave_the_circuit_half_open() -> None:
    gate = Gate(failures=1)
    async with ScriptedUpstream(gate) as upstream, calling(upstream.url, failures=1) as caller:
        await caller.status()
        caller.clock.tick(5)
        probe = asyncio.create_task(caller.status())
        await gate.arrived.wait()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert (caller.upstream.circuit_state(), await caller.refused()) == ("open", 5.0)
        gate.opened.set()
        caller.clock.tick(5)
        assert await caller.status() == 200
        assert caller.upstream.circuit_state() == "closed"


async def test_a_cancelled_call_is_no_failure() -> None:
    gate = Gate()
    async with ScriptedUpstream(gate) as upstream, calling(upstream.url, failures=1) as caller:
        call = asyncio.create_task(caller.status())
        await gate.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert caller.upstream.circuit_state() == "closed"


# the whole proxy


async def test_pass_through_neither_asks_the_circuit_nor_counts_in_it(tmp_path: Path) -> None:
    upstream = answering(answer(500))
    circuit = {"failures": 1}
    async with upstream, running(upstream.url, tmp_path, upstream={"circuit": circuit}) as proxy:

        async def states() -> list[str]:
            async with proxy.client("ops") as client:
                text = (await client.get("/metrics")).body.decode()
            lines = [
                line for line in text.splitlines() if line.startswith("handshake_proxy_upstream_circuit")
            ]
            assert len(lines) == 3
            return [line.split('state="')[1].split('"')[0] for line in lines if line.endswith(" 1.0")]

        for _ in range(3):
            assert (await proxy.get("/bad")).status == 500
        assert await states() == ["closed"]
        await proxy.users("1")
        assert await states() == ["open"]
        await proxy.users("1")
        assert len(upstream.seen) == 4
        assert (await proxy.get("/bad")).status == 500
        assert len(upstream.seen) == 5
        proxy.clock.tick(5)
        assert await states() == ["half_open"]
