"""The single face: GET and HEAD of one entity, over real sockets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, ScriptedUpstream, Seen, running

BULK = {"path": "/main/api/v3/users/bulk", "ids": "/userIds", "items": "/users", "count": "/count"}
USER: dict[str, Any] = {"id": "/id", "single": {"path": "/users/{id}"}, "bulk": BULK}
RESOURCES = {"user": USER}
ITEM = b'{"id": "1",  "name":"Ana"}'


class Origin:
    """A scripted origin of one user, whose answer the test changes."""

    def __init__(self) -> None:
        self.status = b"200 OK"
        self.fields = b'Content-Type: application/json\r\nETag: "1"\r\nX-Own: yes\r\n'
        self.body = ITEM
        self.upstream = ScriptedUpstream(self.script)

    async def script(self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = b"Content-Length: %d\r\n" % len(self.body)
        writer.write(b"HTTP/1.1 " + self.status + b"\r\n" + self.fields + length + b"\r\n" + self.body)


async def test_a_get_is_stored_with_its_fields_and_answered_again(tmp_path: Path) -> None:
    origin = Origin()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        first = await proxy.get("/users/1")
        assert (first.status, first.body) == (200, ITEM)
        assert first.field("cache-status") == "handshake-proxy; fwd=uri-miss; stored"
        assert not first.field("age")
        proxy.clock.tick(30)
        second = await proxy.get("/users/1")
        assert second.body == ITEM
        assert (second.field("etag"), second.field("x-own"), second.field("age")) == ('"1"', "yes", "30")
        assert second.field("cache-status").startswith("handshake-proxy; hit; ttl=")
        assert len(upstream.seen) == 1
        assert upstream.seen[0].line == b"GET /users/1 HTTP/1.1"


async def test_head_is_answered_from_the_same_copy(tmp_path: Path) -> None:
    origin = Origin()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        async with proxy.client() as client:
            for _ in range(2):
                response = await client.request(b"HEAD /users/1 HTTP/1.1\r\nHost: a\r\n\r\n", head_only=True)
                assert (response.status, response.field("content-length")) == (200, str(len(ITEM)))
            assert (await client.get("/users/1")).body == ITEM
        assert len(upstream.seen) == 1


async def test_single_and_bulk_fill_each_other(tmp_path: Path) -> None:
    upstream = Services()
    upstream.users["1"] = ITEM
    upstream.users["2"] = b'{"id":"2"}'
    await upstream.start()
    try:
        async with running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
            assert (await proxy.get("/users/1")).body == ITEM
            assert (await proxy.users("1", "2")).body == b'{"users":[' + ITEM + b',{"id":"2"}],"count":2}'
            again = await proxy.get("/users/2")
            assert (again.body, again.field("content-type")) == (
                b'{"id":"2"}',
                "application/json; charset=utf-8",
            )
            assert [(route, ids) for route, ids in upstream.calls] == [
                ("/users/{id}", ("1",)),
                ("/main/api/v3/users/bulk", ("2",)),
            ]
    finally:
        await upstream.stop()


@pytest.mark.parametrize("status", [b"404 Not Found", b"410 Gone"])
async def test_an_absence_is_answered_as_the_origin_said_it(status: bytes, tmp_path: Path) -> None:
    origin = Origin()
    origin.status, origin.body = status, b'{"why":"none"}'
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for _ in range(2):
            response = await proxy.get("/users/1")
            assert (response.status, response.body) == (int(status[:3]), b'{"why":"none"}')
        assert response.field("cache-status") == "handshake-proxy; hit; ttl=10"
        assert (await proxy.users("1")).json() == {"users": [], "count": 0}
        assert len(upstream.seen) == 1
        proxy.clock.tick(11)
        await proxy.get("/users/1")
        assert len(upstream.seen) == 2


async def test_an_id_is_decoded_once_and_encoded_again(tmp_path: Path) -> None:
    origin = Origin()
    origin.body = '{"id":"a/é %"}'.encode()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        assert (await proxy.get("/users/a%2f%C3%a9%20%25")).status == 200
        assert "hit" in (await proxy.get("/users/%61%2F%c3%A9%20%25")).field("cache-status")
        assert [seen.line for seen in upstream.seen] == [b"GET /users/a%2F%C3%A9%20%25 HTTP/1.1"]


@pytest.mark.parametrize(
    "path", ["/users/", "/users/..", "/users/%2e", "/users/%zz", "/users/a/b", "/users/%ff", "/Users/1"]
)
async def test_a_path_that_names_no_entity_is_passed_through(path: str, tmp_path: Path) -> None:
    origin = Origin()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for _ in range(2):
            assert not (await proxy.get(path)).field("cache-status")
        assert [seen.line for seen in upstream.seen] == [f"GET {path} HTTP/1.1".encode()] * 2


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b"<html>", b"200 OK", b"Content-Type: text/html\r\n"),
        (b'{"id":"2"}', b"200 OK", b""),
        (b'{"id":"1"', b"200 OK", b""),
        (b"[]", b"200 OK", b""),
    ],
)
async def test_an_answer_that_is_not_the_entity_is_a_failure(
    body: bytes, status: bytes, fields: bytes, tmp_path: Path
) -> None:
    origin = Origin()
    origin.body, origin.status, origin.fields = body, status, fields
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        response = await proxy.get("/users/1")
        assert (response.status, response.field("content-type")) == (502, "application/problem+json")
        assert proxy.metric("stored_entities") == 0


@pytest.mark.parametrize("status", [b"500 Oops", b"302 Found", b"403 No", b"204 Nothing", b"206 Part"])
async def test_any_other_status_is_passed_on_and_not_stored(status: bytes, tmp_path: Path) -> None:
    origin = Origin()
    origin.status = status
    if status == b"204 Nothing":
        origin.body = b""
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for _ in range(2):
            response = await proxy.get("/users/1")
            assert response.head.startswith(b"HTTP/1.1 " + status)
            assert "hit" not in response.field("cache-status")


async def test_a_stale_copy_outlives_a_failure_but_not_a_refusal(tmp_path: Path) -> None:
    origin = Origin()
    resources = {
        "user": {**USER, "freshness": {"ttl": "10s", "stale_if_error": "1h", "stale_while_revalidate": 0}}
    }
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=resources) as proxy:
        await proxy.get("/users/1")
        proxy.clock.tick(20)
        origin.status = b"503 Down"
        stale = await proxy.get("/users/1")
        assert (stale.status, stale.body, stale.field("age")) == (200, ITEM, "20")
        assert stale.field("cache-status").startswith("handshake-proxy; hit; ttl=-1")
        origin.status = b"403 No"
        proxy.clock.tick(1)  # the upstream has failed, and is left alone for a moment
        assert (await proxy.get("/users/1")).status == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST", "MKCOL"])
async def test_a_method_that_is_not_safe_invalidates(method: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.4."""
    origin = Origin()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        await proxy.get("/users/1")
        await proxy.durable()  # what has no row yet when it is invalidated counts as never seen
        async with proxy.client() as client:
            origin.status = b"409 Conflict"
            assert (
                await client.request(f"{method} /users/1 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            ).status == 409
            assert "hit" in (await client.get("/users/1")).field("cache-status")
            origin.status = b"200 OK"
            assert (
                await client.request(f"{method} /users/%31 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            ).status == 200
            assert (await client.get("/users/1")).field(
                "cache-status"
            ) == "handshake-proxy; fwd=uri-miss; stored"
        assert proxy.metric("invalidations_total", source="method") == 1
        assert proxy.metric("misses_total", reason="invalidated") == 1


async def test_a_fetch_that_began_before_an_invalidation_is_not_stored(tmp_path: Path) -> None:
    release = asyncio.Event()
    arrived = asyncio.Event()
    items = [b'{"id":"1","v":"old"}', b'{"id":"1","v":"new"}']

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith(b"DELETE"):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        body = items.pop(0)
        if not arrived.is_set():
            arrived.set()
            await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with (
        ScriptedUpstream(script) as upstream,
        running(upstream.url, tmp_path, resources=RESOURCES) as proxy,
    ):
        early = asyncio.create_task(proxy.get("/users/1"))
        await arrived.wait()
        async with proxy.client() as client:
            await client.request(b"DELETE /users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        late = await proxy.get("/users/1")
        assert late.json()["v"] == "new"
        release.set()
        assert (await early).json()["v"] == "old"
        assert (await proxy.get("/users/1")).json()["v"] == "new"


@pytest.mark.parametrize(
    ("target", "fields", "detail"),
    [
        ("/users/1?fields=name", [], "query"),
        ("/users/1", ["Authorization: Bearer s"], "credential"),
        ("/users/1", ["Cache-Control: no-store"], "no-cache"),
        ("/users/1", ["Content-Length: 0"], ""),
    ],
)
async def test_what_a_request_says_of_the_cache(
    target: str, fields: list[str], detail: str, tmp_path: Path
) -> None:
    origin = Origin()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        await proxy.get("/users/1")
        response = await proxy.get(target, *fields)
        if detail:
            assert response.field("cache-status") == f"handshake-proxy; fwd=bypass; detail={detail}"
        else:
            assert "hit" in response.field("cache-status")


async def test_only_single_resources_answer_each_id(tmp_path: Path) -> None:
    resources = {"user": {"id": "/id", "single": {"path": "/users/{id}"}, "storage": "memory"}}
    origin = Origin()
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=resources) as proxy:
        assert (await proxy.get("/users/1")).body == ITEM
        assert "hit" in (await proxy.get("/users/1")).field("cache-status")
        assert (await proxy.users("1")).body == ITEM  # no bulk is claimed: passed through


async def test_an_upstream_that_hangs_is_504(tmp_path: Path) -> None:
    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith(b"GET /users/"):
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 204 No\r\n\r\n")

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
            # With a connection that there is, nothing but the answer takes time, however slow the machine is.
            assert (await proxy.get("/elsewhere")).status == 204
            for one in proxy.app._upstreams:
                one.config = one.config.model_copy(update={"timeout": 0.05})
            assert (await proxy.get("/users/1")).status == 504
            # Who asked has his answer, perhaps a moment before the call that is made for him has ended.
            async with asyncio.timeout(PATIENCE):
                while not proxy.metric("upstream_errors_total", reason="timeout"):
                    await asyncio.sleep(0)


async def test_key_headers_are_part_of_the_key(tmp_path: Path) -> None:
    origin = Origin()
    resources = {"user": {**USER, "key_headers": ["x-tenant"]}}
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=resources) as proxy:
        for fields in (["X-Tenant: a"], ["x-tenant: b"], []):
            assert "fwd=uri-miss" in (await proxy.get("/users/1", *fields)).field("cache-status")
            assert "hit" in (await proxy.get("/users/1", *fields)).field("cache-status")
        tenants = [
            dict(seen.fields).get(b"X-Tenant") or dict(seen.fields).get(b"x-tenant") for seen in upstream.seen
        ]
        assert tenants == [b"a", b"b", None]
        async with proxy.client() as client:
            await client.request(b"DELETE /users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        for fields in (["X-Tenant: a"], ["X-Tenant: b"], []):
            assert "fwd=uri-miss" in (await proxy.get("/users/1", *fields)).field("cache-status")


@pytest.mark.parametrize("field", [b"Set-Cookie: a=1", b"Vary: Accept-Language"])
async def test_an_answer_that_may_not_be_shared_is_the_callers_own(field: bytes, tmp_path: Path) -> None:
    origin = Origin()
    origin.fields = field + b"\r\n"
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for _ in range(2):
            response = await proxy.get("/users/1", "Accept-Language: de")
            assert response.body == ITEM
            assert response.field(field.split(b":")[0].decode()) == field.split(b": ")[1].decode()
            assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=uncacheable"
            assert dict(upstream.seen[-1].fields)[b"Accept-Language"] == b"de"
        assert len(upstream.seen) == 3  # one fill found it out


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
@pytest.mark.parametrize("value", [b"no-store", b"private", b"no-cache"])
async def test_an_answer_that_may_not_be_stored_is_given_to_who_caused_it(
    value: bytes, status: bytes, tmp_path: Path
) -> None:
    """It is the same for everybody, and asking again would cost its time again."""
    origin = Origin()
    origin.status, origin.fields = status, b"X-Own: yes\r\nCache-Control: " + value + b"\r\n"
    async with origin.upstream as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for number, words in enumerate(("fwd=uri-miss", "fwd=bypass; detail=uncacheable"), start=1):
            response = await proxy.get("/users/1")
            assert (response.status, response.body) == (int(status[:3]), ITEM)
            assert (response.field("x-own"), response.field("cache-control")) == ("yes", value.decode())
            assert response.field("cache-status") == f"handshake-proxy; {words}"
            assert len(upstream.seen) == number


async def test_a_method_whose_outcome_is_unknown_invalidates(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith(b"PUT"):
            arrived.set()
            await reader.read()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ITEM) + ITEM)

    async with (
        ScriptedUpstream(script) as upstream,
        running(upstream.url, tmp_path, resources=RESOURCES) as proxy,
    ):
        await proxy.get("/users/1")
        async with proxy.client() as client:
            await client.send(b"PUT /users/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            await arrived.wait()
        async with asyncio.timeout(5):
            while not proxy.metric("invalidations_total"):
                await asyncio.sleep(0)
        assert (await proxy.get("/users/1")).field("cache-status") == "handshake-proxy; fwd=uri-miss; stored"


async def test_a_method_that_was_never_sent_invalidates_nothing(tmp_path: Path) -> None:
    origin = Origin()
    async with origin.upstream as upstream:
        async with running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
            await proxy.get("/users/1")
            await upstream.stop()
            async with proxy.client() as client:
                assert (await client.request(b"PUT /users/1 HTTP/1.1\r\nHost: a\r\n\r\n")).status == 502
            assert "hit" in (await proxy.get("/users/1")).field("cache-status")
