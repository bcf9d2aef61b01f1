"""The bulk face, over real sockets and a real SQLite file."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.harness import ScriptedUpstream, Seen, running
from tests.integration.people import BULK, CHUNKED, HEAD, ODD, envelope, services


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


@pytest.mark.slow
async def test_ten_thousand_ids_go_up_in_chunks(tmp_path: Path) -> None:
    ids = [f"user-{number}" for number in range(10_000)]
    patient = {"timeout": "60s", "connect_timeout": "60s"}  # both ends are in this process, which may be slow
    async with services() as upstream, running(upstream.url, tmp_path, upstream=patient) as proxy:
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


async def test_a_refetch_says_why(tmp_path: Path) -> None:
    """RFC 9211 section 2.2."""
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1", "2")
        async with proxy.client() as client:
            response = await client.post(BULK, b'{"userIds":["1"]}', "Cache-Control: no-cache")
        assert response.field("cache-status") == "handshake-proxy; fwd=request; stored"
        proxy.clock.tick(86401)
        assert "hit; ttl=-" in (await proxy.users("1")).field("cache-status")  # and it is refreshed behind
        proxy.clock.tick(31 * 86400)
        assert (await proxy.users("2")).field("cache-status") == "handshake-proxy; fwd=stale; stored"


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


async def test_a_bulk_body_that_stops_coming_is_408_and_counted(tmp_path: Path) -> None:
    async with (
        services() as upstream,
        running(upstream.url, tmp_path, limits={"idle_timeout": "100ms"}) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(HEAD + b'Content-Length: 17\r\n\r\n{"userIds"')
            response = await client.receive()
            assert (response.status, response.field("connection")) == (408, "close")
            assert response.field("content-type") == "application/problem+json"
            assert await client.ended() == b""
        assert proxy.metric("requests_total", route="user.bulk", code="408", cache="error") == 1
