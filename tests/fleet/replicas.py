"""Real processes that share a database, and the upstream that they stand before."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.demo.services import Services
from tests.e2e.process import Process, serving
from tests.integration.harness import PATIENCE, Client, Reachable, Response

BULK = "/main/api/v3/users/bulk"
RESOURCES: dict[str, Any] = {
    "user": {
        "id": "/id",
        "columns": {"name": "/name"},
        "single": {"path": "/users/{id}"},
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        # Nothing is stale by its age, and what is stale is never shown while the owner answers.
        "freshness": {"ttl": "24h", "stale_while_revalidate": "0s", "stale_if_error": "90d", "jitter": 0},
    },
}
FORGET_THE_LOG = (
    "WITH gone AS (DELETE FROM handshake_proxy.changes RETURNING xid)"
    " UPDATE handshake_proxy.log SET pruned = newest.xid"
    " FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) AS newest WHERE newest.xid > pruned"
)
"""As `log_prune.sql` does it, of all that there is."""


class Owner(Services):
    """Users whose items say which version they are of; a PUT makes the next one."""

    def __init__(self, *, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.users.clear()
        self.held: set[str] = set()
        """Users of whom nothing is said until `go`: a call for one of them has been made, and hangs."""
        self.late: set[str] = set()
        """Users of whom what was true when they were asked for is said at `go`."""
        self.go = asyncio.Event()

    def add(self, *users: str) -> None:
        """Make users, of version 1."""
        for user in users:
            self.users[user] = item(user, 1)

    def change(self, user: str) -> int:
        """Make the next version, and tell nobody; which one it is."""
        number = version(self.users[user]) + 1
        self.users[user] = item(user, number)
        return number

    def _application(self) -> web.Application:
        application = super()._application()
        application.router.add_put("/users/{id}", self._put)
        application.middlewares.append(self._late)
        return application

    @web.middleware
    async def _late(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if request.match_info.get("id") in self.late:
            await self.go.wait()
        return answer

    async def _put(self, request: web.Request) -> web.Response:
        self.change(request.match_info["id"])
        return web.Response(status=204)

    async def _called(self, route: str, ids: tuple[str, ...]) -> None:
        await super()._called(route, ids)
        if self.held.intersection(ids):
            await self.go.wait()


def item(user: str, number: int) -> bytes:
    """A user as its owner has it."""
    return json.dumps({"id": user, "name": f"Name of {user}", "version": number}).encode()


def version(body: bytes) -> int:
    """Which version an item is of."""
    number: int = json.loads(body)["version"]
    return number


@asynccontextmanager
async def owner(*users: str, latency: float = 0.0) -> AsyncIterator[Owner]:
    """Listens, and knows these users."""
    one = Owner(latency=latency)
    one.add(*users)
    await one.start()
    try:
        yield one
    finally:
        one.go.set()
        await one.stop()


@asynccontextmanager
async def processes(
    source: Owner, directory: Path, *stores: str, **settings: str
) -> AsyncIterator[list[Process]]:
    """One replica for each URL of a store, which are ways to the same database; each hears of what others change."""
    async with AsyncExitStack() as stack:

        async def start(number: int, store: str) -> Process:
            own = directory / f"replica-{number}"
            own.mkdir(exist_ok=True)
            environment = {
                "HANDSHAKE_STORE__URL": store,
                "HANDSHAKE_RESOURCES": json.dumps(RESOURCES),
                **settings,
            }
            return await stack.enter_async_context(serving(source.url, own, **environment))

        replicas = [await start(number, store) for number, store in enumerate(stores)]
        for one in replicas:
            await hears(one)
        yield replicas


async def hears(replica: Reachable) -> None:
    """Wait until it is told of what others change."""
    await until(lambda: reads(replica, "change_log_listening"), lambda listening: listening == 1)


async def reads(replica: Reachable, metric: str) -> float:
    """A gauge of its metrics, which has no labels."""
    async with replica.client("ops") as ops:
        text = (await ops.get("/metrics")).body.decode()
    (value,) = re.findall(rf"^handshake_proxy_{metric} (\S+)$", text, re.MULTILINE)
    return float(value)


async def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> None:
    """Look again and again until what is seen is right, as long as a test is patient."""
    async with asyncio.timeout(3 * PATIENCE):
        while not holds(await look()):
            await asyncio.sleep(0.01)


async def shown(client: Client, user: str) -> int:
    """The version that a GET of one user shows."""
    answer = await client.get(f"/users/{user}")
    assert answer.status == 200, answer.body
    return version(answer.body)


async def first_shown(replica: Reachable, user: str, wanted: int) -> float:
    """When the answer was asked for that was the first to show that version (monotonic seconds)."""
    async with replica.client() as client, asyncio.timeout(PATIENCE):
        while True:
            asked_at = time.monotonic()
            if await shown(client, user) == wanted:
                return asked_at
            await asyncio.sleep(0.001)


async def put(client: Client, user: str) -> Response:
    """Have the owner make the next version, through a replica, which hears of it by that."""
    answer = await client.send_body("PUT", f"/users/{user}", b"", "Content-Length: 0\r\n")
    assert answer.status == 204, answer.body
    return answer
