"""The ops listener, the store's sizes and the state of the instance."""

import asyncio
from pathlib import Path

import pytest

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, ScriptedUpstream, Seen, running
from tests.integration.test_passthrough import answer_ok


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/readyz", 200), ("/startupz", 200), ("/secret", 404)]
)
async def test_probes(path: str, status: int, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client("ops") as client:
            response = await client.get(path)
            assert response.status == status
            head = await client.request(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), head_only=True)
            assert head.status == status
            assert b"secret" not in response.body
            assert (await client.request(b"POST /livez HTTP/1.1\r\nHost: a\r\n\r\n")).status == 405


async def test_readiness_does_not_look_at_the_upstream(tmp_path: Path) -> None:
    async with running("http://127.0.0.1:1", tmp_path) as proxy:
        async with proxy.client("ops") as client:
            assert (await client.get("/readyz")).status == 200
            proxy.app.draining = True
            assert (await client.get("/readyz")).status == 503
            assert (await client.get("/livez")).status == 200
            proxy.app.draining = False


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
async def test_metrics_in_both_formats(accept: str, content_type: str, tmp_path: Path) -> None:
    upstream = Services()
    upstream.users["u"] = b'{"id":"u"}'
    await upstream.start()
    try:
        async with running(upstream.url, tmp_path) as proxy:
            for _ in range(2):
                await proxy.users("u", "nobody")
            await proxy.get("/health")
            await proxy.durable()
            async with proxy.client("ops") as client:
                response = await client.get("/metrics", *([f"Accept: {accept}"] if accept else []))
            assert response.field("content-type").startswith(content_type)
            text = response.body.decode()
            for sample in (
                'handshake_proxy_requests_total{cache="hit",code="200",method="POST",route="user.bulk"} 1.0',
                'handshake_proxy_requests_total{cache="miss",code="200",method="POST",route="user.bulk"} 1.0',
                'handshake_proxy_requests_total{cache="none",code="200",method="GET",route="passthrough"} 1.0',
                'handshake_proxy_entities_total{resource="user",result="hit"} 1.0',
                'handshake_proxy_entities_total{resource="user",result="negative"} 1.0',
                'handshake_proxy_entities_total{resource="user",result="miss"} 2.0',
                'handshake_proxy_misses_total{reason="never_seen",resource="user"} 2.0',
                'handshake_proxy_upstream_ids_total{resource="user"} 2.0',
                'handshake_proxy_upstream_requests_total{code="200",route="user.bulk",upstream="main"} 1.0',
                'handshake_proxy_upstream_requests_total{code="200",route="passthrough",upstream="main"} 1.0',
                'handshake_proxy_stored_entities{resource="user"} 1.0',
                "handshake_proxy_ready 1.0",
                "handshake_proxy_draining 0.0",
                "handshake_proxy_store_degraded 0.0",
            ):
                assert sample in text.splitlines(), sample
            assert "_created" not in text
            assert "nobody" not in text
    finally:
        await upstream.stop()


async def test_a_store_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "handshake.db").write_bytes(b"this is not a database" * 100)
    upstream = Services()
    upstream.users["u"] = b'{"id":"u"}'
    await upstream.start()
    try:
        async with running(upstream.url, tmp_path) as proxy:
            assert (await proxy.users("u")).status == 200
            assert any("set-aside" in path.name for path in tmp_path.iterdir())
    finally:
        await upstream.stop()


async def test_a_store_that_cannot_be_opened_is_done_without(tmp_path: Path) -> None:
    upstream = Services()
    upstream.users["u"] = b'{"id":"u"}'
    await upstream.start()
    store = {"url": f"sqlite:///{tmp_path / 'missing' / 'directory' / 'handshake.db'}"}
    try:
        async with running(upstream.url, tmp_path, store=store) as proxy:
            assert (await proxy.users("u")).status == 200
            assert "hit" in (await proxy.users("u")).field("cache-status")
            async with proxy.client("ops") as client:
                assert b"handshake_proxy_store_degraded 1.0" in (await client.get("/metrics")).body
                assert (await client.get("/readyz")).status == 200
    finally:
        await upstream.stop()


@pytest.mark.parametrize(
    ("break_it", "code"), [("upstream", "502"), ("client", "499"), ("bug", "500"), ("framing", "400")]
)
async def test_what_goes_wrong_is_counted_once_and_by_what_it_was(
    break_it: str, code: str, tmp_path: Path
) -> None:
    arrived = asyncio.Event()

    async def script(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        if break_it == "upstream":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await writer.drain()
            writer.close()
        await reader.read()

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        running(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            if break_it == "bug":
                proxy.app.metrics.missed = None  # type: ignore[assignment,method-assign]
                await client.post("/main/api/v3/users/bulk", b"{}")
            else:
                await client.send(
                    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
                )
                await arrived.wait()
                if break_it == "framing":
                    await client.send(b"zz\r\n")
                if break_it != "client":
                    await client.ended()
        async with asyncio.timeout(PATIENCE):
            while not proxy.metric("requests_total"):
                await asyncio.sleep(0)
        await proxy.quiet()
        assert proxy.metric("requests_total", code=code) == proxy.metric("requests_total") == 1


async def test_an_accept_field_that_makes_no_sense_gets_text(tmp_path: Path) -> None:
    async with running("http://127.0.0.1:1", tmp_path) as proxy:
        async with proxy.client("ops") as client:
            response = await client.get("/metrics", "Accept: application/openmetrics-text; version=abc")
            assert (response.status, response.field("content-type")[:10]) == (200, "text/plain")
