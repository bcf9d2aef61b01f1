"""SIGTERM loses no request: not one that is under way, nor one that was sent before the client could know."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.busy import BLOCK, BLOCKS, Upstream, Work, item
from tests.e2e.process import PATIENCE, Process, serving
from tests.integration.harness import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
WORKERS = 16
UPLOAD = 256 * 1024


async def is_draining(proxy: Process) -> None:
    """Return when the proxy says that it is not ready any more; the probes work on while it drains."""
    async with asyncio.timeout(PATIENCE), proxy.client("ops") as ops:
        while True:
            response = await ops.get("/readyz")
            if response.status == 503:
                metrics = (await ops.get("/metrics")).body
                assert b"handshake_proxy_ready 0.0" in metrics
                assert b"handshake_proxy_draining 1.0" in metrics
                return
            if response.field("connection") == "close":
                raise AssertionError(response.head)


async def closed_with(client: Client, work: Work, expected: bytes | None = None) -> bytes:
    """The body of the answer that is due, which has to be the connection's last one."""
    response = await client.receive()
    assert response.status == 200
    assert expected is None or response.body == expected
    assert await work.is_closed(client, response)
    return response.body


async def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    work = Work(seed=6)
    async with Upstream() as upstream:
        url = upstream.url
        patient = {
            # The workers go on connecting for a quarter of it.
            "HANDSHAKE_LIMITS__DRAIN_TIMEOUT": "12s",
            # Longer than this loop, which has the workers and the upstream, comes to none of them.
            "HANDSHAKE_LIMITS__DRAIN_LINGER": "2s",
            # What is slow waits for the test, however long.
            "HANDSHAKE_UPSTREAMS__MAIN__TIMEOUT": "60s",
        }
        async with serving(url, tmp_path, **patient) as proxy:
            async with (
                proxy.client() as idle,
                proxy.client() as download,
                proxy.client() as upload,
                proxy.client() as miss,
                proxy.client("handshake") as call,
            ):
                await idle.users("u1")
                await download.send(b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
                await download.reader.readuntil(b"\r\n\r\n")
                await upload.send(
                    b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * UPLOAD)
                )
                await upload.send(bytes(UPLOAD))
                slow = asyncio.create_task(miss.users("slow-1"))
                ensured = asyncio.create_task(call.call("POST", "/v1/users/ensure", {"userId": "slow-2"}))
                # Before the workers come: what is asked for in one turn goes up in one call, and theirs would wait too.
                async with asyncio.timeout(PATIENCE):
                    while not {"slow-1", "slow-2", "upload", "download"} <= upstream.begun:
                        await asyncio.sleep(0)
                workers = [asyncio.create_task(work.until_refused(proxy)) for _ in range(WORKERS)]
                await work.answers(20 * WORKERS)
                code = asyncio.create_task(proxy.terminate())
                await is_draining(proxy)
                await idle.send(b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
                await work.answers(WORKERS)
                upstream.go.set()
                await upload.send(bytes(UPLOAD))
                await closed_with(upload, work, b"%d" % (2 * UPLOAD))
                await closed_with(idle, work, BLOCK * BLOCKS)
                assert await download.reader.readexactly(len(BLOCK) * BLOCKS) == BLOCK * BLOCKS
                assert await download.ended() == b""
                for answer, client in ((await slow, miss), (await ensured, call)):
                    assert answer.status == 200
                    assert await work.is_closed(client, answer)
                await asyncio.gather(*workers)
                assert await code == 0
        assert work.failures == []
        log = (tmp_path / "log").read_text()
        assert '"draining"' in log
        assert '"stopped"' in log
        assert work.refused == WORKERS
        await upstream.stop()
        async with serving(url, tmp_path) as proxy:
            known = [*work.fetched, "slow-1", "slow-2"]
            again = await proxy.users(*known)
            assert again.json()["count"] == len(known), "what was fetched in the last moment is gone"
            assert item(known[-1]) in again.body
            assert await proxy.terminate() == 0


async def test_a_proxy_that_nobody_uses_stops_at_once(tmp_path: Path) -> None:
    patient = {"HANDSHAKE_LIMITS__DRAIN_LINGER": "60s", "HANDSHAKE_LIMITS__DRAIN_TIMEOUT": "300s"}
    async with Upstream() as upstream, serving(upstream.url, tmp_path, **patient) as proxy:
        assert await proxy.terminate() == 0  # within the test's patience, which is shorter


async def test_an_idle_connection_ends_in_good_order(tmp_path: Path) -> None:
    async with Upstream() as upstream, serving(upstream.url, tmp_path) as proxy, proxy.client() as idle:
        assert (await idle.users("u1")).status == 200
        code = asyncio.create_task(proxy.terminate())
        assert await idle.reader.read() == b""  # and no reset
        assert await code == 0


async def test_a_tunnel_is_cut_when_the_time_of_the_drain_is_over(tmp_path: Path) -> None:
    async def script(seen: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    async with Upstream() as upstream:
        upstream.script = script
        async with serving(upstream.url, tmp_path, HANDSHAKE_LIMITS__DRAIN_TIMEOUT="300ms") as proxy:
            async with proxy.client() as client:
                await client.send(
                    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                )
                assert (await client.receive(head_only=True)).status == 101
                code = asyncio.create_task(proxy.terminate())
                await client.send(b"still there")
                assert await client.reader.readexactly(11) == b"still there"
                assert await client.ended() == b""
                assert await code == 0
