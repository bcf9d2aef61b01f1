"""A field is never more than one line of a head, be it from the upstream, from an import or from the disk."""

import asyncio
import json
import re
import sqlite3
from pathlib import Path

import pytest

from proxy.core.http.fields import render
from proxy.transfer import import_from
from tests.integration.harness import Client, ScriptedUpstream, Seen, running
from tests.integration.lines import configured, user, write_lines

RESOURCES = {"user": {"id": "/id", "single": {"path": "/users/{id}"}}}
_ITEM = b'{"id":"7","name":"a\\r\\nX-Evil: 1"}'
# Other control bytes are passed on as they come: they end nothing (RFC 9110 section 5.5).
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: ?[^\r\n\0]*")

# Lines of a head, as an upstream may send them that was broken into, or that puts into them what users wrote.
LINES = {
    "cr": b'ETag: "a\rX-Evil: 1"',
    # A line may end in LF alone (RFC 9112 section 2.2): these are two fields to us, and two to whoever gets them.
    "lf": b'ETag: "a\nX-Other: 1"',
    "cr at the end": b'ETag: "a"\r',
    "nul": b'ETag: "a\x00X-Evil: 1"',
    "crs and an answer": b'ETag: "a"\r\rHTTP/1.1 200 OK\r\rX-Evil: 1',
    "lfs and an answer": b'ETag: "a"\n\nHTTP/1.1 200 OK\nX-Other: 1',
    "folded": b'ETag: "a"\r\n X-Evil: 1',
    "folded by tab": b"Content-Type: text/plain;\r\n\tx=y",
    "encoded crlf": b'ETag: "a%0d%0aX-Evil: 1"',
    "non-ascii": b'ETag: "\xe5\x98\x8a\xe5\x98\x8d"',
    "overlong crlf": b"X: \xc0\x8d\xc0\x8aX-Evil: 1",
    "control bytes": b"X: \x01\x08\x0b\x0c\x1b\x7f",
    "nel": b"X: a\x85b",
    "space in a name": b"X Y: 1",
    "space before the colon": b"X-Other : 1",
    "empty name": b": 1",
    "nul in a name": b"X\x00Y: 1",
    "colon in a name": b"X:Y: 1",
    "non-ascii name": b"X\xe9: 1",
    "last-modified": b"Last-Modified: Mon\rX-Evil: 1",
    "cache-status": b'Cache-Status: a; detail="\rX-Evil: 1"',
    "via": b"Via: 1.1 a\rX-Evil: 1",
    "a second length": b"Content-Length: 1",
    "a coding": b"Transfer-Encoding: chunked",
    "connection": b"Connection: Content-Length, Date, ETag",
}

STATUS_LINES = {
    "cr in the reason": b"HTTP/1.1 200 O\rX-Evil: 1",
    "nul in the reason": b"HTTP/1.1 200 O\x00K",
    "lf in the reason": b"HTTP/1.1 200 O\nX-Other: 1",
    "non-ascii reason": b"HTTP/1.1 200 \xe9\xff",
    "long reason": b"HTTP/1.1 200 " + b"K" * 10_000,
}


def _heads(lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return status + b"\r\nContent-Length: %d\r\n" % len(_ITEM) + lines + b"\r\n\r\n" + _ITEM


async def _is_one_answer(client: Client, request: bytes, name: str) -> int:
    """The status of the one answer that comes before the connection ends."""
    await client.send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answer = await client.ended()
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    assert re.fullmatch(rb"HTTP/1\.1 [0-9]{3} [\t\x20-\x7e\x80-\xff]*", status_line), (name, status_line)
    for line in lines:
        assert _FIELD.fullmatch(line), (name, line)
        assert not line.lower().startswith(b"x-evil"), (name, line)
    assert b"HTTP/1.1" not in body or len(body) == len(_ITEM), name  # within its length it is a body
    return int(status_line.split(b" ")[1])


@pytest.mark.parametrize("path", [b"/users/7", b"/elsewhere"])
async def test_no_line_of_an_upstream_splits_an_answer(path: bytes, tmp_path: Path) -> None:
    heads = {name: _heads(line) for name, line in LINES.items()}
    heads |= {name: _heads(b"X: y", status) for name, status in STATUS_LINES.items()}
    for name, head in heads.items():

        async def script(
            _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes = head
        ) -> None:
            writer.write(head)
            await writer.drain()
            writer.close()

        directory = tmp_path / name.replace(" ", "-")
        directory.mkdir()
        async with ScriptedUpstream(script) as upstream:
            async with running(upstream.url, directory, resources=RESOURCES) as proxy:
                statuses = []
                for request in (
                    b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
                ):
                    async with proxy.client() as client:
                        statuses.append(await _is_one_answer(client, request, name))
                assert set(statuses) <= {200, 304, 502, 503}, name


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n", "\0"])
def test_an_import_takes_no_field_of_two_lines(
    sign: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    for headers in ([["ETag", f'"a"{sign}X-Evil: 1']], [[f"X{sign}X-Evil", "1"]]):
        file = write_lines(tmp_path / "rows", [user("7", headers=headers)])
        assert import_from(file, config) == 1
        said = capfd.readouterr().err
        assert "headers" in said
        assert "X-Evil" not in said


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("where", ["name", "value"])
async def test_an_edited_database_splits_no_answer(sign: str, where: str, tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_heads(b'ETag: "a"'))

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
            assert (await proxy.get("/users/7")).status == 200
            await proxy.durable()
        evil = ["X" + sign + "X-Evil", "1"] if where == "name" else ["ETag", '"a"' + sign + "X-Evil: 1"]
        with sqlite3.connect(tmp_path / "handshake.db") as connection:
            connection.execute("UPDATE users SET headers = ?", (json.dumps([evil]),))
            assert connection.total_changes == 1
        connection.close()
        async with running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
            for line in (b"", b'If-None-Match: "a"\r\n'):
                async with proxy.client() as client:
                    request = b"GET /users/7 HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n"
                    await _is_one_answer(client, request, sign)
            assert not [seen for seen in upstream.seen if b"X-Evil" in seen.head]


@pytest.mark.parametrize(
    "field", [(b"A", b"b\rc"), (b"A", b"b\nc"), (b"A", b"b\r\nc"), (b"A\r\nB", b"c"), (b"A", b"\0")]
)
def test_a_head_is_not_written_that_would_be_split(field: tuple[bytes, bytes]) -> None:
    assert render(b"HTTP/1.1 200 OK", [(b"A", b"b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    with pytest.raises(ValueError, match="more than one"):
        render(b"HTTP/1.1 200 OK", [field])
