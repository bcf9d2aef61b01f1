"""A small user and business service on loopback: the upstream of the demo, the tests and the bench.

Items are kept as raw JSON bytes and answered as they are, so that a test can plant odd spacing, escapes or numbers
and look for exactly those bytes at the other end.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.demo.people import BUSINESSES, USERS

USERS_BULK = "/main/api/v3/users/bulk"
BUSINESSES_BULK = "/main/api/v3/businesses/bulk"

_MAX_BODY = 64 * 1024 * 1024
# How long a stop waits for handlers that are asleep in their latency. aiohttp takes 0 for "without end".
_STOP_TIMEOUT = 0.05
_HOST = "127.0.0.1"
_silent = logging.getLogger("handshake_proxy.demo")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Services:
    """Both services on one port. Start and stop it as often as needed; the port stays the same.

    Everything public may be changed while it runs. `latency` is in seconds and is waited for once per call, after the
    call was recorded.
    """

    def __init__(self, *, port: int = 0, latency: float = 0.0) -> None:
        self.port = port
        """The bound port; 0 before the first start unless one was asked for."""
        self.latency = latency
        self.users: dict[str, bytes] = dict(USERS)
        """The raw JSON of each user, by id."""
        self.businesses: dict[str, bytes] = dict(BUSINESSES)
        """The raw JSON of each business, by id."""
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        """Every call in order of arrival: its route as registered, and the ids that it asked for."""
        self.fetched: Counter[str] = Counter()
        """How often each id was asked for, whether it is known or not."""
        self._runner: web.AppRunner | None = None
        self._arrival = asyncio.Event()

    @property
    def url(self) -> str:
        """The base URL. Raises RuntimeError before the first start."""
        if not self.port:
            raise RuntimeError("the services have not been started yet")
        return f"http://{_HOST}:{self.port}"

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one. Raises OSError; does nothing when running."""
        if self._runner is not None:
            return
        runner = web.AppRunner(
            self._application(), access_log=None, logger=_silent, shutdown_timeout=_STOP_TIMEOUT
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, _HOST, self.port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Close the listening socket and cut every connection. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def forget(self) -> None:
        """Start counting anew."""
        self.calls.clear()
        self.fetched.clear()

    async def wait_for_calls(self, count: int) -> None:
        """Return once at least `count` calls have arrived, answered or not."""
        while len(self.calls) < count:
            self._arrival.clear()
            await self._arrival.wait()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_post(USERS_BULK, self._bulk(USERS_BULK, "userIds", "users", self.users))
        application.router.add_post(
            BUSINESSES_BULK, self._bulk(BUSINESSES_BULK, "businessIds", "businesses", self.businesses)
        )
        application.router.add_get("/users/{id}", self._single("/users/{id}", self.users))
        application.router.add_get("/businesses/{id}", self._single("/businesses/{id}", self.businesses))
        application.router.add_get("/health", _health)
        return application

    def _bulk(self, route: str, ids: str, items: str, known: dict[str, bytes]) -> "_Handler":
        async def handle(request: web.Request) -> web.Response:
            asked = _ids(await request.read(), ids)
            if asked is None:
                return _json(b'{"statusCode":400,"message":"Bad Request"}', 400)
            await self._called(route, asked)
            found = [known[entity] for entity in asked if entity in known]
            return _json(b'{"%b":[%b],"count":%d}' % (items.encode(), b",".join(found), len(found)))

        return handle

    def _single(self, route: str, known: dict[str, bytes]) -> "_Handler":
        async def handle(request: web.Request) -> web.Response:
            entity = request.match_info["id"]
            await self._called(route, (entity,))
            item = known.get(entity)
            return _json(b'{"statusCode":404,"message":"Not Found"}', 404) if item is None else _json(item)

        return handle

    async def _called(self, route: str, ids: tuple[str, ...]) -> None:
        self.calls.append((route, ids))
        self.fetched.update(ids)
        self._arrival.set()
        if self.latency > 0:
            await asyncio.sleep(self.latency)


_Handler = Callable[[web.Request], Awaitable[web.Response]]


async def _health(_request: web.Request) -> web.Response:
    return _json(b'{"status":"ok"}')


def _ids(body: bytes, member: str) -> tuple[str, ...] | None:
    """The ids of a bulk request, or None if it is not one."""
    try:
        document: object = json.loads(body)
    except ValueError:
        return None
    listed: object = document.get(member) if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(entity, str) for entity in listed):
        return None
    return tuple(listed)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")
