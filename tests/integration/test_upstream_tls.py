"""TLS towards the upstream, and the way through an egress proxy."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.integration.harness import ScriptedUpstream, Seen, running
from tests.integration.test_passthrough import OK, answer_ok


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def ca_file(authority: trustme.CA, directory: Path) -> str:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def test_the_operators_ca_is_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    tls = server_context(authority, "localhost")
    async with ScriptedUpstream(answer_ok, tls=tls) as upstream:
        async with running(
            upstream.url, tmp_path, upstream={"ca_file": ca_file(authority, tmp_path)}
        ) as proxy:
            assert (await proxy.get("/x")).status == 200


async def test_the_systems_authorities_are_trusted_where_no_other_is_named(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file(authority, tmp_path))
    tls = server_context(authority, "localhost")
    tls.set_alpn_protocols(["h2", "http/1.1"])
    async with ScriptedUpstream(answer_ok, tls=tls) as upstream:
        async with running(upstream.url, tmp_path) as proxy:
            assert (await proxy.get("/x")).status == 200
            monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
        async with running(upstream.url, tmp_path) as proxy:
            assert (await proxy.get("/x")).status == 502


@pytest.mark.parametrize(("name", "trusted"), [("elsewhere.example", True), ("localhost", False)])
async def test_a_wrong_name_or_an_unknown_ca_is_502(
    name: str, trusted: bool, authority: trustme.CA, tmp_path: Path
) -> None:
    tls = server_context(authority, name)
    ca = ca_file(authority if trusted else trustme.CA(), tmp_path)
    async with ScriptedUpstream(answer_ok, tls=tls) as upstream:
        async with running(upstream.url, tmp_path, upstream={"ca_file": ca}) as proxy:
            assert (await proxy.get("/x")).status == 502
            assert proxy.metric("upstream_errors_total", reason="tls") == 1
            assert not upstream.seen


async def test_a_client_certificate_is_shown(authority: trustme.CA, tmp_path: Path) -> None:
    tls = server_context(authority, "localhost")
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    own = authority.issue_cert("client.example")
    (tmp_path / "cert.pem").write_bytes(own.cert_chain_pems[0].bytes())
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    files = {
        "ca_file": ca_file(authority, tmp_path),
        "client_cert_file": str(tmp_path / "cert.pem"),
        "client_key_file": str(tmp_path / "key.pem"),
    }
    async with ScriptedUpstream(answer_ok, tls=tls) as upstream:
        async with running(upstream.url, tmp_path, upstream=files) as proxy:
            assert (await proxy.get("/x")).status == 200


@asynccontextmanager
async def connect_proxy(seen: list[bytes]) -> AsyncIterator[str]:
    """An egress proxy that answers CONNECT and joins the two sides."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_tls_upstream_is_reached_through_connect(authority: trustme.CA, tmp_path: Path) -> None:
    tls = server_context(authority, "localhost")
    seen: list[bytes] = []
    async with ScriptedUpstream(answer_ok, tls=tls) as upstream, connect_proxy(seen) as egress:
        settings = {"ca_file": ca_file(authority, tmp_path), "proxy": egress}
        async with running(upstream.url, tmp_path, upstream=settings) as proxy:
            assert (await proxy.get("/x")).status == 200
            assert (await proxy.get("/y")).status == 200
        assert len(seen) == 1
        assert seen[0].startswith(b"CONNECT localhost:")
        assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in seen[0]
        assert b"proxy-authorization" not in upstream.seen[0].head.lower()


async def test_a_plain_upstream_is_reached_by_the_absolute_form(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with ScriptedUpstream(script) as egress:
        settings = {"proxy": egress.url.replace("//", "//me:secret@")}
        async with running("http://users.example:8000", tmp_path, upstream=settings) as proxy:
            assert (await proxy.get("/x?y")).status == 200
        assert egress.seen[0].line == b"GET http://users.example:8000/x?y HTTP/1.1"
        assert dict(egress.seen[0].fields)[b"Host"] == b"users.example:8000"
        assert dict(egress.seen[0].fields)[b"Proxy-Authorization"] == b"Basic bWU6c2VjcmV0"
