"""What the slow ways cost: `python -m bench.added`.

Three of them: a hit that has to come from SQLite, a miss, and pass-through. Processor time is of the whole proxy, with
all of its threads, and a busy machine changes it little. Added latency is the median through the proxy less the median
straight to the same upstream, asked in turns by one client over one kept connection. The upstream (bench/origin.py) has
the proxy's core, for then a request goes from core to core as often either way. Beside pass-through stands what the
plainest proxy of aiohttp adds (bench/plain_proxy.py): the floor of whoever uses its server and its client. Loopback
only, bounded in count and time.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count as counting
from pathlib import Path

import psutil
import uvloop

from bench.figure import Figure, report
from bench.load import get, load, post
from bench.origin import BULK
from bench.subject import Subject, keep_off_the_subjects_core, running

_COLD_CPU = 150.0
"""Microseconds: the target of a hit that comes from SQLite."""
_ADDED = 0.3
"""Milliseconds: the target of a miss and of pass-through, at the median."""
_WARM_UP = 300
_BLOCK = 50
"""Requests of one turn: straight, then through the proxy."""
_BIG = 16 * 2**20
_BIG_ROUNDS = 24
_SMALL = b'{"note":"some hundred bytes that no resource claims, and that are of no interest to anybody here at all"}'
_SETTINGS = {"HANDSHAKE_RESOURCES__USER__SINGLE__PATH": "/users/{id}"}

Make = Callable[[str, int], bytes]
"""The request of an address, by its number."""


@dataclass(slots=True)
class _Turns:
    """What was measured in turns; seconds."""

    straight: list[float] = field(default_factory=list)
    through: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def figures(self, name: str, target: float) -> list[Figure]:
        """Of the medians, and of the processor."""
        straight, through = _median(self.straight), _median(self.through)
        return [
            Figure(f"{name}: straight to the upstream, p50", straight, "ms"),
            Figure(f"{name}: added by the proxy at p50", through - straight, "ms", target),
            Figure(f"{name}: added by aiohttp's plainest at p50", _median(self.plain) - straight, "ms"),
            Figure(f"{name}: CPU of the proxy", self.cpu / len(self.through) * 1e6, "us"),
        ]


def _median(seconds: list[float]) -> float:
    """In milliseconds."""
    return sorted(seconds)[len(seconds) // 2] * 1000


def cpu(subject: Subject) -> float:
    """Seconds of processor time so far, of all threads, to the nanosecond (proc(5), schedstat)."""
    files = Path(f"/proc/{subject.process.pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def one(address: str, number: int) -> bytes:
    """A GET of one user."""
    return get(address, f"/users/u{number}")


def bulk_of_one(address: str, number: int) -> bytes:
    """A bulk call for one user."""
    return post(address, BULK, {"userIds": [f"u{number}"]})


@asynccontextmanager
async def process_of(module: str, *arguments: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A server of this directory as a process of its own: its address, and the process. It is ended by its id."""
    command = (sys.executable, "-m", f"bench.{module}", *arguments, "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())["port"]
        yield f"127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _cold_hits(upstream: str, directory: Path, count: int) -> list[Figure]:
    """Each user is asked for once of a proxy that has them all in its database, and none in memory."""
    parts = [
        (name, make, connections)
        for name, make in (("single", one), ("bulk of 1", bulk_of_one))
        for connections in (1, 32)
    ]
    users = len(parts) * count + _WARM_UP
    async with running(f"http://{upstream}", directory, **_SETTINGS) as subject:
        address = subject.addresses["upstreams.main"]

        def hundred(index: int) -> bytes:
            return post(address, BULK, {"userIds": [f"u{index * 100 + n}" for n in range(100)]})

        await load(address, hundred, count=-(-users // 100))
    figures: list[Figure] = []
    async with running(f"http://{upstream}", directory, **_SETTINGS) as subject:
        address = subject.addresses["upstreams.main"]
        await load(address, lambda index: one(address, index), count=_WARM_UP // 2)
        await load(address, lambda index: bulk_of_one(address, _WARM_UP // 2 + index), count=_WARM_UP // 2)
        first = _WARM_UP
        for name, make, connections in parts:
            numbers = range(first, first + count)
            first += count
            before = cpu(subject)
            requests = [make(address, number) for number in numbers]
            latencies = await load(address, requests.__getitem__, count=count, connections=connections)
            spent = (cpu(subject) - before) / count * 1e6
            label = f"cold hit, {name}, {'one client' if connections == 1 else f'{connections} connections'}"
            figures.append(Figure(f"{label}: CPU of the proxy", spent, "us", _COLD_CPU))
            figures.append(Figure(f"{label}: p50 at the client", latencies.quantile(0.5) * 1000, "ms"))
    return figures


async def _in_turns(subject: Subject, upstream: str, plain: str, make: Make, count: int) -> _Turns:
    """`count` requests straight and as many through either proxy, each of them another one."""
    turns = _Turns()
    address = subject.addresses["upstreams.main"]
    places = ((upstream, turns.straight), (address, turns.through), (plain, turns.plain))
    numbers = counting(0)
    for block in range(count // _BLOCK + 1):
        for place, seconds in places:
            requests = [make(place, next(numbers)) for _ in range(_BLOCK)]
            before = cpu(subject)
            found = await load(place, requests.__getitem__, count=_BLOCK)
            if block:  # the first is to warm up
                seconds.extend(found.seconds)
                turns.cpu += cpu(subject) - before
    return turns


async def _latencies(subject: Subject, upstream: str, plain: str, count: int) -> list[Figure]:
    ways: tuple[tuple[str, Make], ...] = (
        ("miss, single", lambda address, number: one(address, 10_000_000 + number)),
        ("miss, bulk of 1", lambda address, number: bulk_of_one(address, 20_000_000 + number)),
        ("pass-through, small GET", lambda address, _: get(address, "/bytes/200")),
        ("pass-through, small POST", lambda address, _: post(address, "/bytes", {"note": _SMALL.decode()})),
    )
    figures: list[Figure] = []
    for name, make in ways:
        turns = await _in_turns(subject, upstream, plain, make, count)
        figures += turns.figures(name, _ADDED)
    return figures


class _Wire:
    """One kept connection with blocking calls, for bodies that are only counted."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._buffer = memoryview(bytearray(2**18))

    def exchange(self, request: bytes) -> None:
        """Send a request, and read its whole answer."""
        self._socket.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._read()
        length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        left = length - (len(head) - head.index(b"\r\n\r\n") - 4)
        while left:
            left -= len(self._read())

    def _read(self) -> memoryview:
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise ConnectionError("the connection was closed")
        return self._buffer[:size]

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


@contextmanager
def _wires(*addresses: str) -> Iterator[list[_Wire]]:
    wires = [_Wire(address) for address in addresses]
    try:
        yield wires
    finally:
        for wire in wires:
            wire.close()


def _big_bodies(subject: Subject, upstream: str) -> list[Figure]:
    """Bodies of 16 MiB in turns, straight and through; a load of its own beside which nothing else runs here."""
    places = (upstream, subject.addresses["upstreams.main"])
    figures: list[Figure] = []
    for name in ("down", "up"):
        requests = [
            get(place, f"/bytes/{_BIG}") if name == "down" else _upload(place, b"x" * _BIG)
            for place in places
        ]
        seconds: tuple[list[float], list[float]] = ([], [])
        spent = 0.0
        with _wires(*places) as wires:
            for number in range(_BIG_ROUNDS + 1):
                for wire, request, times in zip(wires, requests, seconds, strict=True):
                    before, started = cpu(subject), time.perf_counter()
                    wire.exchange(request)
                    if number:
                        times.append(time.perf_counter() - started)
                        spent += cpu(subject) - before
        straight, through = (_BIG / 2**20 / sorted(times)[len(times) // 2] for times in seconds)
        figures += [
            Figure(f"16 MiB {name}: straight to the upstream", straight, "MiB/s"),
            Figure(f"16 MiB {name}: through the proxy", through, "MiB/s"),
            Figure(f"16 MiB {name}: CPU of the proxy", spent / _BIG_ROUNDS * 1000, "ms"),
        ]
    return figures


def _upload(address: str, body: bytes) -> bytes:
    head = f"POST /bytes HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _run(count: int, *, big: bool) -> list[Figure]:
    cores = sorted(os.sched_getaffinity(0))
    keep_off_the_subjects_core()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        async with process_of("origin") as (upstream, process):
            figures += await _cold_hits(upstream, directory, count)
            async with running(f"http://{upstream}", directory, **_SETTINGS) as subject:
                if len(cores) > 1:
                    process.cpu_affinity(cores[-1:])
                async with process_of("plain_proxy", upstream) as (plain, plainest):
                    if len(cores) > 1:
                        plainest.cpu_affinity(cores[-1:])
                    figures += await _latencies(subject, upstream, plain, count)
                if len(cores) > 1:
                    process.cpu_affinity(cores[:-1])
                if big:
                    figures += await asyncio.to_thread(_big_bodies, subject, upstream)
    return figures


def main() -> int:
    """Measure, print a table, and write the figures as JSON if asked to; 1 if a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3_000, help="requests of each load")
    parser.add_argument("--no-big", dest="big", action="store_false", help="leave out the bodies of 16 MiB")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    figures = uvloop.run(_run(arguments.count, big=arguments.big))
    return report(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
