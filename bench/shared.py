"""What a shared store costs beside one's own: `python -m bench.shared`.

Two proxies on one core, one on SQLite and one on PostgreSQL, asked in turns: a hit in memory, a hit that has to come
from the database, and a miss. Then how long another replica takes to know of a change. The server is one of the tests'
own, on this machine, with its flushing on: a network between would add its round trips. Loopback only, bounded in
count.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

import uvloop

from bench.added import cpu, one, process_of
from bench.figure import Figure, report
from bench.load import get, load
from bench.subject import Subject, keep_off_the_subjects_core, running
from tests.postgres.server import Database
from tests.postgres.server import running as postgres_running

_BLOCKS = 12
_SETTINGS = {"HANDSHAKE_RESOURCES__USER__SINGLE__PATH": "/users/{id}"}
_DURABLE = (
    "ALTER SYSTEM SET fsync = on",
    "ALTER SYSTEM SET full_page_writes = on",
    "SELECT pg_reload_conf()",
)
_NOTICED_WITHIN = 100.0
"""Milliseconds: the target of the time after which another replica knows of a change, at p99."""

Make = Callable[[str, int], bytes]
"""The request of an address, by its number."""


async def _in_turns(subjects: dict[str, Subject], name: str, make: Make, count: int) -> list[Figure]:
    """Processor time and median latency of the same requests to each, block by block."""
    spent = dict.fromkeys(subjects, 0.0)
    seconds: dict[str, list[float]] = {engine: [] for engine in subjects}
    size = max(1, count // _BLOCKS)
    for block in range(_BLOCKS + 1):
        for engine, subject in subjects.items():
            address = subject.addresses["upstreams.main"]
            requests = [make(address, block * size + number) for number in range(size)]
            before = cpu(subject)
            found = await load(address, requests.__getitem__, count=size)
            if block:  # the first is to warm up
                spent[engine] += cpu(subject) - before
                seconds[engine] += found.seconds
    figures = []
    for engine in subjects:
        p50 = sorted(seconds[engine])[len(seconds[engine]) // 2]
        figures.append(
            Figure(f"{name}, {engine}: CPU of the proxy", spent[engine] / _BLOCKS / size * 1e6, "us")
        )
        figures.append(Figure(f"{name}, {engine}: p50", p50 * 1000, "ms"))
    return figures


async def _from_the_database(upstream: str, directory: Path, url: str, count: int) -> list[Figure]:
    """Each engine's database is filled, then a proxy that has nothing in memory is asked."""
    more = {"SQLite": {}, "PostgreSQL": {"HANDSHAKE_STORE__URL": url}}
    async with AsyncExitStack() as stack:
        for settings in more.values():
            async with running(upstream, directory, **_SETTINGS, **settings) as filling:
                address = filling.addresses["upstreams.main"]
                requests = [one(address, number) for number in range(count + 100)]
                await load(address, requests.__getitem__, count=len(requests), connections=32)
        subjects = {
            engine: await stack.enter_async_context(running(upstream, directory, **_SETTINGS, **settings))
            for engine, settings in more.items()
        }
        return await _in_turns(subjects, "hit in the database", one, count)


async def _noticed(replicas: list[Subject], count: int) -> list[Figure]:
    """From the answer to a PATCH through one replica until the other one shows it."""
    here, there = (replica.addresses["handshake"] for replica in replicas)
    (ensured,) = await _bodies(here, [_call(here, "POST", "/v1/users/ensure", {"userId": "u1"})])
    internal_id = ensured["id"]
    await _bodies(there, [_call(there, "POST", "/v1/users/ensure", {"userId": "u1"})])
    seconds: list[float] = []
    for number in range(count):
        said = {"departmentId": str(number)}
        await _bodies(here, [_call(here, "PATCH", f"/v1/users/{internal_id}", said)])
        began = perf_counter()
        shown = None
        while shown != str(number):
            (user,) = await _bodies(there, [get(there, f"/v1/users/{internal_id}")])
            shown = user["departmentId"]
        seconds.append(perf_counter() - began)
    seconds.sort()
    p99 = seconds[int(0.99 * len(seconds))] * 1000
    return [
        Figure("a change is known to another replica: p50", seconds[len(seconds) // 2] * 1000, "ms"),
        Figure("a change is known to another replica: p99", p99, "ms", _NOTICED_WITHIN),
    ]


def _call(address: str, method: str, path: str, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _bodies(address: str, requests: list[bytes]) -> list[dict[str, str]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    found = []
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        found.append(json.loads(await reader.readexactly(length)))
    writer.close()
    return found


async def _run(database: Database, count: int) -> list[Figure]:
    keep_off_the_subjects_core()
    shared = {"HANDSHAKE_STORE__URL": database.url}
    with tempfile.TemporaryDirectory() as filled, tempfile.TemporaryDirectory() as place:
        async with process_of("origin") as (address, _), AsyncExitStack() as stack:
            upstream = f"http://{address}"
            figures = await _from_the_database(upstream, Path(filled), database.url, count)
            subjects = {
                "SQLite": await stack.enter_async_context(running(upstream, Path(place), **_SETTINGS)),
                "PostgreSQL": await stack.enter_async_context(
                    running(upstream, Path(place), **_SETTINGS, **shared)
                ),
            }
            for engine, subject in subjects.items():
                figures.append(Figure(f"idle, {engine}: resident", subject.memory() / 2**20, "MiB"))
            figures += await _in_turns(subjects, "hit in memory", lambda where, _: one(where, 1), 20 * count)
            figures += await _in_turns(
                subjects, "miss", lambda where, number: one(where, 10_000_000 + number), count
            )
            other = await stack.enter_async_context(running(upstream, Path(place), **_SETTINGS, **shared))
            figures += await _noticed([subjects["PostgreSQL"], other], max(100, count // 10))
    return figures


def main() -> int:
    """Measure, print a table, and write the figures as JSON if asked to; 1 if a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3_000, help="requests of each load")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    with postgres_running() as server:
        server.sql(*_DURABLE)
        with server.database() as database:
            figures = uvloop.run(_run(database, arguments.count))
    return report(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
