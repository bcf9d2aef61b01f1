"""How spans get to their receiver: at the stop too, and when it fails or is slow."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, ScriptedUpstream, Seen
from tests.integration.otlp import Receiver, traced


async def test_an_exporter_that_fails_says_so_once_and_hurts_no_request(
    receiver: Receiver, upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    receiver.status = b"400 Bad Request"
    with capture_logs() as lines:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            for _ in range(3):
                assert (await proxy.get("/health")).status == 200
            async with asyncio.timeout(PATIENCE):
                while len(receiver.requests) < 3:
                    await asyncio.sleep(0)
            receiver.status = b"200 OK"
            assert (await proxy.get("/health")).status == 200
    said = [line["event"] for line in lines if line["event"].startswith("tracing")]
    assert said == ["tracing_export_failed", "tracing_export_works_again"]


async def test_a_receiver_that_is_not_there_does_not_hold_the_stop_up(
    receiver: Receiver, upstream: Services, tmp_path: Path
) -> None:
    receiver.url = "http://127.0.0.1:9"  # nobody listens at the discard port
    loop = asyncio.get_running_loop()
    limits = {"drain_timeout": "500ms"}
    with capture_logs() as lines:
        async with traced(receiver, upstream.url, tmp_path, limits=limits) as proxy:
            assert (await proxy.users("1")).status == 200
            began = loop.time()
        assert loop.time() - began < 2.5
    assert "tracing_export_given_up" in [line["event"] for line in lines]


async def test_a_drain_that_takes_all_of_its_time_leaves_some_for_the_spans(
    receiver: Receiver, tmp_path: Path
) -> None:
    async def script(_: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.read()

    async with ScriptedUpstream(script) as upstream:
        with capture_logs() as lines:
            async with traced(receiver, upstream.url, tmp_path, limits={"drain_timeout": "0s"}) as proxy:
                async with proxy.client() as client:
                    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                    switched = await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\n" + upgrade)
                    assert switched.status == 101
                    await proxy.app.stop()
    assert "tracing_export_given_up" not in [line["event"] for line in lines]
    assert {span.kind for span in receiver.spans} == {"CLIENT", "SERVER"}


async def test_how_many_spans_did_not_fit_the_queue_is_logged(
    receiver: Receiver, upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    receiver.gate.clear()
    with capture_logs() as lines:
        async with traced(receiver, upstream.url, tmp_path) as proxy:
            await proxy.get("/health")  # two spans, and they are on their way
            async with asyncio.timeout(PATIENCE):
                while not receiver.requests:
                    await asyncio.sleep(0)
            for _ in range(4):
                await proxy.get("/health")
            receiver.gate.set()
    dropped = [line["count"] for line in lines if line["event"] == "tracing_spans_dropped"]
    assert dropped == [1, 5]  # the first at once, the others when it is time again, at the latest at the stop
    assert len(receiver.spans) == 4
