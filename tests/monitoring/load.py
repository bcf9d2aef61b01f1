"""An application that makes everything happen that a metric tells of."""

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from proxy.demo.services import BUSINESSES_BULK, Services
from tests.e2e.process import Process, serving
from tests.integration.harness import ScriptedUpstream, Seen
from tests.integration.signed import event, send, webhooks

_BUSINESSES: Final = 200
_ROUND: Final = 10
"""New users in each round."""
_FORGED: Final = f"whsec_{base64.b64encode(b'f' * 32).decode()}"

_ENVIRONMENT: Final = {
    # Both faces of a user; soon stale, soon unusable, so that there are revalidations and misses by age.
    "HANDSHAKE_RESOURCES__USER__SINGLE__PATH": "/users/{id}",
    "HANDSHAKE_RESOURCES__USER__FRESHNESS__TTL": "300ms",
    "HANDSHAKE_RESOURCES__USER__FRESHNESS__NEGATIVE_TTL": "300ms",
    # Memory for fewer businesses than there are.
    "HANDSHAKE_MEMORY__MAX_BYTES": "64KiB",
    "HANDSHAKE_UPSTREAMS__MAIN__CIRCUIT__FAILURES": "2",
    "HANDSHAKE_UPSTREAMS__MAIN__CIRCUIT__OPEN_FOR": "100ms",
    # An owner who refuses the proxy.
    "HANDSHAKE_UPSTREAMS__REFUSING__LISTEN": "127.0.0.1:0",
    "HANDSHAKE_RESOURCES__DEPARTMENT__UPSTREAM": "refusing",
    "HANDSHAKE_RESOURCES__DEPARTMENT__ID": "/id",
    "HANDSHAKE_RESOURCES__DEPARTMENT__STORAGE": "memory",
    "HANDSHAKE_RESOURCES__DEPARTMENT__BULK": "{path: /departments, ids: /ids, items: /departments}",
    # What is told of changes, what is fetched ahead, and what is found out of date.
    "HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:0",
    "HANDSHAKE_REFRESH__ENABLED": "true",
    "HANDSHAKE_REFRESH__INTERVAL": "500ms",
    "HANDSHAKE_AUDIT__SAMPLE_RATIO": "0.5",
    "HANDSHAKE_AUDIT__MAX_RATE": "10",
}


class Load:
    """The application, and those around it."""

    def __init__(self, proxy: Process, services: Services, database: Path) -> None:
        self.proxy = proxy
        self._services = services
        self._database = database
        self._round = 0

    async def run(self) -> None:
        """Round after round, until it is cancelled."""
        while True:
            await self._peace()
            if not self._round:
                await self._locked_database()
            await self._outage()
            self._round += 1

    async def _peace(self) -> None:
        new = [f"{self._round}-{number}" for number in range(_ROUND)]
        self._services.users |= {user: json.dumps({"id": user, "name": "N"}).encode() for user in new}
        await asyncio.gather(*(self.proxy.users(*new, "nobody") for _ in range(3)))
        await self.proxy.users(*new)
        await self._businesses()
        login = await self.proxy.call("POST", "/v1/login", {"userId": new[0], "businessId": "biz-01"})
        if login.status == 200:
            await self.proxy.call("DELETE", f"/v1/users/{login.json()['user']['id']}")
        async with self.proxy.client() as client:
            await client.get("/health")
            await client.get(f"/users/{new[1]}")
            await client.get(f"/users/{new[2]}?fields=name")
        async with self.proxy.client("upstreams.refusing") as client:
            await client.post("/departments", b'{"ids":["d"]}')
        await self._changes(new)

    async def _changes(self, users: list[str]) -> None:
        """The owner changes users that are held, and says so of one of them. Somebody else does it of another."""
        await self.proxy.users(*users)
        self._services.users |= {user: json.dumps({"id": user, "name": "M"}).encode() for user in users}
        await self.proxy.users(*users)
        async with self.proxy.client("webhooks") as client:
            await send(client, event(users[0]), time.time())
            await send(client, event(users[1]), time.time(), secret=_FORGED)

    async def _businesses(self) -> None:
        async with self.proxy.client() as client:
            for first in range(0, _BUSINESSES, 50):
                ids = [f"b{number}" for number in range(first, first + 50)]
                await client.post(BUSINESSES_BULK, json.dumps({"businessIds": ids}).encode())

    async def _outage(self) -> None:
        await self._services.stop()
        for number in range(4):
            await self.proxy.users(f"{self._round}-lost-{number}")
        await self.proxy.users(f"{self._round}-1")
        await self._services.start()

    async def _locked_database(self) -> None:
        """Somebody's shell is in a transaction for longer than the proxy waits."""
        shell = sqlite3.connect(self._database, isolation_level=None)
        try:
            shell.execute("BEGIN IMMEDIATE")
            async with self.proxy.client("ops") as ops:
                while b"handshake_proxy_store_errors_total{" not in (await ops.get("/metrics")).body:
                    await self.proxy.call("POST", "/v1/users/ensure", {"userId": "0-5"})
        finally:
            shell.close()


async def _refuse(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def under_load(directory: Path) -> AsyncIterator[Process]:
    """A real proxy whose application does not leave it alone."""
    services = Services(latency=0.02)
    services.businesses |= {
        f"b{number}": json.dumps({"id": f"b{number}", "name": "B" * 400}).encode()
        for number in range(_BUSINESSES)
    }
    await services.start()
    try:
        async with ScriptedUpstream(_refuse) as refusing:
            environment = _ENVIRONMENT | {
                "HANDSHAKE_UPSTREAMS__REFUSING__URL": refusing.url,
                "HANDSHAKE_WEBHOOKS__SECRET_FILE": webhooks(directory)["secret_file"],
            }
            async with serving(services.url, directory, **environment) as proxy:
                load = asyncio.create_task(Load(proxy, services, directory / "handshake.db").run())
                try:
                    yield proxy
                finally:
                    load.cancel()
                    await asyncio.wait([load])
                    if not load.cancelled():
                        load.result()  # it came to an end by itself, which is a failure
    finally:
        await services.stop()
