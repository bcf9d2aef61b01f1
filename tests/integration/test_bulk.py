"""The bulk face, over real sockets and a real SQLite file."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.services import Services
from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running

ODD = {
    "1": b'{"id":"1","name":"Ana",  "email":"ana@example.org"}',
    "2": b'{ "id" : "2", "name": "Zo\\u00eb", "balance": 1.50, "big": 9223372036854775807 }',
    "3": b'{"id":3,"n":[1, 2 ,3],"huge":123456789012345678901234567890,"e":1E5}',
    "4": '{"id":"4","name":"日本","slash":"a\\/b"}'.encode(),
}
BULK = "/main/api/v3/users/bulk"
HEAD = f"POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def services() -> AsyncIterator[Services]:
    upstream = Services()
    upstream.users.clear()
    upstream.users.update(ODD)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


def envelope(*items: bytes) -> bytes:
    return b'{"users":[' + b",".join(items) + b'],"count":%d}' % len(items)


async def test_only_what_is_missing_is_fetched_and_bytes_and_order_are_kept(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        first = await proxy.users("1", "2", "3")
        assert first.body == envelope(ODD["1"], ODD["2"], ODD["3"])
        second = await proxy.users("2", "4", "3")
        assert second.body == envelope(ODD["2"], ODD["4"], ODD["3"])
        assert [ids for _, ids in upstream.calls] == [("1", "2", "3"), ("4",)]
        assert first.field("cache-status") == "handshake-proxy; fwd=uri-miss; stored"
        expected = 'handshake-proxy; fwd=miss; detail="hit=2,stale=0,negative=0,miss=1"'
        assert second.field("cache-status") == expected


async def test_an_assembled_answer_has_its_fixed_head(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        proxy.clock.tick(90)
        response = await proxy.users("1")
        assert response.status == 200
        assert response.field("content-type") == "application/json; charset=utf-8"
        assert response.field("age") == "90"
        assert response.field("date") == "Fri, 15 Jan 2027 08:01:30 GMT"
        member, state, ttl = response.field("cache-status").split("; ")
        assert (member, state) == ("handshake-proxy", "hit")
        assert 86400 * 0.9 - 91 <= int(ttl.removeprefix("ttl=")) <= 86400 - 90
        names = [name for name, _ in response.fields]
        assert names == [b"Content-Type", b"Date", b"Age", b"Cache-Status", b"Content-Length"]


async def test_an_absence_is_remembered_for_negative_ttl(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        assert (await proxy.users("1", "nobody")).body == envelope(ODD["1"])
        proxy.clock.tick(9)
        again = await proxy.users("nobody")
        assert (again.json(), again.field("cache-status")) == (
            {"users": [], "count": 0},
            "handshake-proxy; hit; ttl=1",
        )
        assert upstream.fetched["nobody"] == 1
        upstream.users["nobody"] = b'{"id":"nobody"}'
        proxy.clock.tick(2)
        assert (await proxy.users("nobody")).body == envelope(b'{"id":"nobody"}')
        assert proxy.metric("misses_total", reason="absence_expired") == 1


async def test_ten_thousand_ids_go_up_in_chunks(tmp_path: Path) -> None:
    ids = [f"user-{number}" for number in range(10_000)]
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        upstream.users.update({entity: json.dumps({"id": entity}).encode() for entity in ids})
        response = await proxy.users(*ids)
        assert [user["id"] for user in response.json()["users"]] == ids
        assert response.json()["count"] == 10_000
        assert [len(asked) for _, asked in upstream.calls] == [100] * 100
        upstream.forget()
        assert (await proxy.users(*reversed(ids))).json()["users"][0]["id"] == ids[-1]
        assert not upstream.calls


async def test_concurrent_requests_share_one_fetch(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        upstream.latency = 0.05
        answers = await asyncio.gather(
            *(proxy.users("1", "2") for _ in range(20)), *(proxy.users("2") for _ in range(20))
        )
        assert {answer.status for answer in answers} == {200}
        assert upstream.fetched == {"1": 1, "2": 1}
        assert proxy.metric("coalesced_ids_total") > 0


async def test_a_waiter_that_leaves_does_not_cancel_the_fetch(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        upstream.latency = 0.05
        async with proxy.client() as client:
            body = b'{"userIds":["1"]}'
            await client.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while not upstream.calls:
                await asyncio.sleep(0)
        assert (await proxy.users("1")).status == 200
        assert upstream.fetched == {"1": 1}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"userIds":["1"],"x":1}', "an unknown member"),
        (b'{"userIds":[1]}', "an id that is no string"),
        (b'{"userIds":["1","1"]}', "a repeated id"),
        (b'{"userIds":["1"]', "not JSON"),
        (b'{"userIds":["1"]} x', "trailing garbage"),
        (b'["1"]', "not an object"),
        (b'{"userIds":[]}', "nothing asked"),
        (b'{"userIds":[""]}', "an empty id"),
        (b'{"userIds":["' + b"x" * 10_000 + b'"]}', "an id of 10 kB"),
        (b'{"userIds":["1"],"userIds":["2"]}', "a repeated member"),
        (b'{"user\\u0049ds":["1"]}', "an escaped member"),
        (b'{"userIds":"1"}', "no list"),
        (b'{"userIds":["\xff"]}', "not UTF-8"),
        (b"", "no body"),
    ],
)
async def test_any_other_shape_is_streamed_on_untouched(body: bytes, why: str, tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 422 Their Word\r\nContent-Length: 4\r\n\r\nnope")

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        for _ in range(2):
            async with proxy.client() as client:
                response = await client.post(BULK, body)
            assert (response.status, response.body) == (422, b"nope"), why
            assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=shape"
        assert [seen.body for seen in upstream.seen] == [body, body], why
        assert proxy.metric("misses_total", reason="bypass_shape") == 2
        assert proxy.metric("stored_entities") == 0


@pytest.mark.parametrize(
    ("target", "fields", "detail"),
    [
        (BULK + "?x=1", [], "query"),
        (BULK, ["Content-Type: text/plain"], "shape"),
        (BULK, ["Content-Encoding: identity"], "shape"),
        (BULK, ["Authorization: Bearer s"], "credential"),
        (BULK, ["Cookie: a=b"], "credential"),
        (BULK, ["X-API-Key: k"], "credential"),
        (BULK, ["Cache-Control: no-store"], "no-cache"),
    ],
)
async def test_a_head_that_forbids_the_cache(
    target: str, fields: list[str], detail: str, tmp_path: Path
) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        for _ in range(2):
            async with proxy.client() as client:
                response = await client.post(target, b'{"userIds":["1"]}', *fields)
            assert response.json()["count"] == 1
            assert response.field("cache-status") == f"handshake-proxy; fwd=bypass; detail={detail}"
        assert upstream.fetched["1"] == 3


@pytest.mark.parametrize(("rule", "count"), [("once", 2), ("repeat", 3)])
async def test_repeated_ids_as_the_operator_declares(rule: str, count: int, tmp_path: Path) -> None:
    bulk = {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count", "duplicates": rule}
    async with services() as upstream:
        async with running(upstream.url, tmp_path, resources={"user": {"id": "/id", "bulk": bulk}}) as proxy:
            response = await proxy.users("1", "2", "1")
            assert response.json()["count"] == count
            assert upstream.fetched == {"1": 1, "2": 1}


async def test_a_body_over_the_limit_is_streamed_on(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path, limits={"bulk_body": "1KiB"}) as proxy:
        ids = [f"{number:0100d}" for number in range(50)]
        response = await proxy.users(*ids)
        assert response.field("cache-status").endswith("detail=shape")
        assert len(upstream.fetched) == 50
        body = json.dumps({"userIds": ids}).encode()
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        async with proxy.client() as client:
            assert (await client.request(HEAD + CHUNKED + chunk)).json()["count"] == 0
        assert upstream.fetched[ids[0]] == 2


async def test_a_chunked_bulk_is_understood(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        async with proxy.client() as client:
            response = await client.request(HEAD + CHUNKED + b'8\r\n{"userId\r\n9\r\ns":["1"]}\r\n0\r\n\r\n')
        assert response.body == envelope(ODD["1"])
        assert "hit" in response.field("cache-status")


async def test_a_fill_is_the_proxys_own_request(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = envelope(ODD["1"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.post(
                BULK,
                b'{"userIds": ["1"] }',
                "traceparent: 00-a-b-01",
                "X-Mine: 1",
                "User-Agent: axios",
                "Accept: */*",
            )
        seen = upstream.seen[0]
        assert seen.body == b'{"userIds":["1"]}'
        assert dict(seen.fields) == {
            b"Host": upstream.url.removeprefix("http://").encode(),
            b"Accept": b"application/json",
            b"Content-Type": b"application/json",
            b"Accept-Encoding": b"identity",
            b"traceparent": b"00-a-b-01",
            b"Content-Length": b"17",
            b"Via": dict(seen.fields)[b"Via"],
        }


async def serve_scripted(answers: list[bytes], directory: Path, **sections: Any) -> "_Scripted":
    return _Scripted(answers, directory, sections)


class _Scripted:
    """An upstream that gives prepared bulk bodies, one a call, and the proxy before it."""

    def __init__(self, answers: list[bytes], directory: Path, sections: dict[str, Any]) -> None:
        self.answers = answers
        self.directory = directory
        self.sections = sections

    async def __aenter__(self) -> tuple[ScriptedUpstream, Proxy]:
        async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            body = self.answers[min(len(self.upstream.seen), len(self.answers)) - 1]
            if not body.startswith(b"HTTP/"):
                body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            writer.write(body)
            if b"close\r\n" in body:
                await writer.drain()
                writer.close()

        self.upstream = ScriptedUpstream(script)
        await self.upstream.__aenter__()
        self._running = running(self.upstream.url, self.directory, **self.sections)
        return self.upstream, await self._running.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._running.__aexit__(None, None, None)
        await self.upstream.__aexit__()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<html><body>Welcome</body></html>", "invalid_answer"),
        (b'{"users":[{"id":"1"}', "invalid_answer"),
        (b'{"users":[{"name":"x"}],"count":1}', "invalid_answer"),
        (b'{"users":[{"id":null}],"count":1}', "invalid_answer"),
        (b'{"users":[1],"count":1}', "invalid_answer"),
        (b'{"users":{"1":{}},"count":1}', "invalid_answer"),
        (b'{"error":"x"}', "invalid_answer"),
        (b"", "invalid_answer"),
        (b"null", "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n" + b'{"users":[]', "body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456", "protocol"),
    ],
)
async def test_an_answer_that_cannot_be_understood_is_a_failure(
    answer: bytes, reason: str, tmp_path: Path
) -> None:
    async with await serve_scripted([answer], tmp_path) as (_, proxy):
        response = await proxy.users("1")
        assert (response.status, response.field("content-type")) == (503, "application/problem+json")
        assert response.field("retry-after") == "1"
        assert not response.field("cache-status")
        assert proxy.metric("upstream_errors_total", reason=reason) == 1
        assert proxy.metric("entities_total", result="error") == 1
        assert proxy.metric("stored_entities") == 0


async def test_a_failure_is_not_remembered_as_an_absence(tmp_path: Path) -> None:
    async with await serve_scripted([b"<html>", envelope(ODD["1"])], tmp_path) as (_, proxy):
        assert (await proxy.users("1")).status == 503
        assert (await proxy.users("1")).body == envelope(ODD["1"])


async def test_items_that_nobody_asked_for_are_dropped(tmp_path: Path) -> None:
    extra = [b'{"id":"x%d"}' % number for number in range(200)]
    async with await serve_scripted([envelope(*extra, ODD["1"]), envelope()], tmp_path) as (upstream, proxy):
        assert (await proxy.users("1")).body == envelope(ODD["1"])
        assert proxy.metric("stored_entities") <= 1
        await proxy.users("x1")
        assert len(upstream.seen) == 2


async def test_another_id_than_asked_is_an_absence_of_what_was_asked(tmp_path: Path) -> None:
    async with await serve_scripted([envelope(b'{"id":"other"}')], tmp_path) as (_, proxy):
        assert (await proxy.users("1")).json() == {"users": [], "count": 0}


async def test_an_id_that_comes_twice_is_answered_but_not_stored(tmp_path: Path) -> None:
    twice = envelope(b'{"id":"1","v":1}', b'{"id":"1","v":2}', b'{"id":"4"}')
    async with await serve_scripted([twice, envelope(b'{"id":"1","v":3}')], tmp_path) as (upstream, proxy):
        first = await proxy.users("1", "4")
        assert first.body == envelope(b'{"id":"1","v":1}', b'{"id":"4"}')
        assert first.field("cache-status") == "handshake-proxy; fwd=uri-miss"
        assert (await proxy.users("1", "4")).body == envelope(b'{"id":"1","v":3}', b'{"id":"4"}')
        assert upstream.seen[1].body == b'{"userIds":["1"]}'


@pytest.mark.parametrize(
    "answer", [b'{"users":[{"id":"1"}],"count":1,"next":null}', b'{"users":[{"id":"1"}],"count":7}']
)
async def test_an_envelope_that_cannot_be_assembled_is_passed_on(answer: bytes, tmp_path: Path) -> None:
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        for _ in range(3):
            response = await proxy.users("1")
            assert response.body == answer
            assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=uncacheable"
        assert len(upstream.seen) == 4  # the first was fetched once to find out
        proxy.clock.tick(6)
        await proxy.users("1")
        assert len(upstream.seen) == 6


async def test_an_empty_list_for_ids_that_we_hold_is_implausible(tmp_path: Path) -> None:
    ids = [str(number) for number in range(6)]
    full = envelope(*(b'{"id":"%b"}' % entity.encode() for entity in ids))
    user: dict[str, Any] = {
        "id": "/id",
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        "freshness": {"ttl": "10s", "stale_while_revalidate": 0},
    }
    answers = [full, envelope(), envelope(b'{"id":"0"}', b'{"id":"1"}', b'{"id":"2"}')]
    async with await serve_scripted(answers, tmp_path, resources={"user": user}) as (_, proxy):
        assert (await proxy.users(*ids)).body == full
        proxy.clock.tick(11)
        stale = await proxy.users(*ids)
        assert stale.body == full
        assert stale.field("cache-status").startswith("handshake-proxy; hit; ttl=-")
        assert proxy.metric("upstream_errors_total", reason="implausible_absence") == 1
        # Half of them is believed.
        assert (await proxy.users(*ids)).json()["count"] == 3


@pytest.mark.parametrize(
    ("failure", "status", "body"),
    [
        (b"HTTP/1.1 500 Oops\r\nX-Why: bug\r\nContent-Length: 4\r\n\r\nboom", 500, b"boom"),
        (b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", 503, None),
    ],
)
async def test_when_the_upstream_fails(
    failure: bytes, status: int, body: bytes | None, tmp_path: Path
) -> None:
    """Ids with a usable copy are served; if some id has none, the whole answer is the upstream's error, or 503."""
    user: dict[str, Any] = {
        "id": "/id",
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        "freshness": {"ttl": "10s", "stale_if_error": "1h", "stale_while_revalidate": 0},
    }
    answers = [envelope(ODD["1"]), failure]
    async with await serve_scripted(answers, tmp_path, resources={"user": user}) as (_, proxy):
        await proxy.users("1")
        proxy.clock.tick(3600)
        stale = await proxy.users("1")
        assert (stale.status, stale.body) == (200, envelope(ODD["1"]))
        assert stale.field("age") == "3600"
        assert proxy.metric("entities_total", result="stale") == 1
        partial = await proxy.users("1", "unknown")
        assert partial.status == status
        assert body is None or partial.body == body
        proxy.clock.tick(11)
        assert (await proxy.users("1")).status == status


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_passes_through_and_is_not_stored(status: int, tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 %d No\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno" % status
    async with await serve_scripted([refusal, envelope(ODD["1"])], tmp_path) as (_, proxy):
        response = await proxy.users("1")
        assert (response.status, response.body, response.field("www-authenticate")) == (
            status,
            b"no",
            "Basic",
        )
        assert proxy.metric("upstream_errors_total") == 0
        assert (await proxy.users("1")).status == 200


@pytest.mark.parametrize(
    "field",
    [
        "Cache-Control: no-store",
        "Cache-Control: private",
        "Cache-Control: no-cache",
    ],
)
async def test_an_answer_that_the_origin_keeps_for_itself_is_not_stored(field: str, tmp_path: Path) -> None:
    body = envelope(ODD["1"])
    answer = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (field.encode(), len(body), body)
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        for _ in range(2):
            response = await proxy.users("1")
            assert (response.body, response.field("cache-status")) == (body, "handshake-proxy; fwd=uri-miss")
        assert len(upstream.seen) == 2


async def test_the_origins_max_age_wins_over_the_ttl(tmp_path: Path) -> None:
    body = envelope(ODD["1"])
    answer = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=5\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        await proxy.users("1")
        proxy.clock.tick(4.5)
        assert (await proxy.users("1")).field("cache-status") == "handshake-proxy; hit; ttl=0"
        proxy.clock.tick(1)
        await proxy.users("1")
        assert len(upstream.seen) == 2


async def test_no_cache_of_a_request_asks_the_upstream(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        upstream.users["1"] = b'{"id":"1","new":true}'
        async with proxy.client() as client:
            response = await client.post(BULK, b'{"userIds":["1"]}', "Cache-Control: no-cache")
        assert response.body == envelope(b'{"id":"1","new":true}')
        assert (await proxy.users("1")).body == response.body


async def test_a_restart_keeps_users_and_an_outage_still_serves_them(tmp_path: Path) -> None:
    async with services() as upstream:
        async with running(upstream.url, tmp_path) as proxy:
            await proxy.users("1", "2")
        await upstream.stop()
        async with running(upstream.url, tmp_path) as proxy:
            assert (await proxy.users("2", "1")).body == envelope(ODD["2"], ODD["1"])
            assert proxy.metric("lookups_total", tier="database", result="hit") == 2
            assert (await proxy.users("1")).status == 200
            assert proxy.metric("lookups_total", tier="memory", result="hit") == 1
            unknown = await proxy.users("1", "9")
            assert unknown.status == 503


async def test_businesses_live_in_memory_only(tmp_path: Path) -> None:
    async with services() as upstream:
        for _ in range(2):
            async with running(upstream.url, tmp_path) as proxy:
                upstream.businesses["b1"] = b'{"id":"b1"}'
                for _ in range(2):
                    async with proxy.client() as client:
                        response = await client.post(
                            "/main/api/v3/businesses/bulk", b'{"businessIds":["b1"]}'
                        )
                    assert response.body == b'{"businesses":[{"id":"b1"}],"count":1}'
        assert upstream.fetched["b1"] == 2


async def test_service_sharing_declares_the_answer_the_same_for_every_caller(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = envelope(ODD["1"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    bulk = {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"}
    user = {"id": "/id", "sharing": "service", "bulk": bulk}
    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, resources={"user": user}) as proxy:
            for caller in ("a", "b"):
                async with proxy.client() as client:
                    assert (
                        await client.post(BULK, b'{"userIds":["1"]}', f"Authorization: {caller}")
                    ).status == 200
        assert len(upstream.seen) == 1
        assert dict(upstream.seen[0].fields)[b"Authorization"] == b"a"


async def test_a_credential_file_is_used_for_fills_and_re_read(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = envelope()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    secret = tmp_path / "token"
    secret.write_text("one\n")
    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, upstream={"credential_file": str(secret)}) as proxy:
            await proxy.users("1")
            secret.write_text("second")
            await proxy.users("2")
            await proxy.get("/elsewhere")
        sent = [dict(seen.fields).get(b"Authorization") for seen in upstream.seen]
        assert sent == [b"Bearer one", b"Bearer second", None]


async def test_an_answer_too_large_to_hold_is_streamed(tmp_path: Path) -> None:
    async with (
        services() as upstream,
        running(upstream.url, tmp_path, limits={"cached_response": "1KiB"}) as proxy,
    ):
        upstream.users["1"] = b'{"id":"1","pad":"' + b"x" * 2000 + b'"}'
        response = await proxy.users("1")
        assert response.body == envelope(upstream.users["1"])
        assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=uncacheable"
        assert proxy.metric("stored_entities") == 0


async def test_a_fill_that_comes_back_is_508_at_once(tmp_path: Path) -> None:
    """RFC 9110 section 7.6.3: an upstream URL that leads back here must not make a fill wait for itself."""

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with proxy.client() as client:
            via = dict(seen.fields)[b"Via"].decode()
            response = await client.post(BULK, seen.body, f"Via: {via}")
        writer.write(response.head + b"\r\n" + response.body)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        response = await proxy.users("1")
        assert (response.status, response.json()["status"]) == (508, 508)
        assert len(upstream.seen) == 1


@pytest.mark.parametrize("field", ["Set-Cookie: a=1", "Vary: X-User", "Vary: *"])
async def test_an_answer_for_one_caller_is_fetched_by_that_caller(field: str, tmp_path: Path) -> None:
    body = envelope(ODD["1"])
    answer = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (field.encode(), len(body), body)
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        async with proxy.client() as client:
            response = await client.post(BULK, b'{"userIds":["1"]}', "X-User: me")
        assert response.body == body
        assert response.field(field.split(":", maxsplit=1)[0]) == field.split(": ")[1]
        assert dict(upstream.seen[-1].fields)[b"X-User"] == b"me"
        assert proxy.metric("stored_entities") == 0


async def test_what_is_held_is_served_while_answers_are_beyond_us(tmp_path: Path) -> None:
    odd = b'{"users":[{"id":"2"}],"count":1,"more":true}'
    async with await serve_scripted([envelope(ODD["1"]), odd], tmp_path) as (_, proxy):
        await proxy.users("1")
        assert (await proxy.users("2")).body == odd
        assert "hit" in (await proxy.users("1")).field("cache-status")


async def test_one_cut_string_spoils_nothing(tmp_path: Path) -> None:
    cut = b'{"id":"2","name":"\\ud83d"}'
    async with await serve_scripted([envelope(ODD["1"], cut)], tmp_path) as (upstream, proxy):
        assert (await proxy.users("1", "2")).body == envelope(ODD["1"], cut)
        await proxy.durable()
        assert (await proxy.users("2")).body == envelope(cut)
        assert proxy.metric("store_errors_total") == 0
        assert len(upstream.seen) == 1


async def test_the_wait_for_a_slot_is_within_the_timeout(tmp_path: Path) -> None:
    async def script(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, upstream={"timeout": "200ms"}) as proxy:
            async with asyncio.timeout(1.5):  # 60 ids, 24 at a time, would take three times the timeout
                answers = await asyncio.gather(*(proxy.users(f"u{number}") for number in range(60)))
            assert {answer.status for answer in answers} == {503}


async def test_a_refusal_goes_to_nobody_but_who_was_refused(tmp_path: Path) -> None:
    first = asyncio.Event()
    release = asyncio.Event()

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if dict(seen.fields)[b"Authorization"] == b"bad":
            first.set()
            await release.wait()
            writer.write(b"HTTP/1.1 401 No\r\nSet-Cookie: sid=bad\r\nContent-Length: 0\r\n\r\n")
        else:
            body = envelope(ODD["1"])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    bulk = {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"}
    user = {"id": "/id", "sharing": "service", "bulk": bulk}

    async def ask(proxy: Proxy, who: str) -> int:
        async with proxy.client() as client:
            response = await client.post(BULK, b'{"userIds":["1"]}', f"Authorization: {who}")
            assert not response.field("set-cookie")
            return response.status

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, resources={"user": user}) as proxy:
            bad = asyncio.create_task(ask(proxy, "bad"))
            await first.wait()
            good = asyncio.create_task(ask(proxy, "good"))
            while not proxy.metric("coalesced_ids_total"):
                await asyncio.sleep(0)
            release.set()
            assert (await bad, await good) == (401, 200)


async def test_a_late_answer_is_never_taken_for_the_next_one(tmp_path: Path) -> None:
    sent_twice = asyncio.Event()

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = envelope(b'{"id":"%b"}' % json.loads(seen.body)["userIds"][0].encode())
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        writer.write(whole)
        if len(upstream.seen) == 1:
            await writer.drain()
            await released.wait()
            writer.write(whole)
            await writer.drain()
            sent_twice.set()

    released = asyncio.Event()
    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        assert (await proxy.users("a")).json()["users"] == [{"id": "a"}]
        released.set()
        await sent_twice.wait()
        for _ in range(100):  # let the bytes arrive
            await asyncio.sleep(0)
        for entity in "bcd":
            assert (await proxy.users(entity)).json()["users"] == [{"id": entity}]


async def test_dead_kept_alive_connections_are_not_tried_one_after_the_other(tmp_path: Path) -> None:
    served: dict[asyncio.StreamWriter, int] = {}

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served[writer] = served.get(writer, 0) + 1
        if served[writer] > 1:
            writer.transport.abort()
            return
        body = envelope(*(b'{"id":"%b"}' % entity.encode() for entity in json.loads(seen.body)["userIds"]))
        if len(upstream.seen) <= 4:
            warm.append(None)
            while len(warm) < 4:
                await asyncio.sleep(0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    warm: list[None] = []
    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        await asyncio.gather(*(proxy.users(f"warm-{number}") for number in range(4)))
        for number in range(4):
            assert (await proxy.users(f"next-{number}")).json()["count"] == 1


async def test_an_unsolicited_101_to_a_fill_is_a_failure(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with await serve_scripted([answer], tmp_path) as (_, proxy):
        assert (await proxy.users("1")).status == 503


async def test_a_refetch_says_why(tmp_path: Path) -> None:
    """RFC 9211 section 2.2."""
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1")
        async with proxy.client() as client:
            response = await client.post(BULK, b'{"userIds":["1"]}', "Cache-Control: no-cache")
        assert response.field("cache-status") == "handshake-proxy; fwd=request; stored"
        proxy.clock.tick(86401)
        assert (await proxy.users("1")).field("cache-status") == "handshake-proxy; fwd=stale; stored"


async def test_a_newer_answer_that_may_not_be_stored_drops_the_older_one(tmp_path: Path) -> None:
    new = envelope(b'{"id":"1","v":2}')
    kept_out = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b" % (len(new), new)
    async with await serve_scripted([envelope(b'{"id":"1","v":1}'), kept_out], tmp_path) as (_, proxy):
        await proxy.users("1")
        async with proxy.client() as client:
            assert (await client.post(BULK, b'{"userIds":["1"]}', "Cache-Control: no-cache")).body == new
        assert (await proxy.users("1")).body == new


async def test_a_copy_is_served_although_its_resource_is_marked(tmp_path: Path) -> None:
    """What can't be held now must not take from us what we have for the time when the upstream fails."""
    personal = envelope(b'{"id":"3"}')
    answers = [
        envelope(ODD["1"], ODD["2"]),
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: %d\r\n\r\n%b" % (len(personal), personal),
        b'{"users":[{"id":"4"}],"count":1,"more":1}',
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    ]
    user: dict[str, Any] = {
        "id": "/id",
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        "freshness": {"ttl": "10s", "stale_while_revalidate": 0},
    }
    async with await serve_scripted(answers, tmp_path, resources={"user": user}) as (upstream, proxy):
        await proxy.users("1", "2")
        proxy.clock.tick(11)
        upstream.seen.append(
            upstream.seen[0]
        )  # its second answer is for the fill, the same again for the pass-on
        await proxy.users("4")
        stale = await proxy.users("1", "2")
        assert (stale.status, stale.body) == (200, envelope(ODD["1"], ODD["2"]))
        assert stale.field("cache-status").startswith("handshake-proxy; hit; ttl=-")


async def test_ids_of_a_personal_answer_are_marked_and_no_others(tmp_path: Path) -> None:
    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (entity,) = json.loads(seen.body)["userIds"]
        body = envelope(b'{"id":"%b"}' % entity.encode())
        cookie = b"Set-Cookie: a=1\r\n" if entity == "odd" else b""
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (cookie, len(body), body))

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        for _ in range(2):
            assert (await proxy.users("odd")).field("set-cookie") == "a=1"
        assert len(upstream.seen) == 3
        assert (await proxy.users("even")).field("cache-status") == "handshake-proxy; fwd=uri-miss; stored"


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", ""]
)
async def test_json_by_any_of_its_names(media_type: str, tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        field = f"Content-Type: {media_type}\r\n" if media_type else ""
        body = b'{"userIds":["1"]}'
        head = f"POST {BULK} HTTP/1.1\r\nHost: a\r\n{field}Content-Length: {len(body)}\r\n\r\n".encode()
        for _ in range(2):
            async with proxy.client() as client:
                response = await client.request(head + body)
        assert "hit" in response.field("cache-status")


async def test_a_bulk_body_that_stops_coming_is_cut_and_counted(tmp_path: Path) -> None:
    async with (
        services() as upstream,
        running(upstream.url, tmp_path, limits={"idle_timeout": "100ms"}) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(HEAD + b'Content-Length: 17\r\n\r\n{"userIds"')
            assert await client.ended() == b""
        assert proxy.metric("requests_total", route="user.bulk", code="499", cache="none") == 1


@pytest.mark.parametrize(("field", "seconds"), [("no-store", 0), ("max-age=3", 3), ("max-age=60", 10)])
async def test_an_absence_is_remembered_no_longer_than_the_origin_allows(
    field: str, seconds: int, tmp_path: Path
) -> None:
    body = envelope()
    answer = b"HTTP/1.1 200 OK\r\nCache-Control: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        field.encode(),
        len(body),
        body,
    )
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        await proxy.users("1")
        proxy.clock.tick(seconds - 0.5)
        await proxy.users("1")
        assert len(upstream.seen) == (1 if seconds else 2)
        proxy.clock.tick(1)
        await proxy.users("1")
        assert len(upstream.seen) == (2 if seconds else 3)
