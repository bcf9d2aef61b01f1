"""What the proxy needs of memory, processor, disk and descriptors: `make bench-sizing`.

Each part has a process of its own, so that nothing is left in it of the one before. Memory is what the kernel says;
processor time is the process's own, which a busy machine changes little. Linux only, loopback only, some minutes.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import uvloop

from bench.figure import Figure, report
from bench.load import get, load, post
from bench.people import populate, write_lines
from bench.subject import Subject, keep_off_the_subjects_core, running, settings
from proxy.demo.services import USERS_BULK, Services

_TIERS = (16, 64, 128)
"""MiB of memory.max_bytes."""
_DEFAULT = 64
_USER_BYTES = 1000
"""What a user of these takes at least in the memory tier, to know how many are more than fit."""
_FIRST = 10_000
"""Users after whom the memory tier is not full yet."""
_HUGE = 10_000
_CONNECTIONS = (256, 1_000)
_MIB = 2**20


class Place:
    """Where the parts run: the services before them, and a directory that has room for the database of each."""

    def __init__(self, services: Services, directory: Path) -> None:
        self.services = services
        self._directory = directory
        self._count = 0

    def directory(self) -> Path:
        """An empty one."""
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        return directory


def users(address: str, first: int, count: int, of: int) -> bytes:
    """A bulk call for so many of `of` users."""
    return post(address, USERS_BULK, {"userIds": [f"u{(first + n) % of}" for n in range(count)]})


def peak(subject: Subject) -> float:
    """The most that was resident since `forget_peak`, in MiB."""
    status = Path(f"/proc/{subject.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def forget_peak(subject: Subject) -> None:
    """Count the peak from here on (proc(5), clear_refs)."""
    Path(f"/proc/{subject.process.pid}/clear_refs").write_text("5")


def resident(subject: Subject) -> float:
    """MiB that are resident now."""
    return subject.memory() / _MIB


async def gauge(subject: Subject, name: str) -> float:
    """A metric without labels."""
    found = re.search(rf"^handshake_proxy_{name} (\S+)$", await subject.metrics(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def fill(subject: Subject, first: int, last: int) -> None:
    """Ask for the users from `first` up to `last`, a hundred at a time."""
    address = subject.addresses["upstreams.main"]
    calls = (last - first) // 100
    await load(address, lambda n: users(address, first + n * 100, 100, last), count=calls, connections=2)


async def idle(place: Place) -> list[Figure]:
    """A process that has done nothing yet, and what an answer costs that takes no work."""
    async with running(place.services.url, place.directory()) as subject:
        await gauge(subject, "ready")
        figures = [
            Figure("idle: resident", resident(subject), "MiB", 70),
            Figure("idle: file descriptors", subject.process.num_fds(), ""),
        ]
        address = subject.addresses["ops"]
        figures.append(
            await _cost(subject, "a probe, to compare with", address, partial(_same, get(address, "/livez")))
        )
    traces = {"HANDSHAKE_TRACING__ENDPOINT": "http://127.0.0.1:9"}
    async with running(place.services.url, place.directory(), **traces) as subject:
        await gauge(subject, "ready")
        figures.append(Figure("idle, with tracing: resident", resident(subject), "MiB"))
    return figures


async def _cost(
    subject: Subject, name: str, address: str, request: Callable[[int], bytes], count: int = 10_000
) -> Figure:
    """Processor time of one of so many requests, what is written behind them included."""
    before = subject.cpu()
    await load(address, request, count=count, connections=32)
    await settle(subject)
    return Figure(f"{name}: CPU", (subject.cpu() - before) / count * 1e6, "us")


async def settle(subject: Subject) -> None:
    """Wait until it has nothing left to do. Raises TimeoutError."""
    async with asyncio.timeout(120):
        now = subject.cpu()
        while True:
            before = now
            await asyncio.sleep(0.5)
            now = subject.cpu()
            if now - before <= 0.01:
                return


async def tiers(place: Place) -> list[Figure]:
    """The memory tier at its bound, for several bounds."""
    figures: list[Figure] = []
    for size in _TIERS:
        count = size * _MIB // _USER_BYTES // 100 * 100
        populate(place.services, count, 0)
        limit = {"HANDSHAKE_MEMORY__MAX_BYTES": f"{size}MiB"}
        async with running(place.services.url, place.directory(), **limit) as subject:
            await fill(subject, 0, _FIRST)
            if size == _DEFAULT:
                each = await gauge(subject, "memory_bytes") / _FIRST
                figures.append(Figure("memory tier: per user", each, "bytes"))
            await fill(subject, _FIRST, count)
            part = await gauge(subject, "memory_bytes") / (size * _MIB)
            label = f"memory tier of {size} MiB"
            figures.append(Figure(f"{label}, {count:,} users: filled", part * 100, "%"))
            target = 170 if size == _DEFAULT else None
            figures.append(Figure(f"{label}, {count:,} users: resident", resident(subject), "MiB", target))
            if size == _DEFAULT:
                for connections in _CONNECTIONS:
                    figures += await _crowd(subject, count, connections)
    return figures


async def _crowd(subject: Subject, count: int, connections: int) -> list[Figure]:
    """Many connections at a time on a memory tier that is full of the last of `count` users."""
    address = subject.addresses["upstreams.main"]
    forget_peak(subject)
    most = 0

    def request(number: int) -> bytes:
        nonlocal most
        if number % 997 == 0:
            most = max(most, subject.process.num_fds())
        return users(address, count - 2000 + number * 20 % 1980, 20, count)

    await load(address, request, count=10_000, connections=connections)
    label = f"the same, {connections:,} connections, bulks of 20 hits"
    target = 170 if connections == 256 else None
    return [
        Figure(f"{label}: peak", peak(subject), "MiB", target),
        Figure(f"{label}: file descriptors", most, ""),
    ]


def _same(request: bytes, _: int) -> bytes:
    return request


async def huge(place: Place) -> list[Figure]:
    """One call with very many ids."""
    populate(place.services, _HUGE, 0)
    figures: list[Figure] = []
    async with running(place.services.url, place.directory()) as subject:
        address = subject.addresses["upstreams.main"]
        bulk = users(address, 0, _HUGE, _HUGE)
        batch = post(address, "/v1/users/ensure-batch", {"userIds": [f"u{n}" for n in range(_HUGE)]})
        calls = (
            (f"a bulk of {_HUGE:,} ids, misses", bulk, "upstreams.main"),
            (f"a bulk of {_HUGE:,} ids, hits", bulk, "upstreams.main"),
            (f"an ensure-batch of {_HUGE:,} ids, hits", batch, "handshake"),
        )
        for label, request, listener in calls:
            forget_peak(subject)
            before = subject.cpu()
            await load(subject.addresses[listener], partial(_same, request), count=1)
            await settle(subject)
            figures.append(Figure(f"{label}: peak", peak(subject), "MiB"))
            figures.append(Figure(f"{label}: CPU", (subject.cpu() - before) * 1000, "ms"))
    return figures


async def processor(place: Place) -> list[Figure]:
    """Processor time of a bulk call, by how many ids it has and whether they are held."""
    figures: list[Figure] = []
    for size, count in ((1, 10_000), (20, 1_000), (100, 200)):
        populate(place.services, count * size, 0)
        room = {"HANDSHAKE_MEMORY__MAX_BYTES": "256MiB"}
        async with running(place.services.url, place.directory(), **room) as subject:
            address = subject.addresses["upstreams.main"]
            request = partial(_part, address, size, count * size)
            label = f"a bulk of {size} ids" if size > 1 else "a bulk of 1 id"
            # What the first round fetches is held in the second.
            figures.append(await _cost(subject, f"{label}, misses", address, request, count))
            figures.append(await _cost(subject, f"{label}, hits", address, request, count))
    return figures


def _part(address: str, size: int, of: int, number: int) -> bytes:
    return users(address, number * size, size, of)


async def disk(place: Place) -> list[Figure]:
    """A database with many users: its size, and what a start with it takes."""
    directory, count = place.directory(), 100_000
    lines = directory / "users.jsonl"
    write_lines(lines, count)
    environment = settings(place.services.url, directory)
    exported = directory / "exported.jsonl"
    for command in ("import", str(lines)), ("export", str(exported)):
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "proxy.cli", *command],
            env=environment,
            check=True,
            stderr=subprocess.DEVNULL,
        )
    size = (directory / "handshake.db").stat().st_size
    figures = [
        Figure(f"database of {count:,} users: per user", size / count, "bytes"),
        Figure(f"export of {count:,} users: per user", exported.stat().st_size / count, "bytes"),
    ]
    for label, where in (
        ("an empty directory", place.directory),
        (f"{count:,} users on disk", lambda: directory),
    ):
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            async with running(place.services.url, where()) as subject:
                seconds.append(time.perf_counter() - started)
                memory = resident(subject)
        figures.append(
            Figure(f"start with {label}: until ready, median of 3", statistics.median(seconds), "s")
        )
        figures.append(Figure(f"start with {label}: resident", memory, "MiB"))
    return figures


PARTS: dict[str, Callable[[Place], Awaitable[list[Figure]]]] = {
    "idle": idle,
    "tiers": tiers,
    "huge": huge,
    "processor": processor,
    "disk": disk,
}


async def measure(names: Sequence[str]) -> list[Figure]:
    """The parts of these names, one after another."""
    keep_off_the_subjects_core()
    services = Services()
    await services.start()
    figures: list[Figure] = []
    try:
        with tempfile.TemporaryDirectory() as directory:
            place = Place(services, Path(directory))
            for name in names:
                figures += await PARTS[name](place)
    finally:
        await services.stop()
    return figures


def main() -> int:
    """Measure, print a table, and write the figures as JSON if asked to; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    return report(uvloop.run(measure(arguments.part or list(PARTS))), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
