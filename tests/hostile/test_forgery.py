"""The proxy connects to its configured upstream, whatever it is asked, told or started with (server-side forgery)."""

import asyncio
from pathlib import Path

import pytest

from tests.hostile.corpus import Expect
from tests.hostile.corpus_heads import HOSTS
from tests.hostile.recorder import RecordingUpstream
from tests.integration.harness import Client, ScriptedUpstream, Seen, running
from tests.integration.people import services

FORGED = [
    "X-Forwarded-Host",
    "X-Forwarded-Server",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Forwarded",
    "Referer",
    "Origin",
]


async def _asked_for(client: Client, url: str) -> None:
    """Try to have the proxy connect to another place, in all the ways that a request knows."""
    place = url.removeprefix("http://")
    for target in (
        f"{url}/x",
        f"http://user@{place}/x",
        f"http://a:b@{place}/x",
        f"//{place}/x",
        f"/{url}",
        f"/@{place}",
    ):
        assert (await client.request(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())).status == 200
    for host in (place, f"user@{place}", f"a, {place}", f"{place}/x"):
        assert (await client.request(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())).status == 200
    for name in FORGED:
        assert (await client.get("/x", f"{name}: {url}")).status == 200
        assert (await client.get("/x", f"{name}: host={place};for={place}")).status == 200


async def test_no_request_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with RecordingUpstream() as upstream, RecordingUpstream() as elsewhere:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with running(upstream.url, tmp_path) as proxy:
            async with proxy.client() as client:
                await _asked_for(client, elsewhere.url)
            async with proxy.client() as client:
                head = f"CONNECT {elsewhere.url.removeprefix('http://')} HTTP/1.1\r\nHost: a\r\n\r\n"
                assert (await client.request(head.encode())).status == 405
            assert (await proxy.get("/main/api/v3/users/bulk")).status == 200
        assert elsewhere.connections == 0
        place = upstream.url.removeprefix("http://").encode()
        heads = b"".join(map(bytes, upstream.received.values())).split(b"\r\n\r\n")[:-1]
        assert len(heads) > 20
        assert all(b"\r\nHost: " + place + b"\r\n" in head + b"\r\n" for head in heads)


async def test_a_fill_does_not_use_the_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RecordingUpstream() as elsewhere, services() as upstream:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
        monkeypatch.setenv("http_proxy", elsewhere.url)
        async with running(upstream.url, tmp_path) as proxy:
            assert (await proxy.users("1")).status == 200
        assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_passed_back_and_never_followed(status: int, tmp_path: Path) -> None:
    async with RecordingUpstream() as elsewhere:
        location = f"{elsewhere.url}/users/7"

        async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(
                f"HTTP/1.1 {status} Over there\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
            )

        resources = {"user": {"id": "/id", "single": {"path": "/users/{id}"}}}
        async with ScriptedUpstream(script) as upstream:
            async with running(upstream.url, tmp_path, resources=resources) as proxy:
                for _ in range(2):
                    for target in ("/users/7", "/elsewhere"):
                        response = await proxy.get(target)
                        assert (response.status, response.field("location")) == (status, location)
            assert len(upstream.seen) == 4  # nor is it stored
        assert elsewhere.connections == 0


def test_the_corpus_has_targets_of_other_hosts() -> None:
    """They are passed on as they are spelled: tests/hostile/test_smuggling.py shows where they went."""
    absolute = [sample for sample in HOSTS if b" http://" in sample.data.lower()]
    assert len([sample for sample in absolute if sample.expect is Expect.ONE]) >= 8


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("/x?y", "/x?y"),
        ("//elsewhere.invalid/x", "//elsewhere.invalid/x"),
        ("/@elsewhere.invalid", "/@elsewhere.invalid"),
        ("http://169.254.169.254/latest/meta-data/iam?x", "/latest/meta-data/iam?x"),
        ("HTTP://elsewhere.invalid:9/x", "/x"),
        ("https://elsewhere.invalid/x", "/x"),
        ("http://users.example@elsewhere.invalid/x", "/x"),
        ("http://elsewhere.invalid", "/"),
        ("http://elsewhere.invalid?x", "/?x"),
        ("http://elsewhere.invalid/users/7?x", "/users/7?x"),
        ("http:///x", None),
        ("ftp://elsewhere.invalid/x", None),
        ("elsewhere.invalid:80", None),
        ("*", None),
    ],
)
async def test_an_egress_proxy_is_sent_nowhere_else(target: str, asked: str | None, tmp_path: Path) -> None:
    """It would go wherever a target leads, and has our password."""
    async with RecordingUpstream() as egress:
        settings = {"proxy": egress.url.replace("//", "//me:secret@")}
        resources = {"user": {"id": "/id", "single": {"path": "/users/{id}"}}}
        async with running(
            "http://users.example:8000", tmp_path, upstream=settings, resources=resources
        ) as proxy:
            async with proxy.client() as client:
                response = await client.request(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        sent = b"".join(map(bytes, egress.received.values()))
        if asked is None:
            assert (response.status, sent) == (400, b"")
        else:
            assert sent.startswith(b"GET http://users.example:8000" + asked.encode() + b" HTTP/1.1\r\n")


async def test_the_options_of_the_whole_upstream_are_asked_through_an_egress_proxy(tmp_path: Path) -> None:
    async with RecordingUpstream() as egress:
        async with running("http://users.example:8000", tmp_path, upstream={"proxy": egress.url}) as proxy:
            async with proxy.client() as client:
                assert (await client.request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        [sent] = egress.received.values()
        assert sent.startswith(b"OPTIONS http://users.example:8000 HTTP/1.1\r\n")  # RFC 9112 section 3.2.4
