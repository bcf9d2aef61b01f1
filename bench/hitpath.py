"""Where the microseconds of a hit go: `python -m bench.hitpath`.

The listener of a whole proxy, in this process, is handed bytes as the event loop would hand them, and writes to a
transport that throws them away: what is left out is the kernel and the event loop, the same for everybody. The
parts of the way are measured alone, too. Processor time, the least of some rounds.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import uvloop

from bench.figure import Figure, report
from bench.load import get, load, post
from bench.people import populate
from config.load import load as load_config
from proxy.app import App
from proxy.demo.services import USERS_BULK, Services
from proxy.lane import LaneConnection, LaneServer

_USERS = 5_000
_ROUNDS = 5
_CALLS = 10_000
_CONFIG = """
upstreams: {{main: {{url: {url}, listen: "127.0.0.1:0"}}}}
resources:
  user:
    upstream: main
    storage: memory
    id: /id
    bulk: {{path: {bulk}, ids: /userIds, items: /users, count: /count}}
    single: {{path: "/users/{{id}}"}}
  page:
    upstream: main
    id: null
    single: {{path: "/businesses/{{rest*}}"}}
    freshness: {{ttl: 1h}}
handshake: {{listen: "127.0.0.1:0"}}
ops: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
"""


class Sink(asyncio.Transport):
    """A transport whose client reads everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.protocol: asyncio.Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:  # noqa: ARG002 - it is thrown away
        """Count it."""
        self.writes += 1

    def get_write_buffer_size(self) -> int:
        """Nothing is left."""
        return 0

    def close(self) -> None:
        """Tell the protocol, once."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            asyncio.get_running_loop().call_soon(protocol.connection_lost, None)

    def abort(self) -> None:
        """The same."""
        self.close()


class Bare(asyncio.Protocol):
    """The floor: a look into a table of bytes, and a write."""

    def __init__(self, answers: dict[bytes, bytes], transport: Sink) -> None:
        self._answers = answers
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is known."""
        answer = self._answers.get(data)
        if answer is not None:
            self._transport.write(answer)


def cost(name: str, call: Callable[[bytes], object], requests: Sequence[bytes]) -> Figure:
    """Processor time of one call."""
    least = float("inf")
    for _ in range(_ROUNDS):
        before = time.process_time()
        for request in requests:
            call(request)
        least = min(least, time.process_time() - before)
    return Figure(name, least / len(requests) * 1e6, "us")


def users(address: str, first: int, count: int) -> bytes:
    """A bulk call."""
    return post(address, USERS_BULK, {"userIds": [f"u{(first + n) % _USERS}" for n in range(count)]})


async def connected(server: LaneServer) -> tuple[LaneConnection, Sink]:
    """A connection that waits for its first request."""
    sink = Sink()
    connection = cast("LaneConnection", server())
    sink.protocol = connection
    connection.connection_made(sink)
    for _ in range(3):
        await asyncio.sleep(0)
    return connection, sink


async def measure(server: LaneServer, address: str) -> list[Figure]:
    """The figures, of a proxy that holds all users."""
    connection, sink = await connected(server)
    plain = get(address, "/users/u1")
    bare = Bare({plain: b"x" * 400}, sink)
    traced = [plain[:-2] + b"x-request-id: %08d\r\n\r\n" % number for number in range(_CALLS)]
    spread = [get(address, f"/users/u{number % _USERS}") for number in range(_CALLS)]
    page = get(address, "/businesses/b1")
    pages = [get(address, f"/businesses/b{number % _USERS}") for number in range(_CALLS)]
    bulks = {count: users(address, 0, count) for count in (1, 10, 100)}
    varied = [users(address, 37 * number, 100) for number in range(_CALLS // 10)]
    for request in (plain, page, *bulks.values()):
        for _ in range(3):
            connection.data_received(request)
    parser = connection._parser._parser  # type: ignore[union-attr] # noqa: SLF001 - it is what is measured

    def parse(request: bytes) -> None:
        parser.feed_data(request)
        parser.message_consumed()

    receive = connection.data_received
    before = sink.writes
    figures = [
        cost("floor: a table of bytes, and a write", bare.data_received, [plain] * _CALLS),
        cost("GET, known by its bytes", receive, [plain] * _CALLS),
        *(
            cost(f"bulk of {count}, known by its bytes", receive, [bulk] * _CALLS)
            for count, bulk in bulks.items()
        ),
        cost("aiohttp's parser alone, for a GET", parse, traced),
        cost("GET with a field that differs each time", receive, traced),
        cost(f"GET of one of {_USERS:,}", receive, spread),
        cost("GET of an opaque target, known by its bytes", receive, [page] * _CALLS),
        cost(f"GET of one of {_USERS:,} opaque targets", receive, pages),
        cost("bulk of 100, never the same", receive, varied),
    ]
    expected = _ROUNDS * (_CALLS * 9 + len(varied))
    if sink.writes - before != expected:
        raise RuntimeError(f"{sink.writes - before} of {expected} requests were answered on the lane")
    return figures


async def _run() -> list[Figure]:
    services = Services()
    populate(services, _USERS, _USERS)
    await services.start()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "config.yaml"
        file.write_text(_CONFIG.format(url=services.url, bulk=USERS_BULK))
        app = App(load_config(file, {}))
        addresses = await app.start()
        try:
            address = addresses["upstreams.main"]
            await load(address, lambda number: users(address, number * 100, 100), count=_USERS // 100)
            await load(address, lambda number: get(address, f"/businesses/b{number}"), count=_USERS)
            return await measure(cast("LaneServer", app._serving[0]), address)  # noqa: SLF001
        finally:
            await app.stop()
            await services.stop()


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    return report(uvloop.run(_run()), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
