"""Answers that could be taken for another's, or of which two readers make different things: cut off, or a failure."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.harness import ScriptedUpstream, Seen, running

RESOURCES = {"user": {"id": "/id", "single": {"path": "/users/{id}"}}}
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
_GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"

# What says that a body follows where none may.
_DECLARED = {
    "204": (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(_EVIL)),
    "204 in chunks": (b"GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(_EVIL)),
    "HEAD": (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_EVIL)),
    "HEAD in chunks": (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("name", _DECLARED)
async def test_a_body_that_should_not_come_is_nobodys_answer(name: str, tmp_path: Path) -> None:
    """It comes when the connection waits for its next request: just before the answer to that one."""
    method, declared = _DECLARED[name]
    first: list[asyncio.StreamWriter] = []

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.split()[1] == b"/a":
            first.append(writer)
            writer.write(declared)
        else:
            writer.write(_EVIL if writer in first else _GOOD)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.request(method + b" /a HTTP/1.1\r\nHost: a\r\n\r\n", head_only=True)
            assert (await client.get("/b")).body == b"good"


@pytest.mark.parametrize(
    "declared", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"]
)
async def test_an_answer_without_a_body_leaves_its_connection(declared: bytes, tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(declared)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            for _ in range(2):
                assert (await client.get("/x")).status == 204
        assert upstream.connections == 1


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate", "negotiate"])
@pytest.mark.parametrize("path", ["/x", "/users/7"])
async def test_nobody_else_is_logged_in_by_a_connection(scheme: str, path: str, tmp_path: Path) -> None:
    """Some upstreams take a log-in for the connection's, whoever asks on it next."""
    known: set[asyncio.StreamWriter] = set()

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"Authorization" in dict(seen.fields):
            known.add(writer)
        body = b'{"id":"7","to":"%b"}' % (b"a" if writer in known else b"nobody")
        writer.write(
            b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    for sharing in ("anonymous", "service", "per_credential"):
        directory = tmp_path / sharing
        directory.mkdir()
        resources = {"user": {**RESOURCES["user"], "sharing": sharing}}
        async with ScriptedUpstream(script) as upstream:
            async with (
                running(upstream.url, directory, resources=resources) as proxy,
                proxy.client() as client,
            ):
                own = await client.get(path, f"Authorization: {scheme} of-a")
                assert own.body == b'{"id":"7","to":"a"}'
                assert (await client.get(path)).body == b'{"id":"7","to":"nobody"}'


_MISREAD = [
    b"Cache-Control : no-store",
    b"Cache-Control\t: private",
    b"Set-Cookie : sid=of-a",
    b"Vary : Cookie",
    b"Connection : close",
    b"Content-Length : 10",
    b"Content-Length : 1\r\nTransfer-Encoding : chunked",
    b"X Y: 1",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
]


@pytest.mark.parametrize("line", _MISREAD)
@pytest.mark.parametrize("path", ["/elsewhere", "/users/7"])
async def test_a_field_that_no_rule_would_know_is_a_failure(line: bytes, path: str, tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + line + b'\r\n\r\n{"id":"7"}')
        writer.close()

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
            for _ in range(2):
                assert (await proxy.get(path)).status in {502, 503}
