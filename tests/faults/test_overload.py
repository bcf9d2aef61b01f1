"""More than there is room for: a bound on each queue, 503 with Retry-After beyond it, and hits as ever."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.core.budget import FREE, FREE_FILL, Budget
from tests.faults.asking import answered, asked, held_is_served, warm
from tests.faults.sick import SickUpstream, says
from tests.faults.watch import BULK, HELD, Watched, until, watched
from tests.integration.harness import Response, Seen

HANGS = says(b"", then="hang")
MIB = 2**20
LARGE = 300_000
"""Bytes of an item that is more than may be held for nothing."""
BULK_HEAD = f"POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()


def bound(**limits: str) -> dict[str, object]:
    return {"limits": limits}


def is_refused(answer: Response) -> bool:
    return (
        answer.status == 503
        and answer.field("content-type") == "application/problem+json"
        and int(answer.field("retry-after")) >= 1
    )


def budget(seen: Watched) -> Budget:
    return seen.proxy.app.buffered


def in_line(seen: Watched) -> int:
    """Those who wait for a connection."""
    (upstream,) = seen.proxy.app._upstreams
    return upstream._turns.waiting


def has_room_again(seen: Watched) -> bool:
    return budget(seen).used == 0


# --- how many may wait ---------------------------------------------------------------------------------------------


async def test_what_waits_for_a_connection_is_bounded(tmp_path: Path) -> None:
    """Two connections, three who wait: who comes then is told at once, and those who have a copy notice nothing."""
    sections = {"upstream": {"max_connections": 2, "max_pending": 3, "timeout": "20s"}}
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, **sections) as seen:
        await answered(seen, "login", HELD)
        upstream.illness = HANGS
        calls = len(upstream.upstream.seen)
        crowd = [asyncio.create_task(asked(seen, "pass", f"user-{number}")) for number in range(5)]
        await until(lambda: len(upstream.upstream.seen) == calls + 2 and in_line(seen) == 3)
        refused = [await answered(seen, face) for face in ("pass", "upload", "bulk", "single", "login")]
        assert all(map(is_refused, refused))
        await held_is_served(seen)
        assert seen.errors() == {"overloaded": 5}
        assert seen.proxy.metric("upstream_circuit_state", state="open") == 0
        assert seen.proxy.metric("requests_total", route="passthrough", code="503", cache="error") == 2
        assert len(upstream.upstream.seen) == calls + 2
        upstream.illness = None
        for each in crowd:
            each.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        await seen.settled()
        for face in ("pass", "upload", "bulk", "single", "login"):
            assert (await answered(seen, face)).status == 200
        seen.says_nothing(*refused)


async def test_what_waits_for_its_turn_is_bounded_and_joining_costs_nothing(tmp_path: Path) -> None:
    """One call at a time, and two that wait; a herd for what they bring is no further one."""
    sections = {"upstream": {"max_connections": 2, "max_pending": 2, "timeout": "20s"}}
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, **sections) as seen:
        await answered(seen, "login", HELD)
        upstream.illness = HANGS
        calls = len(upstream.upstream.seen)
        tasks = []
        for number in range(3):  # each in a turn of its own, so in a flight of its own
            tasks.append(asyncio.create_task(asked(seen, "bulk", f"user-{number}")))
            await until(lambda: seen.waiting() == 2 * len(tasks))
        assert is_refused(await answered(seen, "bulk", "one-too-many"))
        assert is_refused(await answered(seen, "login", "one-too-many"))
        await held_is_served(seen)
        herd = [asyncio.create_task(asked(seen, "bulk", "user-2")) for _ in range(50)]
        await until(lambda: seen.proxy.metric("coalesced_ids_total", resource="user") == 50)
        assert seen.errors() == {"overloaded": 2}
        upstream.illness = None
        await upstream.stop()  # what hangs fails, and is asked for again
        await upstream.start()
        answers = [each for each in await asyncio.gather(*tasks, *herd) if isinstance(each, Response)]
        assert len(answers) == 53
        assert {answer.status for answer in answers} == {200}
        assert len(upstream.upstream.seen) - calls <= 5
        await seen.settled()
        assert (await answered(seen, "bulk", "one-too-many")).status == 200


async def test_a_flood_of_misses_before_an_upstream_that_hangs_leaves_hits_alone(tmp_path: Path) -> None:
    sections = {"upstream": {"max_connections": 4, "max_pending": 4, "timeout": "1s"}}
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, **sections) as seen:
        await answered(seen, "login", HELD)
        upstream.illness = HANGS
        faces = ("bulk", "single", "login", "pass")
        flood = [asyncio.create_task(asked(seen, faces[n % 4], f"user-{n}")) for n in range(400)]
        async with seen.proxy.client() as client:
            hits = 0
            while not all(each.done() for each in flood):
                assert (await client.users(HELD)).field("cache-status").startswith("handshake-proxy; hit")
                hits += 1
        assert hits >= 1
        answers = [each for each in await asyncio.gather(*flood) if isinstance(each, Response)]
        assert len(answers) == 400
        assert {answer.status for answer in answers} <= {503, 504}
        assert all(is_refused(answer) for answer in answers if answer.status == 503)
        assert sum(map(is_refused, answers)) > 200
        await seen.settled()
        upstream.illness = None
        seen.proxy.clock.tick(61)
        for face in faces:
            assert (await answered(seen, face)).status == 200


# --- how much may be held ------------------------------------------------------------------------------------------


def test_a_share_counts_what_goes_beyond_its_free_part() -> None:
    whole = Budget(100)
    with whole.share(10) as one, whole.share(10) as other:
        assert one.take(10)
        assert whole.used == 0
        assert one.take(60)
        assert other.take(50)
        assert whole.used == 100
        assert not other.take(1)
        assert (one.is_refused, other.is_refused, whole.used) == (False, True, 100)
        one.close()
        assert other.take(1)
        assert whole.used == 41
    assert whole.used == 0


async def test_a_bulk_for_which_there_is_no_room_is_streamed_on(tmp_path: Path) -> None:
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, **bound(buffered="64KiB")) as seen:
            await warm(seen)
            ids = [f"user-{number:030}" for number in range(4000)]
            answer = await asked_bulk(seen, ids)
            assert answer.status == 200
            assert "fwd=bypass" in answer.field("cache-status")
            assert [user["id"] for user in answer.json()["users"]] == ids
            assert seen.proxy.metric("misses_total", resource="user", reason="bypass_shape") == 1
            assert has_room_again(seen)
            assert (await answered(seen, "bulk")).field("cache-status").endswith("stored")


async def asked_bulk(seen: Watched, ids: list[str]) -> Response:
    async with seen.proxy.client() as client:
        return await client.post(BULK, json.dumps({"userIds": ids}).encode())


async def test_a_bulk_that_is_streamed_on_holds_nothing_once_what_was_read_is_sent(tmp_path: Path) -> None:
    """The rest may take as long as it moves."""
    arrived = bytearray()

    async def reading(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            arrived.extend(data)

    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, **bound(buffered="1MiB", bulk_body="64KiB")) as seen:
            await warm(seen)
            upstream.upstream.read_body = False
            upstream.illness = reading
            async with seen.proxy.client() as client:
                part = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)
                await client.send(BULK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + part)
                await until(lambda: arrived.count(b"x") == 100_000)
                await until(lambda: has_room_again(seen))
                await client.send(b"1\r\ny\r\n")
                await until(lambda: b"y" in arrived)
            await seen.settled()


async def test_a_handshake_body_for_which_there_is_no_room_is_503(tmp_path: Path) -> None:
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, **bound(buffered="64KiB")) as seen:
            await warm(seen)
            ids = [f"user-{number:030}" for number in range(4000)]
            answer = await seen.proxy.call("POST", "/v1/users/ensure-batch", {"userIds": ids})
            assert is_refused(answer)
            assert has_room_again(seen)
            await held_is_served(seen)
            few = await seen.proxy.call("POST", "/v1/users/ensure-batch", {"userIds": ids[:100]})
            assert few.status == 200


def item(entity: str, size: int) -> bytes:
    return json.dumps({"users": [{"id": entity, "x": "y" * size}], "count": 1}).encode()


async def test_a_fill_for_which_there_is_no_room_fails_and_blames_nobody(tmp_path: Path) -> None:
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, **bound(buffered="64KiB")) as seen:
            await warm(seen)
            large = item("huge", FREE_FILL + 100_000)
            upstream.illness = says(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(large) + large, then="go on"
            )
            for face in ("bulk", "login"):
                assert is_refused(await answered(seen, face, "huge"))
            assert seen.errors() == {"overloaded": 2}
            assert seen.proxy.metric("upstream_circuit_state", state="open") == 0
            assert has_room_again(seen)
            upstream.illness = None
            assert (await answered(seen, "bulk")).status == 200  # it does not back off


async def test_answers_that_nobody_reads_take_no_more_than_the_budget(tmp_path: Path) -> None:
    """Thirty clients ask for 300 kB each and read nothing: four of them have it, the others are told to come again."""
    async with SickUpstream() as upstream:
        limits = {"buffered": "1300KiB", "idle_timeout": "60s"}
        async with watched(upstream.url, tmp_path, limits=limits) as seen:
            body = item("large", LARGE)
            upstream.illness = says(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, then="go on"
            )
            assert (await answered(seen, "bulk", "large")).status == 200
            clients = [seen.proxy.client() for _ in range(30)]
            entered = [await each.__aenter__() for each in clients]
            request = json.dumps({"userIds": ["large"]}).encode()
            many = 40
            for client in entered:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                lines = BULK_HEAD + b"Content-Length: %d\r\n\r\n" % len(request)
                client.writer.write((lines + request) * many)
            full = 4 * (LARGE - FREE)
            await until(lambda: budget(seen).used > full)
            await until(lambda: seen.proxy.metric("requests_total", code="503", cache="error") > 30)
            assert full < budget(seen).used <= budget(seen).limit
            buffered = sum(
                each.transport.get_write_buffer_size()
                for each in seen.proxy.app._serving[0].connections
                if each.transport is not None
            )
            assert buffered <= budget(seen).limit + 30 * 2**17
            # What is small is held for nothing.
            assert (await answered(seen, "bulk", "large")).status == 503
            upstream.illness = None
            assert (await answered(seen, "bulk", HELD)).status == 200
            for each in clients:
                await each.__aexit__(None, None, None)
            await seen.settled()
            await until(lambda: has_room_again(seen))
            assert (await answered(seen, "bulk", "large")).status == 200


@pytest.mark.parametrize("ending", ["closes", "cancelled"])
async def test_nothing_of_the_budget_is_lost(ending: str, tmp_path: Path) -> None:
    """Clients that leave within a body, within a fill, and before they have read; and a drain that cuts them."""
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, **bound(buffered="8MiB")) as seen:
            await warm(seen)
            clients = [seen.proxy.client() for _ in range(20)]
            entered = [await each.__aenter__() for each in clients]
            for client in entered:
                await client.send(
                    BULK_HEAD + b"Content-Length: 1000000\r\n\r\n" + b'{"userIds":["' + b"x" * 200_000
                )
            await until(lambda: budget(seen).used > 20 * 100_000)
            if ending == "cancelled":
                await seen.proxy.app._serving[0].drain(0)
            for each in clients:
                await each.__aexit__(None, None, None)
            await seen.settled()
            assert has_room_again(seen)
