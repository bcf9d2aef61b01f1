"""Many want the same of an opaque resource at a time: one call, as long as its answer may be shared."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Response
from tests.integration.herd import (
    END,
    MINUTE,
    OWN,
    Gate,
    asking,
    before,
    chunk,
    chunked,
    clients,
    connections,
    held,
    leave,
    notes,
    said,
    until,
    waiting,
)

GET = b"GET /a HTTP/1.1\r\nHost: app\r\n\r\n"
STALE_TOO = "Cache-Control: max-age=1, stale-if-error=3600"


def numbered(*fields: str) -> Any:
    """An answer whose body is the number of its request."""
    return lambda number: said(b"%d" % number, *fields)


async def bodies(tasks: list[asyncio.Task[Response]]) -> list[bytes]:
    return sorted(answer.body for answer in await asyncio.gather(*tasks))


async def test_fifty_requests_at_a_time_are_one_call(tmp_path: Path) -> None:
    gate = Gate(numbered(MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 50)
        await waiting(proxy, 49)
        gate.let()
        answers = await asyncio.gather(*tasks)
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"1")}
        assert sorted(notes(answers)) == ["fwd=uri-miss; stored", *["fwd=uri-miss; stored; collapsed"] * 49]
        assert (gate.calls, held(proxy)) == (1, 1)
        assert proxy.metric("upstream_ids_total", resource="all") == 1
        assert proxy.app.buffered.used == 0


async def test_so_are_those_who_want_it_validated(tmp_path: Path) -> None:
    """RFC 9111 section 4.3: what is held is stale, and the origin says that it is good."""
    gate = Gate(
        lambda number: said(b"1", MINUTE, 'ETag: "1"', status="200 OK" if number == 1 else "304 Not Modified")
    )
    async with before(gate.upstream, tmp_path) as proxy:
        gate.let()
        await proxy.get("/a")
        proxy.clock.tick(61)
        tasks = asking(proxy, 10)
        await waiting(proxy, 9)
        gate.let()
        assert await bodies(tasks) == [b"1"] * 10
        assert gate.calls == 2


async def test_of_those_who_want_a_part_of_it_too(tmp_path: Path) -> None:
    """What they ask for is in what comes: the whole."""
    gate = Gate(said(b"abcdef", MINUTE, 'ETag: "1"'))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = [*asking(proxy, 1), *asking(proxy, 2, 'If-None-Match: "1"')]
        await waiting(proxy, 2)
        gate.let()
        answers = await asyncio.gather(*tasks)
        assert sorted(answer.status for answer in answers) == [200, 304, 304]
        assert gate.calls == 1


async def test_other_targets_are_other_calls(tmp_path: Path) -> None:
    gate = Gate(numbered(MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = [*asking(proxy, 1), *asking(proxy, 1, target="/a?x"), *asking(proxy, 1, target="/b")]
        await until(lambda: gate.calls == 3)
        gate.let(3)
        assert await bodies(tasks) == [b"1", b"2", b"3"]


# Who goes away.


async def test_the_first_one_may_leave_and_the_others_are_answered(tmp_path: Path) -> None:
    gate = Gate(numbered(MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            await until(lambda: gate.calls == 1)
            tasks = asking(proxy, 3)
            await waiting(proxy, 3)
            leave(client)
        gate.let()
        assert await bodies(tasks) == [b"1"] * 3
        assert (gate.calls, held(proxy)) == (1, 1)


async def test_the_first_one_may_leave_and_it_is_kept_for_who_comes(tmp_path: Path) -> None:
    gate = Gate(said(b"", MINUTE, length=4), b"kept")
    async with before(gate.upstream, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            await until(lambda: gate.calls == 1)
            gate.let()
            await client.receive(head_only=True)
            leave(client)
            await until(lambda: not clients(proxy))
        gate.let()
        await until(lambda: held(proxy) == 1)
        answer = await proxy.get("/a")
        assert (answer.body, gate.calls) == (b"kept", 1)
        assert proxy.app.buffered.used == 0


async def test_one_who_waits_may_leave(tmp_path: Path) -> None:
    gate = Gate(numbered(MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 1)
        await until(lambda: gate.calls == 1)
        async with proxy.client() as client:
            await client.send(GET)
            await waiting(proxy, 1)
            tasks += asking(proxy, 1)
            await waiting(proxy, 2)
            leave(client)
        gate.let()
        assert await bodies(tasks) == [b"1"] * 2
        assert gate.calls == 1


@pytest.mark.parametrize("fields", [(MINUTE,), (OWN,)])
async def test_all_may_leave(fields: tuple[str, ...], tmp_path: Path) -> None:
    gate = Gate(numbered(*fields))
    async with before(gate.upstream, tmp_path) as proxy:
        async with proxy.client() as first, proxy.client() as second:
            await first.send(GET)
            await until(lambda: gate.calls == 1)
            await second.send(GET)
            await waiting(proxy, 1)
            leave(first)
            leave(second)
        gate.let(2)
        await proxy.quiet()
        await until(lambda: not connections(proxy))
        assert held(proxy) == (fields == (MINUTE,))
        assert proxy.app.buffered.used == 0
        assert proxy.metric("upstream_errors_total") == 0


# What may not be shared.


@pytest.mark.parametrize("fields", [(OWN,), ("Cache-Control: private, max-age=60",), (MINUTE, "Vary: *"), ()])
async def test_what_may_not_be_kept_each_asks_for_by_himself(fields: tuple[str, ...], tmp_path: Path) -> None:
    """Nobody waits in line: when it is known, all the others ask at once."""
    gate = Gate(numbered(*fields))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 10)
        await waiting(proxy, 9)
        gate.let()
        await until(lambda: gate.calls == 10)
        gate.let(9)
        assert await bodies(tasks) == sorted(b"%d" % number for number in range(1, 11))
        assert held(proxy) == 0


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (said(b"", OWN, length=2), b"ab"),
        (chunked(OWN), chunk(b"ab") + END),
        (chunked("Cache-Control: no-cache", "Content-Type: text/event-stream"), chunk(b"ab") + END),
    ],
)
async def test_that_is_known_by_its_head(head: bytes, body: bytes, tmp_path: Path) -> None:
    """The body may take its time, or never end."""
    gate = Gate(head, body)
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 5)
        await waiting(proxy, 4)
        gate.let()
        await until(lambda: gate.calls == 5)
        gate.let(9)
        assert await bodies(tasks) == [b"ab"] * 5


async def test_what_turns_out_too_large_each_asks_for_by_himself(tmp_path: Path) -> None:
    gate = Gate(chunked(MINUTE), chunk(b"x" * 2000), chunk(b"y"), END)
    async with before(gate.upstream, tmp_path, limits={"cached_response": 1000}) as proxy:
        tasks = asking(proxy, 5)
        await waiting(proxy, 4)
        gate.let(2)
        await until(lambda: gate.calls == 5)
        gate.let(18)
        assert await bodies(tasks) == [b"x" * 2000 + b"y"] * 5
        assert held(proxy) == 0


async def test_for_a_while_those_who_come_later_ask_by_themselves_at_once(tmp_path: Path) -> None:
    gate = Gate(numbered(OWN))
    async with before(gate.upstream, tmp_path) as proxy:
        gate.let()
        assert (await proxy.get("/a")).body == b"1"
        tasks = asking(proxy, 3)
        await until(lambda: gate.calls == 4)
        gate.let(3)
        await asyncio.gather(*tasks)
        assert proxy.metric("coalesced_ids_total", resource="all") == 0
        proxy.clock.tick(6)
        tasks = asking(proxy, 2)
        await waiting(proxy, 1)
        gate.let(2)
        assert await bodies(tasks) == [b"5", b"6"]


@pytest.mark.parametrize(
    "request_line",
    [
        b"HEAD /a HTTP/1.1\r\nHost: app\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: app\r\nAuthorization: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: app\r\nRange: bytes=0-0\r\n\r\n",
    ],
    ids=["HEAD", "Authorization", "Range"],
)
async def test_an_answer_that_was_for_one_alone_says_nothing_of_a_herd(
    request_line: bytes, tmp_path: Path
) -> None:
    beyond = "416 Range Not Satisfiable" if b"Range" in request_line else "200 OK"
    gate = Gate(lambda number: said(b"", MINUTE, status=beyond if number == 1 else "200 OK"))
    async with before(gate.upstream, tmp_path) as proxy:
        gate.let()
        async with proxy.client() as client:
            await client.request(request_line, head_only=True)
        tasks = asking(proxy, 3)
        await until(lambda: gate.calls >= 2)
        await waiting(proxy, 2)
        gate.let(3)
        await asyncio.gather(*tasks)
        assert gate.calls == 2


async def test_who_wants_the_origin_asked_joins_nobody(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.4: what was asked before is no answer to him."""
    gate = Gate(numbered(MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 1)
        await until(lambda: gate.calls == 1)
        tasks += asking(proxy, 1, "Cache-Control: no-cache")
        await until(lambda: gate.calls == 2)
        gate.let(2)
        assert await bodies(tasks) == [b"1", b"2"]


async def test_each_who_waits_gets_what_his_own_fields_select(tmp_path: Path) -> None:
    """RFC 9111 section 4.1: that the answer varies is known when it is there."""
    gate = Gate(numbered(MINUTE, "Vary: Lang"))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 1, "Lang: en")
        await until(lambda: gate.calls == 1)
        tasks += [*asking(proxy, 1, "Lang: en"), *asking(proxy, 1, "Lang: de")]
        await waiting(proxy, 2)
        gate.let()
        await until(lambda: gate.calls == 2)
        gate.let()
        assert await bodies(tasks) == [b"1", b"1", b"2"]
        assert held(proxy) == 2


async def test_a_failure_is_everybodys(tmp_path: Path) -> None:
    gate = Gate(b"not HTTP\r\n\r\n")
    async with before(gate.upstream, tmp_path, upstream={"retries": 0}) as proxy:
        tasks = asking(proxy, 5)
        await waiting(proxy, 4)
        gate.let()
        assert {answer.status for answer in await asyncio.gather(*tasks)} == {502}
        assert gate.calls == 1


# What happens meanwhile.


async def test_what_is_invalidated_meanwhile_is_not_kept_and_who_comes_after_does_not_join(
    tmp_path: Path,
) -> None:
    """RFC 9111 section 4.4: the answer may be from before the change."""
    gate = Gate(numbered(MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        tasks = asking(proxy, 1)
        await until(lambda: gate.calls == 1)
        put = asyncio.create_task(_put(proxy))
        await until(lambda: gate.calls == 2)
        gate.let(2)
        assert (await put).status == 200
        assert await bodies(tasks) == [b"1"]
        assert held(proxy) == 0
        tasks = asking(proxy, 1)
        await until(lambda: gate.calls == 3)
        gate.let()
        assert await bodies(tasks) == [b"3"]
        assert ((await proxy.get("/a")).body, gate.calls) == (b"3", 3)


async def test_who_comes_after_the_invalidation_does_not_join_what_began_before(tmp_path: Path) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    calls: list[bytes] = []

    async def script(seen: Any, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(seen.line.split()[0])
        number = len(calls)
        if number != 2:  # that is the PUT
            await (first if number == 1 else second).wait()
        writer.write(said(b"%d" % number, MINUTE))

    async with before(script, tmp_path) as proxy:
        before_it = asking(proxy, 1)
        await until(lambda: len(calls) == 1)
        await _put(proxy)
        after_it = asking(proxy, 1)
        await until(lambda: len(calls) == 3)
        joined = asking(proxy, 1)
        await waiting(proxy, 1)
        second.set()
        assert await bodies([*after_it, *joined]) == [b"3", b"3"]
        first.set()
        assert await bodies(before_it) == [b"1"]
        assert ((await proxy.get("/a")).body, len(calls)) == (b"3", 3)


async def _put(proxy: Any) -> Response:
    async with proxy.client() as client:
        answer: Response = await client.send_body("PUT", "/a", b"x", "Content-Length: 1\r\n")
        return answer


async def test_a_late_origin_is_not_waited_for_where_a_stale_response_will_do(tmp_path: Path) -> None:
    """RFC 5861 section 4; the call goes on behind the answers."""
    gate = Gate(numbered(STALE_TOO))
    freshness = {"ttl": "0s", "revalidate_timeout": "50ms"}
    async with before(gate.upstream, tmp_path, resource={"freshness": freshness}) as proxy:
        gate.let()
        await proxy.get("/a")
        proxy.clock.tick(3)
        answers = await asyncio.gather(*asking(proxy, 3))
        assert {(answer.body, answer.field("cache-status")) for answer in answers} == {
            (b"1", "handshake-proxy; hit; ttl=-2")
        }
        assert gate.calls == 2
        assert proxy.metric("requests_total", cache="stale") == 3
        gate.let()
        await until(lambda: held(proxy) == 1 and not connections(proxy))
        assert ((await proxy.get("/a")).body, gate.calls) == (b"2", 2)


async def test_a_drain_waits_for_the_answer(tmp_path: Path) -> None:
    gate = Gate(said(b"", MINUTE, length=4), b"kept")
    async with before(gate.upstream, tmp_path) as proxy:
        async with proxy.client() as first, proxy.client() as second:
            for number, client in enumerate((first, second)):
                await client.send(GET)
                await until(lambda: gate.calls == 1)
                await waiting(proxy, number)
            stopping = asyncio.create_task(proxy.app.stop())
            await until(lambda: proxy.app.draining)
            gate.let(2)
            for client in (first, second):
                answer = await client.receive()
                assert (answer.status, answer.body, answer.field("connection")) == (200, b"kept", "close")
            await stopping


@pytest.mark.parametrize("parts", [0, 1])
@pytest.mark.parametrize("fields", [(MINUTE,), (OWN,)])
async def test_what_is_not_there_when_the_drain_ends_is_cut(
    fields: tuple[str, ...], parts: int, tmp_path: Path
) -> None:
    gate = Gate(said(b"", *fields, length=4), b"kept")
    async with before(gate.upstream, tmp_path, limits={"drain_timeout": "100ms"}) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            await until(lambda: gate.calls == 1)
            gate.let(parts)
            if parts:
                await client.receive(head_only=True)
            await proxy.app.stop()
            assert await client.ended() == b""
        assert proxy.app.buffered.used == 0
        assert held(proxy) == 0
