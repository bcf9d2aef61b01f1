"""The command as a real process, under uvloop where there is one."""

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.demo.services import Services
from tests.e2e.process import PATIENCE, Process, serving
from tests.integration.harness import ScriptedUpstream, Seen

pytestmark = pytest.mark.e2e
MIB = 2**20
BIG = 256 * MIB
BOUND = 32 * MIB


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    upstream = Services()
    upstream.users.update({f"u{number}": json.dumps({"id": f"u{number}"}).encode() for number in range(500)})
    await upstream.start()
    yield upstream
    await upstream.stop()


async def test_kill_9_loses_no_user_that_was_answered_more_than_a_second_before(
    services: Services, tmp_path: Path
) -> None:
    ids = [f"u{number}" for number in range(500)]
    async with serving(services.url, tmp_path) as proxy:
        answered = await proxy.users(*ids)
        assert answered.json()["count"] == 500
        async with asyncio.timeout(1), proxy.client("ops") as ops:  # the promise: durable within a second
            while b'stored_entities{resource="user"} 500.0' not in (await ops.get("/metrics")).body:
                pass
        await proxy.kill()
    services.forget()
    async with serving(services.url, tmp_path) as proxy:
        again = await proxy.users(*ids)
        assert again.body == answered.body
        assert again.field("cache-status").startswith("handshake-proxy; hit")
        assert not services.calls
        assert await proxy.terminate() == 0


async def test_sigterm_lets_a_request_finish_and_exits_0(services: Services, tmp_path: Path) -> None:
    services.latency = 0.3
    async with serving(services.url, tmp_path) as proxy, proxy.client() as idle, proxy.client() as client:
        await idle.get("/health")
        request = asyncio.create_task(client.users("u1"))
        while not services.calls:
            await asyncio.sleep(0)
        code = asyncio.create_task(proxy.terminate())
        response = await request
        assert (response.status, response.field("connection")) == (200, "close")
        assert await code == 0
        assert await idle.ended() == b""


@pytest.mark.slow
async def test_a_256_mib_upload_and_download_do_not_stay_in_memory(tmp_path: Path) -> None:
    block = bytes(MIB)
    received = 0

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        if seen.line.startswith(b"PUT"):
            while received < BIG:
                received += len(await reader.read(MIB))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
            for _ in range(BIG // MIB):
                writer.write(block)
                await writer.drain()

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        serving(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            before = proxy.memory()
            peak = before
            await client.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BIG)
            for _ in range(BIG // MIB):
                await client.send(block)
                peak = max(peak, proxy.memory())
            assert (await client.receive()).status == 200
            assert received == BIG
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            left = BIG
            while left:
                left -= len(await client.reader.read(MIB))
                peak = max(peak, proxy.memory())
        assert peak - before < BOUND


async def test_a_slow_client_does_not_make_memory_grow(tmp_path: Path) -> None:
    block = bytes(MIB)
    sent = 0
    stalled = asyncio.Event()

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        while sent < BIG:
            writer.write(block)
            sent += MIB
            try:
                async with asyncio.timeout(0.5):
                    await writer.drain()
            except TimeoutError:
                stalled.set()
                await writer.drain()

    async with ScriptedUpstream(script) as upstream, serving(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            before = proxy.memory()
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")  # and reads nothing
            async with asyncio.timeout(PATIENCE):
                await stalled.wait()
            assert sent < BIG // 2
            assert proxy.memory() - before < BOUND


async def test_a_100_mb_bulk_body_is_streamed_on_and_not_kept(tmp_path: Path) -> None:
    received = 0

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        length = int({name.lower(): value for name, value in seen.fields}[b"content-length"])
        while received < length:
            received += len(await reader.read(MIB))
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        serving(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            before = proxy.memory()
            peak = before
            body = 100_000_000
            await client.send(
                b"POST /main/api/v3/users/bulk HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % body
            )
            for _ in range(body // 1_000_000):
                await client.send(bytes(1_000_000))
                peak = max(peak, proxy.memory())
            assert (await client.receive()).status == 413
        assert received == body
        assert peak - before < BOUND


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_check_config_names_every_error_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("upstreams: {main: {timeout: soon}}\nresources: {user: {upstream: main}}\nlogg: {}\n")
    done = run("check-config", "--config", str(file))
    assert done.returncode == 2
    for path in ("upstreams.main.url", "upstreams.main.timeout", "resources.user", "logg"):
        assert path in done.stderr
    assert not done.stdout


def test_check_config_prints_what_is_in_effect() -> None:
    done = run("check-config", HANDSHAKE_UPSTREAMS__MAIN__URL="https://main.example.org")
    assert done.returncode == 0
    assert "https://main.example.org" in done.stdout
    assert "stale_if_error: 90d" in done.stdout


def test_serve_with_a_bad_configuration_exits_2() -> None:
    done = run("serve")
    assert done.returncode == 2
    assert "upstreams.main.url" in done.stderr
    assert "HANDSHAKE_UPSTREAMS__MAIN__URL" in done.stderr


async def test_an_address_in_use_is_a_clear_error(services: Services, tmp_path: Path) -> None:
    async with serving(services.url, tmp_path) as proxy:
        (tmp_path / "other").mkdir()
        done = await asyncio.to_thread(
            run,
            "serve",
            HANDSHAKE_UPSTREAMS__MAIN__URL=services.url,
            HANDSHAKE_UPSTREAMS__MAIN__LISTEN=proxy.addresses["upstreams.main"],
            HANDSHAKE_OPS__LISTEN="127.0.0.1:0",
            HANDSHAKE_STORE__URL=f"sqlite:///{tmp_path / 'other' / 'handshake.db'}",
        )
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


async def test_probe(services: Services, tmp_path: Path) -> None:
    async with serving(services.url, tmp_path) as proxy:
        live = await asyncio.to_thread(run, "probe", HANDSHAKE_OPS__LISTEN=proxy.addresses["ops"])
        assert live.returncode == 0
    dead = await asyncio.to_thread(run, "probe", HANDSHAKE_OPS__LISTEN=proxy.addresses["ops"])
    assert dead.returncode == 1
    wrong = await asyncio.to_thread(run, "probe", HANDSHAKE_OPS__LISTEN="nowhere")
    assert wrong.returncode == 2
    assert "ops.listen" in wrong.stderr


async def test_logs_name_nobody(services: Services, tmp_path: Path) -> None:
    planted = ("planted-id", "planted-token", "planted@example.org", "planted-query")
    services.users["planted-id"] = b'{"id":"planted-id","email":"planted@example.org"}'
    async with serving(services.url, tmp_path, HANDSHAKE_LOG__LEVEL="debug") as proxy:
        async with proxy.client() as client:
            await client.users("planted-id")
            await client.users("planted-id", "planted-id")
            await client.get("/x?planted-query", "Authorization: Bearer planted-token")
            await client.post(
                "/main/api/v3/users/bulk", b'{"userIds":["planted-id"]}', "Authorization: planted-token"
            )
            await client.request(b"BAD planted-token\r\n\r\n")
        async with proxy.client("ops") as client:
            metrics = (await client.get("/metrics")).body.decode()
        await services.stop()
        async with proxy.client() as client:
            await client.users("planted-id", "planted-id-2")
        assert await proxy.terminate() == 0
    log = await asyncio.to_thread((tmp_path / "log").read_text)
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"request", "credential_bypass", "stopped"} <= {line["event"] for line in lines}
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
    for word in planted:
        assert word not in log
        assert word not in metrics


def test_two_resources_with_one_table_are_a_configuration_error(tmp_path: Path) -> None:
    bulk = "bulk: {path: /%s, ids: /ids, items: /items}"
    resources = ", ".join(f"{name}: {{id: /id, {bulk % name}}}" for name in ("box", "boxe"))
    file = tmp_path / "bad.yaml"
    file.write_text(f"upstreams: {{main: {{url: 'http://a'}}}}\nresources: {{{resources}}}\n")
    for command in ("check-config", "serve"):
        done = run(command, "--config", str(file))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("resources: ")


async def test_a_drain_under_load_closes_connections_as_they_fall_idle(
    services: Services, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    under_load = asyncio.Event()
    answers = itertools.count()

    async def busy(proxy: Process) -> None:
        async with proxy.client() as client:
            while not stop.is_set():
                if (await client.users("u1")).field("connection") == "close":
                    return
                if next(answers) == 200:
                    under_load.set()
            await client.ended()

    async with serving(services.url, tmp_path) as proxy:
        await proxy.users("u1")
        clients = [asyncio.create_task(busy(proxy)) for _ in range(20)]
        await under_load.wait()
        code = asyncio.create_task(proxy.terminate())
        stop.set()
        async with asyncio.timeout(5):  # drain_timeout is 20 s
            assert await code == 0
        await asyncio.gather(*clients, return_exceptions=True)
