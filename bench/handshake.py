"""How long the calls of the handshake API take: `make bench`.

Each figure stands beside its target. The load comes from this process, on another core than the proxy's. Everything
is bounded in count and time, on loopback only.
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.figure import Figure, report
from bench.load import Latencies, get, load, post
from bench.people import populate, write_lines
from bench.subject import Subject, keep_off_the_subjects_core, running, settings
from proxy.demo.services import Services

_LATENCY = 0.150
"""Seconds that each upstream call takes in the first-login measurement."""
_HISTOGRAM = re.compile(
    r'handshake_proxy_request_duration_seconds_bucket\{cache="(\w+)",le="([^"]+)",route="([^"]+)"\} (\S+)'
)


async def _server_p99(subject: Subject, route: str, cache: str) -> float:
    """The upper bound of the histogram's bucket that 99 of 100 requests are in, in seconds."""
    text = await subject.metrics()
    buckets = [
        (float(le), float(count))
        for its_cache, le, its_route, count in _HISTOGRAM.findall(text)
        if (its_route, its_cache) == (route, cache)
    ]
    total = max(count for _, count in buckets)
    return min(le for le, count in buckets if count >= 0.99 * total)


async def _first_logins(services: Services, directory: Path) -> list[Figure]:
    populate(services, 60, 60)
    services.latency = _LATENCY
    async with running(services.url, directory) as subject:
        address = subject.addresses["handshake"]

        def request(index: int) -> bytes:
            return post(address, "/v1/login", {"userId": f"u{index}", "businessId": f"b{index}"})

        latencies = await load(address, request, count=60)
    services.latency = 0.0
    return [
        Figure("first login, both upstreams 150 ms: median", latencies.quantile(0.5) * 1000, "ms", 165),
        Figure("first login, both upstreams 150 ms: p99", latencies.quantile(0.99) * 1000, "ms"),
    ]


async def _measured(
    subject: Subject, name: str, request: Callable[[int], bytes], *, count: int, connections: int
) -> tuple[Latencies, list[Figure]]:
    before = subject.cpu()
    latencies = await load(subject.addresses["handshake"], request, count=count, connections=connections)
    cpu = (subject.cpu() - before) / count
    label = f"{name}, {connections} connection{'s' if connections > 1 else ''}"
    return latencies, [
        Figure(f"{label}: p50 at the client", latencies.quantile(0.5) * 1000, "ms"),
        Figure(f"{label}: p99 at the client", latencies.quantile(0.99) * 1000, "ms"),
        Figure(f"{label}: CPU of the proxy", cpu * 1e6, "us"),
        Figure(f"{label}: rate", latencies.rate, "/s"),
    ]


async def _returning(services: Services, directory: Path, count: int) -> list[Figure]:
    populate(services, 1000, 10)
    figures: list[Figure] = []
    async with running(services.url, directory) as subject:
        address = subject.addresses["handshake"]

        def login(index: int) -> bytes:
            return post(address, "/v1/login", {"userId": f"u{index % 1000}", "businessId": f"b{index % 10}"})

        def exists(index: int) -> bytes:
            return post(address, "/v1/users/exists", {"userId": f"u{index % 1000}"})

        await load(address, login, count=1000, connections=8)
        for name, request in (("returning login", login), ("existence", exists)):
            for connections in (1, 32):
                _, found = await _measured(subject, name, request, count=count, connections=connections)
                figures += found
            paced = await load(address, request, count=count // 2, connections=32, rate=1000)
            target = 2.0 if name == "returning login" else None
            label = f"{name}, 32 connections, 1,000 a second: p99 at the client"
            figures.append(Figure(label, paced.quantile(0.99) * 1000, "ms", target))
        for name, route, target in (("returning login", "login", 1.0), ("existence", "users.exists", 0.5)):
            seconds = await _server_p99(subject, route, "hit")
            figures.append(Figure(f"{name}: p99 server-side, at most", seconds * 1000, "ms", target))
    return figures


async def _million(services: Services, directory: Path, count: int) -> list[Figure]:
    populate(services, 0, 1)
    lines = directory / "users.jsonl"
    write_lines(lines, count)
    started = time.perf_counter()
    command = [sys.executable, "-m", "proxy.cli", "import", str(lines)]
    await asyncio.to_thread(
        subprocess.run, command, env=settings(services.url, directory), check=True, stderr=subprocess.DEVNULL
    )
    figures = [Figure(f"import of {count:,} users", time.perf_counter() - started, "s", 120)]
    size = (directory / "handshake.db").stat().st_size
    figures.append(Figure("database, per user", size / count, "bytes", 1024))
    chosen = random.Random(7).sample(range(count), 4000)  # noqa: S311 - no secret
    async with running(services.url, directory) as subject:
        address = subject.addresses["handshake"]
        business = post(address, "/v1/businesses/ensure", {"businessId": "b0"})
        await load(address, lambda _: business, count=1)

        def exists(index: int) -> bytes:
            return post(address, "/v1/users/exists", {"userId": f"u{chosen[index]}"})

        def login(index: int) -> bytes:
            return post(address, "/v1/login", {"userId": f"u{chosen[2000 + index]}", "businessId": "b0"})

        for name, request in (("existence", exists), ("login", login)):
            latencies = await load(address, request, count=2000)
            figures.append(
                Figure(f"{name} of a random one of them: median", latencies.quantile(0.5) * 1000, "ms", 1.0)
            )
        page = get(address, "/v1/users/stale?hours=0&limit=100")
        latencies = await load(address, lambda _: page, count=200)
        figures.append(
            Figure("stale listing, first page of 100: median", latencies.quantile(0.5) * 1000, "ms", 5.0)
        )
        figures.append(Figure("resident memory of the proxy", subject.memory() / 2**20, "MiB"))
    return figures


async def _run(count: int, users: int) -> list[Figure]:
    keep_off_the_subjects_core()
    services = Services()
    await services.start()
    figures: list[Figure] = []
    try:
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            for name in ("first", "returning", "many"):
                (directory / name).mkdir()
            figures += await _first_logins(services, directory / "first")
            figures += await _returning(services, directory / "returning", count)
            if users:
                figures += await _million(services, directory / "many", users)
    finally:
        await services.stop()
    return figures


def main() -> int:
    """Measure, print a table, and write the figures as JSON if asked to; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="requests of each load")
    parser.add_argument(
        "--users", type=int, default=1_000_000, help="users to import; 0 leaves that part out"
    )
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    figures = uvloop.run(_run(arguments.count, arguments.users))
    return report(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
