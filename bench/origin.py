"""A small, fast owner of users to measure against: `python -m bench.origin --port 0`.

| request | answer |
|---|---|
| `GET /users/<id>` | that user, some 170 bytes of JSON, fresh for an hour |
| `POST /main/api/v3/users/bulk` of `{"userIds": […]}` | `{"users": […], "count": n}`, without a Cache-Control |
| `GET /bytes/<n>` | n bytes |
| `POST /bytes` | the body's length, as text, when all of it was read |
| `GET /count` | `{"requests": n, "ids": n}`: the calls for users so far, and the ids that they asked for |

Anything else is a 404. Every user exists. Bodies have a Content-Length; chunked ones are refused (411).
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import cast

import uvloop

from bench.people import item

BULK = "/main/api/v3/users/bulk"
_LARGEST = 64 * 2**20
"""The most bytes that `GET /bytes/<n>` gives."""
_REASONS = {200: "OK", 404: "Not Found", 411: "Length Required"}


class Origin:
    """What the connections share: the counters, the clock of the Date field, and bodies made once."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        """Seconds that every answer waits before it is written."""
        self.requests = 0
        self.ids = 0
        self._bodies: dict[int, bytes] = {}
        self._second = 0
        self._date = ""

    def answer(self, method: str, path: str, body: bytes, length: int) -> bytes:
        """A whole answer; `body` is there of a bulk call only, `length` always."""
        path = path.split("?", 1)[0]
        if method == "GET" and path.startswith("/users/"):
            self.requests += 1
            self.ids += 1
            return self._message(200, item(path[7:]), "Cache-Control: max-age=3600\r\n")
        if method == "POST" and path == BULK:
            ids = json.loads(body)["userIds"]
            self.requests += 1
            self.ids += len(ids)
            users = b",".join([item(entity) for entity in ids])
            return self._message(200, b'{"users":[%b],"count":%d}' % (users, len(ids)))
        if method == "GET" and path.startswith("/bytes/") and path[7:].isdecimal():
            size = min(int(path[7:]), _LARGEST)
            if size not in self._bodies:
                self._bodies[size] = b"x" * size
            return self._message(200, self._bodies[size], kind="application/octet-stream")
        if method == "POST" and path == "/bytes":
            return self._message(200, b"%d" % length, kind="text/plain")
        if method == "GET" and path == "/count":
            return self._message(200, b'{"requests":%d,"ids":%d}' % (self.requests, self.ids))
        return self._message(404, b"{}")

    def refusal(self) -> bytes:
        """For a request whose body has no Content-Length."""
        return self._message(411, b"{}", "Connection: close\r\n")

    def _message(self, status: int, body: bytes, more: str = "", kind: str = "application/json") -> bytes:
        second = int(time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nDate: {self._date}\r\nContent-Type: {kind}\r\n"
            f"{more}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    """One client. Requests may be pipelined; a body is kept for a bulk call only."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._received = b""
        self._missing = 0
        """Bytes of a body that is being read away."""
        self._answer: Callable[[], bytes] | None = None
        self._closes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            if len(data) < self._missing:
                self._missing -= len(data)
                return
            data, self._missing = data[self._missing :], 0
            self._finish()
        self._received = self._received + data if self._received else data
        while self._received and self._next():
            pass

    def _next(self) -> bool:
        """Take one request out of what was received; False if there is none yet."""
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        lines = self._received[: end - 4].decode("latin-1").split("\r\n")
        method, path, version = lines[0].split(" ")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if "transfer-encoding" in fields:
            self._transport.write(self._origin.refusal())
            self._transport.close()
            return False
        length = int(fields.get("content-length", 0))
        here = len(self._received) - end
        kept = path == BULK
        if kept and here < length:
            return False
        wish = fields.get("connection", "keep-alive" if version == "HTTP/1.1" else "close").lower()
        self._closes = wish == "close"
        body = self._received[end : end + length] if kept else b""
        self._received = self._received[end + length :]
        self._answer = lambda: self._origin.answer(method, path, body, length)
        self._missing = max(0, length - here)
        if self._missing:
            return False
        self._finish()
        return True

    def _finish(self) -> None:
        """Answer the request that is all here."""
        assert self._answer is not None
        answer, self._answer = self._answer(), None
        write = self._write_last if self._closes else self._transport.write
        if self._origin.latency:
            asyncio.get_running_loop().call_later(self._origin.latency, write, answer)
        else:
            write(answer)

    def _write_last(self, answer: bytes) -> None:
        self._transport.write(answer)
        self._transport.close()


async def _serve(port: int, latency: float) -> None:
    origin = Origin(latency)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(origin), "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> int:
    """Serve on loopback until a signal ends it; the first line of output is JSON with the port."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 is any")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="MS", help="wait so long before each answer"
    )
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, arguments.latency / 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
