"""What a pass-through says of its outcome, how it counts what failed, and how long it waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from config.model import LimitsConfig, UpstreamConfig
from proxy.core.budget import Budget
from proxy.exchange import ResponseHead
from proxy.messages import Answer, Request
from proxy.metrics import Metrics
from proxy.server import Server, ServerLimits
from proxy.upstream import Upstream
from proxy.web.passthrough import Passage, PassThrough
from tests.integration.harness import PATIENCE, Clock, Reachable, ScriptedUpstream, Seen, metric, running
from tests.integration.test_passthrough import OK, answer_ok

CLOSES = b""
CONFLICT = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"
USER: dict[str, Any] = {"id": "/id", "single": {"path": "/users/{id}"}, "storage": "memory"}


@dataclass
class Passing(Reachable):
    """A listener that passes everything on, and what it was told of the outcomes."""

    addresses: dict[str, str]
    upstream: Upstream
    server: Server
    metrics: Metrics
    outcomes: list[int | None] = field(default_factory=list)

    async def send(self, request: bytes) -> int:
        async with self.client("here") as client:
            return (await client.request(request)).status

    async def tell(self, head: ResponseHead | None) -> None:
        self.outcomes.append(None if head is None else head.status)

    @property
    def errors(self) -> float:
        return metric(self.metrics, "upstream_errors_total")


@asynccontextmanager
async def passing(url: str, *, within: float | None = None, **config: Any) -> AsyncIterator[Passing]:
    clock, metrics = Clock(), Metrics()
    upstream = Upstream(
        "main",
        UpstreamConfig.model_validate({"url": url, **config}),
        LimitsConfig(),
        metrics,
        via=b"me",
        buffered=Budget(2**20),
        clock=clock,
        monotonic=clock,
        rng=lambda: 0.0,
    )
    passthrough = PassThrough(upstream, LimitsConfig(), clock=clock)

    async def handler(request: Request) -> Answer:
        return await passthrough.send(request, Passage("x", on_outcome=here.tell, within=within))

    server = Server(handler, ServerLimits(65536, PATIENCE, PATIENCE, 10), on_error=lambda *_: None)
    await upstream.start()
    host, port = await server.listen("127.0.0.1", 0)
    here = Passing({"here": f"{host}:{port}"}, upstream, server, metrics)
    try:
        yield here
    finally:
        await server.drain(0)
        await upstream.close()


def answering(*answers: bytes) -> ScriptedUpstream:
    """An upstream that gives one answer after the other; none at all is a close."""

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = answers[len(upstream.seen) - 1]
        writer.write(data)
        if data == CLOSES:
            writer.close()

    upstream = ScriptedUpstream(script)
    return upstream


def head(method: str) -> bytes:
    return f"{method} /x HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def test_a_call_on_a_dead_connection_that_may_not_be_repeated_is_counted() -> None:
    async with answering(OK, CLOSES) as upstream, passing(upstream.url) as here:
        assert await here.send(head("GET")) == 200
        assert await here.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na") == 502
        assert len(upstream.seen) == 2
        assert here.outcomes == [200, None]
        assert (here.errors, metric(here.metrics, "upstream_errors_total", reason="disconnected")) == (1, 1)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_of_a_call_that_was_repeated_the_last_outcome_is_told(method: str) -> None:
    async with answering(OK, CLOSES, CONFLICT) as upstream, passing(upstream.url) as here:
        assert await here.send(head("GET")) == 200
        assert await here.send(head(method)) == 409
        assert len(upstream.seen) == 3
        assert (here.outcomes, here.errors) == ([200, 409], 0)


async def test_a_call_that_could_not_be_repeated_has_an_unknown_outcome() -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 1:
            writer.write(OK)
        else:  # read, closed without an answer, and nobody is there any more
            assert upstream._server is not None
            upstream._server.close()
            writer.close()

    async with ScriptedUpstream(script) as upstream, passing(upstream.url) as here:
        assert await here.send(head("GET")) == 200
        assert await here.send(head("PUT")) == 502
        assert here.outcomes == [200, None]
        assert (here.errors, metric(here.metrics, "upstream_errors_total", reason="connect")) == (1, 1)


async def test_a_call_that_was_cut_before_it_was_repeated_has_an_unknown_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = Upstream._connect
    repeats = asyncio.Event()

    async def hangs(upstream: Upstream, *, fresh: bool, within: float) -> Any:
        if fresh:
            repeats.set()
            await asyncio.Event().wait()
        return await connect(upstream, fresh=fresh, within=within)

    monkeypatch.setattr(Upstream, "_connect", hangs)
    async with answering(OK, CLOSES) as upstream, passing(upstream.url) as here:
        assert await here.send(head("GET")) == 200
        async with here.client("here") as client:
            await client.send(head("PUT"))
            await repeats.wait()
            await here.server.drain(0)
            assert await client.ended() == b""
        assert here.outcomes == [200, None]


async def test_a_call_that_was_never_sent_has_no_outcome() -> None:
    async with ScriptedUpstream(answer_ok) as upstream:
        url = upstream.url
    async with passing(url) as here:
        assert await here.send(head("PUT")) == 502
        assert (here.outcomes, here.errors) == ([], 1)


async def test_an_entity_is_invalidated_once_by_a_call_that_was_repeated(tmp_path: Path) -> None:
    gone = b"HTTP/1.1 204 Gone\r\n\r\n"
    async with answering(OK, CLOSES, gone) as upstream:
        async with running(upstream.url, tmp_path, resources={"user": USER}) as proxy:
            async with proxy.client() as client:
                await client.request(head("GET"))
                response = await client.request(b"DELETE /users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (response.status, len(upstream.seen)) == (204, 3)
            assert proxy.metric("invalidations_total", source="method") == 1


async def test_a_call_may_be_given_less_time_than_the_upstream_has() -> None:
    async def script(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with ScriptedUpstream(script) as upstream, passing(upstream.url, within=0.05, timeout=60) as here:
        async with asyncio.timeout(PATIENCE):
            assert await here.send(head("GET")) == 504
        assert here.outcomes == [None]
        assert metric(here.metrics, "upstream_errors_total", reason="timeout") == 1
