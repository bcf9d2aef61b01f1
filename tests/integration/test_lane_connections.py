"""The fast lane on a connection that does more than ask and be answered: pieces, pipelines, chunks, ends and drains."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.integration.people import CHUNKED, HEAD
from tests.integration.twins import Twins, bulk, get, post, twins, user
from tests.turns import in_turn

ONE, MANY = get("/users/1"), bulk("1", "2", "3")
MISS = b"GET /users/%d HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT /users/9 HTTP/1.1\r\nHost: a\r\n\r\n"


async def warmed(there: Twins) -> None:
    async with there.pair() as pair:
        for request in (ONE, MANY):
            await pair.warm(request)


@pytest.mark.parametrize(("request_bytes", "step"), [(ONE, 1), (MANY, 5)], ids=["GET", "bulk"])
async def test_a_request_in_two_pieces(request_bytes: bytes, step: int, tmp_path: Path) -> None:
    """Between hits, and again and again: the second piece alone must never become known for a request."""
    async with twins(tmp_path, user(storage="memory")) as there:
        await warmed(there)
        for place in range(1, len(request_bytes), step):
            pieces = request_bytes[:place], request_bytes[place:]
            async with there.pair() as pair:
                for request in (ONE, MANY):
                    await pair.ask(request)
                for _ in range(4):
                    await pair.send(*pieces)
                    await pair.receive()
                for request in (ONE, MANY):
                    await pair.ask(request)
                await pair.rest()
            assert not there.knows(pieces[1])
            async with there.pair() as pair:
                await pair.send(pieces[1])
                await pair.rest()


async def test_what_differs_each_time_is_answered_in_the_lane(tmp_path: Path) -> None:
    """By what is left of its bytes, once that is found out; and by the parser, which stops after so many requests that
    nobody has taken out of it."""
    async with twins(tmp_path) as there, there.pair() as pair:
        await warmed(there)
        await pair.ask(ONE)
        in_lane, by_bytes = there.in_lane, there.by_bytes
        for number in range(200):
            await pair.ask(get("/users/1", f"X-Request-Id: {number}"))
        assert (there.in_lane, there.by_bytes) == (in_lane + 200, by_bytes + 191)
        for number in range(200):
            await pair.ask(get("/users/1", f"X-Request-Id: \xe9 {number}"))
        assert (there.in_lane, there.by_bytes) == (in_lane + 400, by_bytes + 191)
        await pair.send(ONE * 3)
        for _ in range(3):
            await pair.receive()


BESIDE = {
    "too many of them": ["X-Request-Id: {}"] * 300,
    "as many as are taken": ["X-Request-Id: {}"] * 255,
    "too many others": ["X-Request-Id: {}", *(f"X-{number}: y" for number in range(255))],
    "two of them": ["X-Request-Id: {}"] * 2,
    "another spelling": ["X-Request-Id: {}", "x-request-id: {}"],
    "a name that may stand there once": ["User-Agent: {}", "X-Request-Id: {}", "User-Agent: {}"],
    "another host": ["Host: {}"],
    "folded": ["X-Request-Id: a\r\n {}"],
    "no ASCII": ["X-Request-Id: \xe9{}"],
    "spaces": [f"X-Request-Id: a{' ' * 10_000}b{{}}"],
    "a directive": ["X-Request-Id: {}", "Cache-Control: no-cache"],
    "a condition": ["If-None-Match: *", "X-Request-Id: {}"],
    "a credential": ["X-Request-Id: {}", "Authorization: Bearer {}"],
    "the end": ["X-Request-Id: {}", "Connection: close"],
    "a length": ["X-Request-Id: {}", "Content-Length: 0"],
    "two lengths": ["X-Request-Id: {}", "Content-Length: 0", "Content-Length: 0"],
}
"""Field lines beside one that is known to differ each time."""


@pytest.mark.parametrize("name", BESIDE)
async def test_what_stands_beside_a_field_that_differs_is_seen(name: str, tmp_path: Path) -> None:
    async with twins(tmp_path) as there:
        await warmed(there)
        async with there.pair() as pair:
            for _ in range(16):
                for line in ("X-Request-Id: {}", "User-Agent: {}"):
                    await pair.ask(get("/users/1", line.format(next(there.numbers))))
                await pair.ask(bulk("1", "2", "3", lines=[f"X-Request-Id: {next(there.numbers)}"]))
            masked = there.masked
            await pair.ask(get("/users/1", "X-Request-Id: never before"))
            assert there.masked == masked + 1
        for _ in range(3):
            lines = [line.format(next(there.numbers)) for line in BESIDE[name]]
            for request in (get("/users/1", *lines), bulk("1", "2", "3", lines=lines)):
                async with there.pair() as pair:
                    await pair.ask(ONE)
                    await pair.ask(request)
                    await pair.rest()
                await there.calm()
        async with there.pair() as pair:
            for request in (ONE, MANY):
                await pair.ask(request)


async def test_many_fields_and_one_that_differs_may_be_too_many(tmp_path: Path) -> None:
    """Those that are known are as many as a server takes."""
    many = [f"X-{number}: y" for number in range(255)]
    async with twins(tmp_path) as there:
        await warmed(there)
        async with there.pair() as pair:
            for _ in range(14):
                await pair.ask(get("/users/1", f"X-Request-Id: {next(there.numbers)}"))
            await pair.times(4, get("/users/1", *many))
            assert (await pair.ask(get("/users/1", *many, "X-Request-Id: never before"))).status == 431


async def test_a_line_in_a_body_is_no_field_that_differs(tmp_path: Path) -> None:
    """Not where the body is as long as the one without it, and what is over begins the next request."""
    body = b'{"userIds":["1"]}\r\n'
    async with twins(tmp_path, user(storage="memory")) as there:
        async with there.pair() as pair:
            for number in range(14):
                await pair.ask(post(body, f"X-Request-Id: {number}"))
                there.clock.tick(0.01)
            masked = there.masked
            await pair.ask(post(body, "X-Request-Id: never before"))
            assert there.masked == masked + 1
        longer = post(body)[:-2] + b"\r\nX-Request-Id: 1\r\n"
        whole = post(body[:-2] + b"\r\nX-Request-Id: 1\r\n")
        for request in (longer, whole, longer + ONE, whole + ONE):
            async with there.pair() as pair:
                await pair.ask(post(body))
                await pair.send(request)
                await pair.rest()
            await there.calm()


async def test_a_body_in_a_piece_of_its_own_leaves_the_lane_open(tmp_path: Path) -> None:
    """The length in the head says where the next request begins."""
    async with twins(tmp_path) as there:
        await warmed(there)
        async with there.pair() as pair:
            head, body = MANY.split(b"\r\n\r\n")
            for pieces in ([head + b"\r\n\r\n", body], [head + b"\r\n\r\n", body[:3], body[3:]]):
                await pair.send(*pieces)
                assert (await pair.receive()).status == 200
                known = there.by_bytes
                await pair.ask(ONE)
                await pair.ask(MANY)
                assert there.by_bytes == known + 2


# What is sent in one segment, and how many answers it has.
TOGETHER = {
    "two hits": (ONE + ONE, 2),
    "three hits": (ONE + MANY + ONE, 3),
    "forty hits": (ONE * 40, 40),
    "a miss and hits": (MISS % 77 + ONE + MANY, 3),
    "a hit and a miss": (ONE + MISS % 78, 2),
    "an unsafe method between hits": (ONE + PUT + ONE, 3),
    "an empty line before": (b"\r\n" + ONE, 1),
    "an empty line behind": (ONE + b"\r\n", 1),
    "an empty line behind a body": (MANY + b"\r\n", 1),
    "empty lines around": (b"\r\n" + MANY + b"\r\n", 1),
    "no more than a body": (post(ONE), 1),
    "a body of hits": (post(ONE + MANY, path="/elsewhere"), 1),
    "a longer head": (get("/users/1", f"X-Long: {'x' * 60_000}"), 1),
    "many fields": (get("/users/1", *(f"X-{number}: y" for number in range(250))), 1),
    "a body beside the lane's": (bulk("1", "2", "3", lines=[f"X-Long: {'x' * 20_000}"]), 1),
    "a large body": (post(b'{"userIds":["1"]' + b" " * 20_000 + b"}"), 1),
}


@pytest.mark.parametrize("name", TOGETHER)
async def test_more_or_less_than_one_request_in_a_segment(name: str, tmp_path: Path) -> None:
    data, answers = TOGETHER[name]
    async with twins(tmp_path) as there:
        await warmed(there)
        for before in ([], [ONE], [MANY, ONE]):
            async with there.pair() as pair:
                for request in before:
                    await pair.ask(request)
                await pair.send(data)
                for _ in range(answers):
                    assert (await pair.receive()).status == 200
                for _ in range(3):
                    for request in (ONE, MANY):
                        await pair.ask(request)
                await pair.rest()


BODY = b'{"userIds":["1","2","3"]}'
LAST = {
    "close": ONE.replace(b"Host: a", b"Connection: close\r\nHost: a"),
    "proxy close": ONE.replace(b"Host: a", b"Proxy-Connection: close\r\nHost: a"),
    "http/1.0": ONE.replace(b"1.1", b"1.0"),
    "chunks": HEAD + CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "chunks and a trailer": HEAD + CHUNKED + b"%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(BODY), BODY),
    "expect": HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "expect, chunks": HEAD
    + b"Expect: 100-continue\r\n"
    + CHUNKED
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "websocket": get("/users/1", "Connection: Upgrade", "Upgrade: websocket"),
    "h2c": get("/users/1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"),
    "folded": get("/users/1", "X-A: b\r\n c"),
    "both lengths": HEAD + b"Content-Length: %d\r\n" % len(BODY) + CHUNKED + b"0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: %d\r\nContent-Length: 3\r\n\r\n" % len(BODY) + BODY,
    "a long head": get("/users/1", f"X-Long: {'x' * 70_000}"),
    "two long lines": get("/users/1", f"X-A: {'x' * 40_000}", f"X-B: {'x' * 40_000}"),
    "too many fields": get("/users/1", *(f"X-{number}: y" for number in range(300))),
    "half a head": ONE[:-2],
    "half a body": MANY[:-2],
    "bare line ends": ONE.replace(b"\r\n", b"\n"),
    "no host": b"GET /users/1 HTTP/1.1\r\n\r\n",
    "two hosts": get("/users/1", "Host: b"),
    "another version": ONE.replace(b"1.1", b"1.2"),
    "no version": b"GET /users/1\r\n\r\n",
    "nothing at all": b"",
    "noise": b"\x00\x01\x16\x03\r\n\r\n",
}


BEHIND = {"alone": b"", "GET behind": ONE, "bulk behind": MANY}


@pytest.mark.parametrize(("name", "follower"), in_turn(LAST, [*BEHIND]))
async def test_what_a_connection_may_end_with(name: str, follower: str, tmp_path: Path) -> None:
    """All bytes that come, to the end, whatever that is: between hits, in one segment with the next, and without."""
    async with twins(tmp_path) as there:
        await warmed(there)
        for pieces in ([LAST[name] + BEHIND[follower]], [LAST[name], BEHIND[follower]]):
            async with there.pair() as pair:
                for _ in range(2):
                    for request in (ONE, MANY):
                        await pair.ask(request)
                await pair.send(*pieces)
                await pair.rest()
            await there.calm()


async def test_a_client_that_sends_no_more(tmp_path: Path) -> None:
    """Its end comes right behind its request, and each request has its answer."""
    async with twins(tmp_path) as there:
        await warmed(there)
        for request, answers in ((ONE, 1), (MANY, 1), (ONE + MANY, 2)):
            async with there.pair() as pair:
                await pair.ask(ONE)
                said = await pair.leave(request, is_hit=True)
                assert said.count(b"HTTP/1.1 200 ") == answers
        for request, answers in ((MISS % 5, 1), (ONE + MISS % 6 + ONE, 3)):
            async with there.pair() as pair:
                await pair.ask(ONE)
                said = await pair.leave(request, is_hit=False)
                assert said.count(b"HTTP/1.1 200 ") == answers
                assert said.count(b"Connection: close") == 1


async def test_a_hit_behind_a_request_that_waits(tmp_path: Path) -> None:
    """Answers come in the order of their requests (RFC 9112 section 9.3.2)."""
    async with twins(tmp_path) as there, there.pair() as pair:
        await warmed(there)
        gates = [asyncio.Event(), asyncio.Event()]
        for origin, gate in zip(there.origins, gates, strict=True):
            origin.gate = gate
        await pair.ask(ONE)
        in_lane = there.in_lane
        await pair.send(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", ONE, MANY)
        assert there.in_lane == in_lane
        for gate in gates:
            gate.set()
        assert [(await pair.receive()).field("cache-status")[:22] for _ in range(3)] == [
            "",
            *["handshake-proxy; hit; "] * 2,
        ]
        await pair.ask(ONE)
        assert there.in_lane == in_lane + 1


async def test_no_hit_is_answered_in_the_lane_while_it_drains(tmp_path: Path) -> None:
    async with twins(tmp_path) as there:
        await warmed(there)
        async with there.pair() as pair:
            await pair.ask(ONE)
            for proxy in there.proxies:
                for server in proxy.app._serving:
                    server.draining = True
            answer = await pair.ask(ONE)
            assert answer.field("connection") == "close"
            assert await pair.ended() == b""


async def test_an_idle_connection_ends_behind_hits(tmp_path: Path) -> None:
    async with twins(tmp_path, limits={"idle_timeout": "300ms"}) as there:
        await warmed(there)
        async with there.pair() as pair:
            for request in (ONE, MANY):
                await pair.ask(request)
            assert await pair.ended() == b""


async def test_a_connection_that_is_used_is_not_idle(tmp_path: Path) -> None:
    async with twins(tmp_path) as there, there.pair() as pair:
        await pair.warm(ONE)
        for request in (ONE, get("/users/1", "X-Own: never before")):
            ends = []
            for _ in range(2):
                await pair.ask(request)
                ends.append([one._next_keepalive_close_time for one in connections(there)])
            assert [len(each) for each in ends] == [2, 2]
            assert all(before < after for before, after in zip(*ends, strict=True))


def connections(there: Twins) -> list[Any]:
    """The servers' sides of all connections."""
    return [one for proxy in there.proxies for server in proxy.app._serving for one in server.connections]


async def test_a_head_that_takes_too_long_ends_behind_hits(tmp_path: Path) -> None:
    async with twins(tmp_path, limits={"header_timeout": "200ms"}) as there:
        await warmed(there)
        async with there.pair() as pair:
            for request in (ONE, MANY):
                await pair.ask(request)
            await pair.send(ONE[:-2])
            assert await pair.ended() == b""


async def test_connections_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    async with twins(tmp_path, limits={"connections": 2}) as there:
        await warmed(there)
        for proxy in there.proxies:
            await proxy.quiet()
        async with there.pair() as one, there.pair() as another:
            await one.ask(ONE)
            await another.ask(ONE)
            async with there.pair() as third:
                refused = await third.ended()
                assert refused.startswith(b"HTTP/1.1 503")
            await one.ask(MANY)


async def test_a_client_that_does_not_read(tmp_path: Path) -> None:
    """Each answer is there when it reads at last, in order."""
    async with twins(tmp_path) as there:
        there.change(lambda origin: setattr(origin, "padding", 15_000))
        await warmed(there)
        async with there.pair() as pair:
            for number in range(300):
                await pair.send(ONE if number % 2 else MANY)
            for _ in range(300):
                assert (await pair.receive()).status == 200
            await pair.ask(ONE)


async def test_many_connections_at_once(tmp_path: Path) -> None:
    async with twins(tmp_path) as there:
        await warmed(there)

        async def use(seed: int) -> None:
            chance = random.Random(seed)
            async with there.pair() as pair:
                for _ in range(30):
                    await pair.ask(chance.choice((ONE, MANY, bulk("1"), get("/users/2"))))

        for name in ("1", "2"):
            async with there.pair() as pair:
                await pair.ask(get(f"/users/{name}"))
        await there.settled()
        await asyncio.gather(*map(use, range(10)))
