"""The trace context: where it comes from, which calls carry it, and what becomes one trace by it."""

import asyncio
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, ScriptedUpstream, Seen
from tests.integration.otlp import PARENT, SPAN, TRACE, Receiver, openmetrics, traced
from tests.integration.people import BULK, envelope

UNSAMPLED = f"traceparent: 00-{TRACE}-{SPAN}-00"


def sent(seen: Seen) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in seen.fields}


async def test_a_fill_carries_the_context_of_its_span(receiver: Receiver, tmp_path: Path) -> None:
    async with ScriptedUpstream(_users) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy, proxy.client() as client:
            await client.post(BULK, b'{"userIds":["1"]}', PARENT, "tracestate: a=1,b=2")
        call, request = receiver.spans
        assert (request.trace_id, request.parent_id) == (TRACE, SPAN)
        assert (call.trace_id, call.parent_id) == (TRACE, request.span_id)
        fields = sent(upstream.seen[0])
        assert fields[b"traceparent"].decode() == f"{call.traceparent}01"
        assert fields[b"tracestate"] == b"a=1,b=2"


async def test_what_is_passed_on_keeps_its_own_context(receiver: Receiver, tmp_path: Path) -> None:
    async with ScriptedUpstream(_users) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            await proxy.get("/health?who=ana", PARENT, "tracestate: a=1")
            await proxy.get("/health")
        call, request = receiver.spans[:2]
        assert (call.kind, call.name, request.name) == ("CLIENT", "GET", "GET")
        assert call.parent_id == request.span_id
        assert "http.route" not in request.attributes
        assert (request.attributes["handshake_proxy.cache"], request.parent_id) == ("none", SPAN)
        first, second = map(sent, upstream.seen)
        assert first[b"traceparent"].decode() == PARENT.removeprefix("traceparent: ")
        assert first[b"tracestate"] == b"a=1"
        assert b"traceparent" not in second


async def test_each_try_has_a_span(receiver: Receiver, tmp_path: Path) -> None:
    async def script(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.seen) < 2:
            writer.write(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
        else:
            body = envelope(b'{"id":"1"}')
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with ScriptedUpstream(script) as server:
        async with traced(receiver, server.url, tmp_path) as proxy:
            assert (await proxy.users("1")).status == 200
        first, second = receiver.of("CLIENT")
        assert (first.failed, first.attributes["error.type"]) == (True, "503")
        assert first.attributes["http.response.status_code"] == 503
        assert "http.request.resend_count" not in first.attributes
        assert (second.failed, second.attributes["http.request.resend_count"]) == (False, 1)
        assert {first.parent_id, second.parent_id} == {receiver.only("SERVER").span_id}
        carried = [sent(seen)[b"traceparent"].decode()[:-2] for seen in server.seen]
        assert carried == [first.traceparent, second.traceparent]


async def test_what_the_caller_does_not_sample_is_not_exported_but_stays_one_trace(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with ScriptedUpstream(_users) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy, proxy.client() as client:
            await client.post(BULK, b'{"userIds":["1"]}', UNSAMPLED)
            text = await openmetrics(proxy)
        assert not receiver.requests
        carried = sent(upstream.seen[0])[b"traceparent"].decode()
        assert re.fullmatch(rf"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-00", carried)
        assert "trace_id" not in text


async def test_a_ratio_of_0_leaves_the_sampling_to_the_callers(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    async with traced(receiver, upstream.url, tmp_path, sample_ratio=0.0) as proxy:
        await proxy.users("1")
        async with proxy.client() as client:
            await client.post(BULK, b'{"userIds":["1"]}', PARENT)
    assert receiver.only("SERVER").trace_id == TRACE


@pytest.mark.parametrize(
    "wrong", ["no trace", f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01"]
)
async def test_a_context_that_is_none_begins_a_trace(
    receiver: Receiver, upstream: Services, tmp_path: Path, wrong: str
) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy:
        await proxy.get("/health", f"traceparent: {wrong}")
        await proxy.get("/health", PARENT, PARENT)
    assert [request.parent_id for request in receiver.of("SERVER")] == ["", ""]
    assert TRACE not in {span.trace_id for span in receiver.spans}


async def test_with_the_sdk_disabled_no_context_is_made_up_or_lost(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    odd = "traceparent: of-my-own"
    with capture_logs() as lines:
        async with ScriptedUpstream(_users) as upstream:
            async with traced(receiver, upstream.url, tmp_path, log={"level": "debug"}) as proxy:
                for number, fields in enumerate(((), (odd,), (PARENT, "tracestate: a=1"))):
                    async with proxy.client() as client:
                        await client.post(BULK, b'{"userIds":["%d"]}' % number, *fields)
            none, kept, passed = map(sent, upstream.seen)
    assert b"traceparent" not in none
    assert kept[b"traceparent"].decode() == odd.removeprefix("traceparent: ")
    assert (passed[b"traceparent"].decode(), passed[b"tracestate"]) == (PARENT.split()[1], b"a=1")
    assert [line["trace_id"] for line in lines if line["event"] == "request"] == [None, None, TRACE]
    assert not receiver.requests


async def test_who_waits_for_another_ones_call_is_linked_to_its_cause(
    receiver: Receiver, tmp_path: Path
) -> None:
    gate = asyncio.Event()

    async def script(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        body = envelope(b'{"id":"1"}')
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with ScriptedUpstream(script) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            asked = [asyncio.create_task(proxy.users("1")) for _ in range(3)]
            async with asyncio.timeout(PATIENCE):
                while proxy.metric("coalesced_ids_total") < 2:
                    await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*asked)
    call = receiver.only("CLIENT")
    requests = {span.span_id: span for span in receiver.of("SERVER")}
    cause = requests.pop(call.parent_id)
    assert cause.links == []
    assert [span.links for span in requests.values()] == [[(cause.trace_id, cause.span_id)]] * 2


async def test_a_trace_context_is_never_stored(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.post(BULK, b'{"userIds":["1"]}', PARENT)
        await proxy.durable()
    call = receiver.only("CLIENT")
    files = [file.read_bytes() for file in tmp_path.iterdir() if file.name.startswith("handshake.db")]
    assert any(b"ana@example.org" in content for content in files)
    for content in files:
        assert TRACE.encode() not in content
        assert call.span_id.encode() not in content


async def _users(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = envelope(b'{"id":"1"}')
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
