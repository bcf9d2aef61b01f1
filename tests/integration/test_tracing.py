"""What a receiver of spans gets to know of requests and of the calls that they cause, and what it does not."""

import asyncio
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, ScriptedUpstream, Seen
from tests.integration.otlp import PARENT, SPAN, TRACE, Receiver, openmetrics, traced
from tests.integration.people import BULK, HEAD, envelope


async def test_a_miss_is_a_server_and_a_client_span_and_a_hit_a_server_span(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        await proxy.users("1")
    call, miss, hit = receiver.spans
    assert (call.kind, miss.kind, hit.kind) == ("CLIENT", "SERVER", "SERVER")
    assert (call.trace_id, call.parent_id) == (miss.trace_id, miss.span_id)
    assert hit.trace_id != miss.trace_id
    assert (miss.parent_id, hit.parent_id) == ("", "")
    host, _, port = upstream.url.removeprefix("http://").partition(":")
    assert call.name == f"POST {BULK}"
    assert call.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "server.address": host,
        "server.port": int(port),
        "url.scheme": "http",
        "url.template": BULK,
        "handshake_proxy.route": "user.bulk",
        "handshake_proxy.upstream": "main",
    }
    assert hit.name == f"POST {BULK}"
    assert hit.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": BULK,
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": 0,
        "url.scheme": "http",
        "handshake_proxy.cache": "hit",
        "handshake_proxy.route": "user.bulk",
    }
    assert miss.attributes == hit.attributes | {"handshake_proxy.cache": "miss"}
    assert not any(span.failed for span in receiver.spans)
    assert receiver.resource()["service.name"] == "handshake-proxy"


async def test_a_bulk_that_is_held_in_part(receiver: Receiver, upstream: Services, tmp_path: Path) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        await proxy.users("1", "2")
    _, _, call, request = receiver.spans
    assert request.attributes["handshake_proxy.cache"] == "partial"
    assert (call.kind, call.parent_id) == ("CLIENT", request.span_id)


async def test_an_open_circuit_is_no_call(receiver: Receiver, upstream: Services, tmp_path: Path) -> None:
    await upstream.stop()
    once = {"retries": 0, "circuit": {"failures": 1}}
    async with traced(receiver, upstream.url, tmp_path, upstream=once) as proxy:
        assert (await proxy.users("1")).status == 503
        assert (await proxy.users("2")).status == 503
    call, first, second = receiver.spans
    assert (call.kind, call.failed, call.attributes["error.type"]) == ("CLIENT", True, "connect")
    assert "http.response.status_code" not in call.attributes
    for request in (first, second):
        assert (request.kind, request.failed, request.attributes["error.type"]) == ("SERVER", True, "503")
        assert request.attributes["handshake_proxy.cache"] == "error"


@pytest.mark.parametrize(("status", "failed"), [(404, False), (500, True)])
async def test_a_client_error_is_one_of_the_call_alone(
    receiver: Receiver, tmp_path: Path, status: int, *, failed: bool
) -> None:
    async def script(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)

    async with ScriptedUpstream(script) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            assert (await proxy.get("/x")).status == status
    call, request = receiver.spans
    assert (call.failed, call.attributes["error.type"]) == (True, str(status))
    assert request.failed is failed
    assert ("error.type" in request.attributes) is failed


async def test_a_client_that_goes_away(receiver: Receiver, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def script(_: Seen, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with ScriptedUpstream(script) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            async with proxy.client() as client:
                await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
                async with asyncio.timeout(PATIENCE):
                    await arrived.wait()
            await proxy.quiet()
    call, request = receiver.spans
    assert call.attributes["error.type"] == request.attributes["error.type"] == "client_disconnected"
    assert not request.failed
    assert "http.response.status_code" not in request.attributes


async def test_an_answer_that_is_cut(receiver: Receiver, tmp_path: Path) -> None:
    async def script(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with ScriptedUpstream(script) as upstream:
        async with traced(receiver, upstream.url, tmp_path) as proxy, proxy.client() as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.ended()
    call, request = receiver.spans
    assert (call.failed, call.attributes["error.type"]) == (True, "body")
    assert (request.failed, request.attributes["error.type"]) == (True, "answer_cut")


@pytest.mark.parametrize(
    "sent", [b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", HEAD + b'Content-Length: 17\r\n\r\n{"userIds":["1"]}']
)
async def test_a_request_that_is_cut_at_the_stop(receiver: Receiver, tmp_path: Path, sent: bytes) -> None:
    arrived = asyncio.Event()

    async def script(_: Seen, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with ScriptedUpstream(script) as upstream:
        async with traced(receiver, upstream.url, tmp_path, limits={"drain_timeout": "100ms"}) as proxy:
            async with proxy.client() as client:
                await client.send(sent)
                async with asyncio.timeout(PATIENCE):
                    await arrived.wait()
                await proxy.app.stop()
                assert await client.ended() == b""
    for span in (receiver.only("CLIENT"), receiver.only("SERVER")):
        assert (span.failed, span.attributes["error.type"]) == (True, "cancelled")
        assert "http.response.status_code" not in span.attributes


async def test_calls_of_the_handshake_api(receiver: Receiver, upstream: Services, tmp_path: Path) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy:
        user = (await proxy.call("POST", "/v1/users/ensure", {"userId": "1"}, PARENT)).json()
        await proxy.call("GET", f"/v1/users/{user['id']}")
        await proxy.call("GET", "/v1/nothing/1")
    call, ensure, got, other = receiver.spans
    assert (call.kind, call.parent_id, ensure.parent_id) == ("CLIENT", ensure.span_id, SPAN)
    assert ensure.name == "POST /v1/users/ensure"
    assert (got.name, got.attributes["http.route"]) == ("GET /v1/users/{id}", "/v1/users/{id}")
    assert got.attributes["handshake_proxy.route"] == "users.get"
    assert other.name == "GET"


async def test_probes_and_scrapes_are_not_traced(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy, proxy.client("ops") as ops:
        assert (await ops.get("/readyz")).status == 200
        assert (await ops.get("/metrics")).status == 200
    assert not receiver.requests


async def test_nothing_that_could_name_a_person_is_in_a_span(receiver: Receiver, tmp_path: Path) -> None:
    secret = "planted-4711"

    async def script(seen: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        item = b'{"id":"%b","name":"%b","email":"%b@example.org"}' % ((secret.encode(),) * 3)
        body = envelope(item) if seen.line.startswith(b"POST /main") else item
        head = b"HTTP/1.1 200 %b\r\nX-Who: %b\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (secret.encode(), secret.encode(), len(body)) + body)

    bulk = {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"}
    both = {"user": {"upstream": "main", "id": "/id", "bulk": bulk, "single": {"path": "/users/{id}"}}}
    who = [f"User-Agent: {secret}", f"Authorization: {secret}", f"X-Forwarded-For: {secret}"]
    odd = [f"PROPFIND /users/{secret}", f"POST http://{secret}/users/{secret}", f"GET /{secret}?who={secret}"]
    async with ScriptedUpstream(script) as upstream:
        async with traced(receiver, upstream.url, tmp_path, resources=both) as proxy:
            assert (await proxy.users(secret)).status == 200
            proxy.clock.tick(100 * 86400)
            assert (await proxy.get(f"/users/{secret}", f"baggage: who={secret}")).status == 200
            assert (await proxy.get(f"/users/{secret}?mail={secret}", *who)).status == 200
            assert (await proxy.call("POST", "/v1/users/ensure", {"userId": secret})).status == 200
            for target in (f"/v1/users/{secret}", f"/v1/{secret}", f"/v1/users/stale?cursor={secret}"):
                await proxy.call("GET", target, None, *who)
            async with proxy.client() as client:
                for line in odd:
                    await client.request(f"{line} HTTP/1.1\r\nHost: {secret}\r\n\r\n".encode())
    assert {span.name for span in receiver.spans} == {
        f"POST {BULK}",
        "GET /users/{id}",
        "HTTP /users/{id}",
        "POST /users/{id}",
        "POST /v1/users/ensure",
        "GET /v1/users/{id}",
        "GET /v1/users/stale",
        "GET",
    }
    assert len(receiver.of("CLIENT")) >= 5
    for seen in receiver.requests:
        assert secret.encode() not in seen.head + seen.body


async def test_the_exemplar_of_a_request_is_its_trace(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    async with traced(receiver, upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.post(BULK, b'{"userIds":["1"]}', PARENT)
        text = await openmetrics(proxy)
        async with proxy.client("ops") as ops:
            plain = (await ops.get("/metrics")).body.decode()
    bucket = r'handshake_proxy_request_duration_seconds_bucket\{.*route="user.bulk".*\}'
    assert re.search(rf'^{bucket} \S+ # {{trace_id="{TRACE}"}} ', text, re.MULTILINE)
    assert TRACE not in plain


async def test_a_log_line_has_the_trace_id_of_its_span(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    await upstream.stop()
    with capture_logs() as lines:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            await proxy.users("1")
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["trace_id"] == receiver.only("SERVER").trace_id
