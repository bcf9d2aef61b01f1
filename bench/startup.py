"""How long a start takes, and what memory it has then: `python -m bench.startup`.

A start is measured from outside: from the call that makes the process to the line that says that every listener
accepts. It is the usual one, with users on disk and the program's files in the page cache; and the one after SIGKILL,
which finds a log to go through. The median of some is taken. Linux only, loopback only; a million users take two
minutes to make, so a database that is there already may be named.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench.figure import Figure, report
from bench.load import load, post
from bench.people import item, write_lines
from bench.subject import Subject, running, settings
from proxy.demo.services import USERS_BULK, Services

_TARGET = 0.5
"""Seconds until it serves, with a million users."""
_IDLE = 70
"""MiB that are resident then, after the first scrape of its metrics."""
_NEW = 5_000
"""Users that are written before each SIGKILL: as many as the log has room for, or more."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the program."""

    seconds: float
    cpu: float
    """Seconds of processor time of all its threads."""
    resident: float
    """MiB."""


async def start(
    services: Services, directory: Path, before_the_end: Callable[[Subject], Awaitable[None]]
) -> Start:
    """Start it on the database in `directory`, end it again."""
    started = time.perf_counter()
    async with running(services.url, directory) as subject:
        seconds, cpu = time.perf_counter() - started, subject.cpu()
        await subject.metrics()
        resident = subject.memory() / _MIB
        await before_the_end(subject)
    return Start(seconds, cpu, resident)


async def _nothing(_: Subject) -> None:
    return


async def _be_killed(number: int, subject: Subject) -> None:
    """Have users fetched that are not there yet, others each time, and then no chance to tidy up."""
    address = subject.addresses["upstreams.main"]

    def users(call: int) -> bytes:
        first = number * _NEW + call * 100
        return post(address, USERS_BULK, {"userIds": [f"new{first + user}" for user in range(100)]})

    await load(address, users, count=_NEW // 100, connections=2)
    subject.process.kill()


def figures(name: str, starts: list[Start], target: float | None, idle: float | None) -> list[Figure]:
    """The medians of several starts."""
    return [
        Figure(f"{name}: until ready", statistics.median(one.seconds for one in starts), "s", target),
        Figure(f"{name}: CPU", statistics.median(one.cpu for one in starts), "s"),
        Figure(f"{name}: resident", statistics.median(one.resident for one in starts), "MiB", idle),
    ]


def _import(url: str, directory: Path, count: int) -> None:
    lines = directory / "users.jsonl"
    write_lines(lines, count)
    command = [sys.executable, "-m", "proxy.cli", "import", str(lines)]
    subprocess.run(command, env=settings(url, directory), check=True, stderr=subprocess.DEVNULL)
    lines.unlink()


async def measure(directory: Path, users: int, database: Path | None, times: int) -> list[Figure]:
    """Starts with nothing on disk, with `users` (or what `database` has), and after SIGKILL; so many of each."""
    services = Services()
    services.users |= {f"new{number}": item(f"new{number}") for number in range(_NEW * (times + 1))}
    await services.start()
    try:
        many = directory / "many"
        many.mkdir()
        if database is None:
            await asyncio.to_thread(_import, services.url, many, users)
        else:
            await asyncio.to_thread(shutil.copy, database, many / "handshake.db")
        await asyncio.to_thread(os.sync)  # what was written must not be waited for by those that are measured
        await start(services, many, _nothing)  # reads the program's files into the page cache
        said = f"{users:,} users on disk"
        usual = [await start(services, many, _nothing) for _ in range(times)]
        found = figures(f"start, {said}", usual, _TARGET, _IDLE)
        await start(services, many, partial(_be_killed, 0))
        killed = [await start(services, many, partial(_be_killed, number + 1)) for number in range(times)]
        found += figures(f"start after SIGKILL, {said}", killed, _TARGET, None)
        empty = []
        for number in range(times):
            (directory / str(number)).mkdir()
            empty.append(await start(services, directory / str(number), _nothing))
        return found + figures("first start, nothing on disk", empty, None, _IDLE)
    finally:
        await services.stop()


def main() -> int:
    """Measure, print a table, and write the figures as JSON if asked to; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000, help="users on disk")
    parser.add_argument(
        "--database", type=Path, help="a file that has them already; it is copied, and stays as it is"
    )
    parser.add_argument("--times", type=int, default=11, help="starts of each kind")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    # Whoever measures may have told Python not to keep what it has compiled, as a process of an image keeps none.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as place:
        found = uvloop.run(measure(Path(place), arguments.users, arguments.database, arguments.times))
    return report(found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
