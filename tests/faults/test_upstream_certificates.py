"""TLS towards the upstream fails: nothing of a request is sent, and no try is made again."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.faults.asking import FACES, Outcome, asked_and_checked, heals, held_is_served, warm
from tests.faults.sick import SickUpstream
from tests.faults.watch import watched
from tests.integration.harness import ScriptedUpstream
from tests.integration.test_passthrough import answer_ok
from tests.integration.test_upstream_tls import ca_file, server_context

SETTINGS = {"retries": 1, "timeout": "30s"}
# Where nothing could be fetched before: a login would ask for the business as well.
ONE_RESOURCE = [face for face in FACES if face != "login"]


def names_wrong(tls: ssl.SSLContext, authority: trustme.CA) -> None:
    authority.issue_cert("elsewhere.example").configure_cert(tls)


def expired(tls: ssl.SSLContext, authority: trustme.CA) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    last_week = yesterday - dt.timedelta(days=7)
    authority.issue_cert("localhost", not_before=last_week, not_after=yesterday).configure_cert(tls)


def not_yet_valid(tls: ssl.SSLContext, authority: trustme.CA) -> None:
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    next_week = tomorrow + dt.timedelta(days=7)
    authority.issue_cert("localhost", not_before=tomorrow, not_after=next_week).configure_cert(tls)


def of_nobody(tls: ssl.SSLContext, _authority: trustme.CA) -> None:
    trustme.CA().issue_cert("localhost").configure_cert(tls)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("shows", [names_wrong, expired, not_yet_valid, of_nobody])
async def test_a_certificate_that_is_no_good(
    shows: Callable[[ssl.SSLContext, trustme.CA], None], face: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    tls = server_context(authority, "localhost")
    settings = SETTINGS | {"ca_file": ca_file(authority, tmp_path)}
    async with SickUpstream(tls=tls) as upstream:
        async with watched(upstream.url, tmp_path, upstream=settings) as seen:
            await warm(seen)
            await upstream.stop()  # or what is connected stays trusted
            shows(tls, authority)
            await upstream.start()
            calls = len(upstream.upstream.seen)
            await asked_and_checked(seen, face, Outcome("tls"))
            await held_is_served(seen)
            assert len(upstream.upstream.seen) == calls  # nothing of a request was sent
            authority.issue_cert("localhost").configure_cert(tls)
            await heals(seen, face)
            await seen.settled()


@asynccontextmanager
async def plain(answer: bytes) -> AsyncIterator[str]:
    """A server that answers whatever comes with the same bytes, or waits for the other side to go away."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2**16)
        if answer:
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("face", ONE_RESOURCE)
async def test_no_tls_on_a_tls_port(face: str, tmp_path: Path) -> None:
    async with plain(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as url:
        async with watched(url, tmp_path, upstream=SETTINGS) as seen:
            await asked_and_checked(seen, face, Outcome("tls"))
            await seen.proxy.quiet()
            assert seen.connections() + seen.waiting() == 0


@pytest.mark.parametrize("face", ONE_RESOURCE)
async def test_tls_on_a_plain_port(face: str, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok, tls=server_context(trustme.CA(), "localhost")) as upstream:
        url = upstream.url.replace("https://localhost", "http://127.0.0.1")
        async with watched(url, tmp_path, upstream=SETTINGS) as seen:
            await asked_and_checked(seen, face, Outcome("disconnected", again=True))
            assert not upstream.seen
            await seen.settled()


@pytest.mark.parametrize("face", ONE_RESOURCE)
async def test_a_handshake_that_hangs(face: str, tmp_path: Path) -> None:
    """The TLS one: it is part of making a connection."""
    async with plain(b"") as url:
        async with watched(url, tmp_path, upstream=SETTINGS) as seen:
            with seen.hurried("connect_timeout"):
                outcome = Outcome("connect_timeout", passed=504, again=True)
                await asked_and_checked(seen, face, outcome)
            await seen.proxy.quiet()
            assert seen.connections() + seen.waiting() == 0
