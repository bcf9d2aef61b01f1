"""What an event costs, from its signature to its durable place: `make bench-webhooks`.

One event for each of a thousand users, again and again: with data, which is merged, and without, which has the user
fetched again behind the answer. SQLite, on the disk of the directory for temporary files; the load comes from this
process, on another core than the proxy's. Loopback only, bounded in count.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.figure import Figure, report
from bench.load import load, post
from bench.people import item
from bench.subject import Subject, keep_off_the_subjects_core, running
from proxy.demo.services import USERS_BULK, Services
from proxy.signatures import sign

_USERS = 1_000
_BULK = 100
_SECRET = "whsec_YmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggYmVuY2g="  # noqa: S105 - of this measurement alone
_SETTLED = 0.5
"""Seconds without a call of the upstream after which nothing waits to be fetched."""
_OUTCOMES = re.compile(r'handshake_proxy_webhook_events_total\{outcome="(\w+)",type="[^"]*"\} (\S+)')

Make = Callable[[int], bytes]
"""The body of an event, by its number."""


def _of(number: int) -> dict[str, object]:
    return {"type": "user.updated", "id": f"u{number % _USERS}", "version": 2 + number // _USERS}


def _with_data(number: int) -> bytes:
    said = _of(number)
    return json.dumps(said | {"data": {"version": said["version"], "name": f"Name {number}"}}).encode()


def _without(number: int) -> bytes:
    return json.dumps(_of(number)).encode()


def _signed(address: str, message: str, body: bytes) -> bytes:
    fields = sign(_SECRET, message, int(time.time()), body.decode())
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{lines}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _settled(services: Services) -> None:
    """Wait until what the events have had fetched has come."""
    before = -1
    while before != len(services.calls):
        before = len(services.calls)
        await asyncio.sleep(_SETTLED)


async def _outcomes(subject: Subject) -> dict[str, int]:
    return {outcome: int(float(count)) for outcome, count in _OUTCOMES.findall(await subject.metrics())}


async def _measured(
    services: Services, directory: Path, name: str, make: Make, *, wanted: str, count: int, connections: int
) -> list[Figure]:
    """Figures of so many events to a proxy of its own. Raises RuntimeError if they do not come to what is wanted."""
    file = directory / "webhook-secrets"
    file.write_text(f"{_SECRET}\n")
    settings = {
        "HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_WEBHOOKS__SECRET_FILE": str(file),
        "HANDSHAKE_WEBHOOKS__MAX_RATE": "1000000",
        "HANDSHAKE_RESOURCES__USER__SOURCE_VERSION": "/version",
    }
    async with running(services.url, directory, **settings) as subject:
        transparent, address = subject.addresses["upstreams.main"], subject.addresses["webhooks"]

        def fill(number: int) -> bytes:
            ids = [f"u{_BULK * number + one}" for one in range(_BULK)]
            return post(transparent, USERS_BULK, {"userIds": ids})

        await load(transparent, fill, count=_USERS // _BULK)
        await _settled(services)
        events = [_signed(address, f"msg_{number}", make(number)) for number in range(count)]
        services.forget()
        before = subject.cpu()
        latencies = await load(address, events.__getitem__, count=count, connections=connections)
        await _settled(services)
        cpu = (subject.cpu() - before) / count
        outcomes = await _outcomes(subject)
    if outcomes != {wanted: count}:
        raise RuntimeError(f"of {count} events to be {wanted}, these came to be: {outcomes}")
    label = f"{name}, {connections} connection{'s' if connections > 1 else ''}"
    return [
        Figure(f"{label}: rate", latencies.rate, "/s"),
        Figure(f"{label}: p50", latencies.quantile(0.5) * 1000, "ms"),
        Figure(f"{label}: p99", latencies.quantile(0.99) * 1000, "ms"),
        Figure(f"{label}: CPU of the proxy", cpu * 1e6, "us"),
        Figure(f"{label}: fetched, of an event", services.fetched.total() / count, ""),
    ]


async def _run(count: int) -> list[Figure]:
    keep_off_the_subjects_core()
    services = Services()
    services.users.clear()
    services.users |= {f"u{number}": item(f"u{number}")[:-1] + b', "version": 1}' for number in range(_USERS)}
    await services.start()
    figures: list[Figure] = []
    try:
        for name, make, wanted in (("with data", _with_data, "merged"), ("without", _without, "invalidated")):
            for connections in (1, 16):
                with tempfile.TemporaryDirectory() as directory:
                    figures += await _measured(
                        services,
                        Path(directory),
                        name,
                        make,
                        wanted=wanted,
                        count=count,
                        connections=connections,
                    )
    finally:
        await services.stop()
    return figures


def main() -> int:
    """Measure, print a table, and write the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3_000, help="events of each load")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    arguments = parser.parse_args()
    return report(uvloop.run(_run(arguments.count)), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
