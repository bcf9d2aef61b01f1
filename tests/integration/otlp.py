"""A receiver of spans on loopback, and what it has received."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"
"""A caller's span, sampled."""


@dataclass(frozen=True)
class Traced:
    """One span."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str | int]
    links: list[tuple[str, str]]
    """Trace and span."""
    failed: bool

    @classmethod
    def of(cls, span: Span) -> "Traced":
        return cls(
            span.name,
            Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            _attributes(span.attributes),
            [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            span.status.code == 2,
        )

    @property
    def traceparent(self) -> str:
        """What goes with a call that this span is the cause of."""
        return f"00-{self.trace_id}-{self.span_id}-"


def _attributes(listed: Iterable[KeyValue]) -> dict[str, str | int]:
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in listed
    }


@dataclass
class Receiver:
    """Takes what is exported, and answers it as the test says."""

    status: bytes = b"200 OK"
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """What an answer waits for; open unless the test closes it."""
    requests: list[Seen] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    async def script(self, seen: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(seen)
        await self.gate.wait()
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % self.status)

    def exports(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(seen.body) for seen in self.requests]

    def resource(self) -> dict[str, str | int]:
        """What the spans say of the program that they are from."""
        return _attributes(self.exports()[0].resource_spans[0].resource.attributes)

    @property
    def spans(self) -> list[Traced]:
        """All spans, in the order of their ends."""
        return [
            Traced.of(span)
            for export in self.exports()
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of(self, kind: str) -> list[Traced]:
        return [span for span in self.spans if span.kind == kind]

    def only(self, kind: str) -> Traced:
        (span,) = self.of(kind)
        return span


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with ScriptedUpstream(receiver.script) as server:
        receiver.url = server.url
        yield receiver


@asynccontextmanager
async def traced(
    receiver: Receiver, url: str, directory: Path, *, sample_ratio: float = 1.0, **sections: Any
) -> AsyncIterator[Proxy]:
    """The proxy before one upstream; the receiver has all its spans when it has stopped."""
    tracing = {"endpoint": receiver.url, "sample_ratio": sample_ratio}
    async with running(url, directory, tracing=tracing, **sections) as proxy:
        yield proxy


async def openmetrics(proxy: Proxy) -> str:
    """The metrics in the format that has exemplars."""
    async with proxy.client("ops") as ops:
        return (
            await ops.get("/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        ).body.decode()
