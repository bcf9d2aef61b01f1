"""The least that an answer can cost in this language: `python -m bench.floor --port 0`.

A bare protocol on uvloop looks the bytes that it received up in a table and writes the bytes that it finds. There is no
HTTP parser, no freshness and no metric: what a proxy costs above this is what it does for its users.

It knows `GET /users/<id>` and the bulk call for users. An answer is made the first time that it is asked for. Where a
field differs each time, the whole request is not found, and the request line with the body is looked up instead.
"""

import argparse
import asyncio
import json
import sys
from typing import cast

import uvloop

from bench.people import item

_MOST = 300_000
"""Answers in the table; a header that differs each time would fill it without end."""


class Table:
    """Prepared answers: by the exact bytes of a request, or by its first line and body."""

    def __init__(self, most: int = _MOST) -> None:
        self.exact: dict[bytes, bytes] = {}
        self._most = most
        self._known: dict[tuple[bytes, bytes], bytes] = {}

    def learn(self, request: bytes) -> bytes | None:
        """The answer to a request that is not in `exact`; None if it is not whole yet."""
        end = request.find(b"\r\n\r\n")
        if end < 0:
            return None
        at = request.find(b"Content-Length: ", 0, end)
        length = int(request[at + 16 : request.index(b"\r\n", at)]) if at >= 0 else 0
        body = request[end + 4 :]
        if len(body) < length:
            return None
        line = request[: request.index(b"\r\n")]
        answer = self._known.get((line, body))
        if answer is None:
            answer = _answer(line, body)
            if len(self._known) < self._most:
                self._known[line, body] = answer
        elif len(self.exact) < self._most:
            # Seen before: worth a place of its own.
            self.exact[request] = answer
        return answer


def _answer(line: bytes, body: bytes) -> bytes:
    method, path, _ = line.decode().split(" ")
    if method == "POST":
        ids = json.loads(body)["userIds"]
        content = b'{"users":[%b],"count":%d}' % (b",".join(item(entity) for entity in ids), len(ids))
    else:
        content = item(path.removeprefix("/users/"))
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=3600\r\nAge: 0\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    )


class _Connection(asyncio.Protocol):
    """One client that asks, reads the answer, and asks again."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._exact = table.exact
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answer = self._exact.get(data)
        if answer is None:
            # A large body comes in pieces.
            self._received += data
            answer = self._exact.get(self._received) or self._table.learn(self._received)
            if answer is None:
                return
            self._received = b""
        self._transport.write(answer)


async def _serve(port: int) -> None:
    table = Table()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(table), "127.0.0.1", port, backlog=4096
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> int:
    """Serve on loopback until a signal ends it; the first line of output is JSON with the port."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 is any")
    uvloop.run(_serve(parser.parse_args().port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
