"""Where the demo plays: the services, a whole proxy before them, and the application's client, in one event loop."""

import re
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import aiohttp
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from config.load import load
from proxy.app import App
from proxy.demo.services import BUSINESSES_BULK, USERS_BULK, Services

Source = Literal["upstream", "cache", "stale copy", "both", "none"]
"""Where an answer came from, as its Cache-Status says; an error of the proxy's own has none."""

_AXIOS = {
    "Accept": "application/json, text/plain, */*",
    "Content-Type": "application/json",
    "User-Agent": "axios/1.7.9",
    "Accept-Encoding": "gzip, compress, deflate, br",
}
_AXIOS_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Kind(Struct, frozen=True):
    """One of the two calls that the attendance service makes."""

    name: str
    path: str
    ids: str
    items: str


USER = Kind("user", USERS_BULK, "userIds", "users")
BUSINESS = Kind("business", BUSINESSES_BULK, "businessIds", "businesses")


class Answer(Struct, frozen=True):
    """What came back for one call. Times are seconds, `started` by the performance counter."""

    status: int
    source: Source
    fetched: int
    """How many ids the upstream was asked for meanwhile, by calls of this kind."""
    body: bytes
    started: float
    seconds: float


class Stage:
    """Services and proxy; enter it to start both. The store lives in `directory`, so it outlives a restart."""

    def __init__(self, directory: Path) -> None:
        self.services = Services()
        self.addresses: dict[str, str] = {}
        self.database = directory / "handshake.db"
        self.later = 0.0
        """Seconds by which the proxy's clock is ahead."""
        self._counts: Counter[str] = Counter()
        self._app: App | None = None
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.services.start()
        try:
            await self._start_proxy()
        except BaseException:
            await self.services.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_proxy()
        await self.services.stop()

    async def restart_proxy(self) -> None:
        """End the proxy and start a new one on the same store."""
        self._counts = await self.entities()
        await self._stop_proxy()
        await self._start_proxy()

    async def _start_proxy(self) -> None:
        environment = {
            "HANDSHAKE_UPSTREAMS__MAIN__URL": self.services.url,
            "HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
            "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:0",
            "HANDSHAKE_OPS__LISTEN": "127.0.0.1:0",
            "HANDSHAKE_STORE__URL": f"sqlite:///{self.database}",
        }
        app = App(load(None, environment), clock=lambda: time.time() + self.later)
        self.addresses = await app.start()
        self._app = app
        self._client = aiohttp.ClientSession(headers=_AXIOS, timeout=_AXIOS_TIMEOUT)

    async def _stop_proxy(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._app is not None:
            await self._app.stop()

    async def ask(self, kind: Kind, ids: tuple[str, ...]) -> Answer:
        """Make one bulk call through the proxy, as the attendance service does; status 0 if no answer came."""
        before = len(self.services.calls)
        started = time.perf_counter()
        url = f"http://{self.addresses['upstreams.main']}{kind.path}"
        status, body, cache_status = 0, b"", None
        # The script expects a status, so that it will say what is wrong.
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(url, json={kind.ids: list(ids)}) as response:
                body = await response.read()
                status, cache_status = response.status, response.headers.get("Cache-Status")
        seconds = time.perf_counter() - started
        calls = self.services.calls[before:]
        fetched = sum(len(asked) for route, asked in calls if route == kind.path)
        return Answer(status, source_of(cache_status), fetched, body, started, seconds)

    def expected_body(self, kind: Kind, ids: tuple[str, ...]) -> bytes:
        """The body that these ids must give: the very bytes of the services' items, in the order asked."""
        known = self.services.users if kind is USER else self.services.businesses
        items = [known[entity] for entity in ids if entity in known]
        return b'{"%b":[%b],"count":%d}' % (kind.items.encode(), b",".join(items), len(items))

    async def entities(self) -> Counter[str]:
        """How the ids asked so far were answered, by result, out of the proxy's own metrics."""
        async with self._session.get(f"http://{self.addresses['ops']}/metrics") as response:
            text = await response.text()
        counts = Counter(self._counts)
        for family in text_string_to_metric_families(text):
            if family.name == "handshake_proxy_entities":
                for sample in family.samples:
                    counts[sample.labels["result"]] += int(sample.value)
        return counts

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            raise RuntimeError("the stage has not been entered")
        return self._client


def source_of(cache_status: str | None) -> Source:
    """Where an answer came from, read out of its Cache-Status field (RFC 9211)."""
    if cache_status is None:
        return "none"
    if "fwd=miss" in cache_status:
        return "both"
    if "fwd=" in cache_status:
        return "upstream"
    return "stale copy" if re.search(r"ttl=-", cache_status) else "cache"
