"""The proxy's own requests: what they carry, how they share connections and time."""

import asyncio
import json
from pathlib import Path

from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running
from tests.integration.people import BULK, ODD, envelope


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
    # One id a call, or the four would gather into one.
    bulk = {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count", "max_ids": 1}
    resources = {"user": {"id": "/id", "bulk": bulk}}
    async with (
        ScriptedUpstream(script) as upstream,
        running(upstream.url, tmp_path, resources=resources) as proxy,
    ):
        await asyncio.gather(*(proxy.users(f"warm-{number}") for number in range(4)))
        for number in range(4):
            assert (await proxy.users(f"next-{number}")).json()["count"] == 1


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
