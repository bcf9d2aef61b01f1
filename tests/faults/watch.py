"""What every test of a fault looks at: log lines, metrics, and whether anything of the fault is left behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from proxy.loader import Loader
from proxy.web.router import Router
from tests.integration.harness import PATIENCE, Proxy, Response, running

USER = "planted-user-zq7w"
"""An id that must be in no log line, metric or problem."""
TOKEN = "planted-token-xk9m"  # the same for a credential
HELD = "held-user"
"""An id that is fetched before the fault begins."""
# No part is hexadecimal digits alone: the numbers of traces and instances are, and would say it by chance.
_PLANTED = ("planted", "zq7w", "xk9m", HELD)
# In the name of tasks of the other end, which a test has in its own loop.
_OTHER_END = "ScriptedUpstream"

BULK = "/main/api/v3/users/bulk"
BUSINESSES = "/main/api/v3/businesses/bulk"
RESOURCES: dict[str, Any] = {
    "user": {
        "id": "/id",
        "columns": {"name": "/name"},
        "single": {"path": "/users/{id}"},
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        # A copy is stale after a minute, is never refreshed behind an answer, and outlives any failure.
        "freshness": {"ttl": "1m", "stale_while_revalidate": "0s", "stale_if_error": "90d", "jitter": 0},
    },
    "business": {
        "id": "/id",
        "storage": "memory",
        "bulk": {"path": BUSINESSES, "ids": "/businessIds", "items": "/businesses", "count": "/count"},
    },
}
HURRY = 0.2
"""Seconds that a call may take which hangs."""
TTL = 61.0
"""Seconds after which a copy is stale."""


@dataclass
class Watched:
    """A proxy, and what it says."""

    proxy: Proxy
    lines: list[Any]
    before: set["asyncio.Task[Any]"]

    def logged(self, event: str, **members: object) -> int:
        """How many lines there are of an event, with these members."""
        return sum(line["event"] == event and members.items() <= line.items() for line in self.lines)

    def errors(self) -> dict[str, float]:
        """`upstream_errors_total` by reason, without those that never moved."""
        counter = self.proxy.app.metrics._upstream_errors
        (family,) = counter.collect()
        found = {each.labels["reason"]: each.value for each in family.samples if each.name.endswith("_total")}
        return {reason: count for reason, count in found.items() if count}

    def says_nothing(self, *answers: Response) -> None:
        """No line, metric or problem names a planted id or credential."""
        problems = [each.body for each in answers if "problem+json" in each.field("content-type")]
        exposition = self.proxy.app.metrics.render("")[0]
        said = json.dumps(self.lines, default=repr) + exposition.decode() + b"".join(problems).decode()
        for word in _PLANTED:
            assert word not in said

    def connections(self) -> int:
        """Connections to upstreams that an exchange has now."""
        connectors = (upstream._connector for upstream in self.proxy.app._upstreams)
        return sum(len(connector._acquired) for connector in connectors if connector is not None)

    def waiting(self) -> int:
        """Those who wait for a connection of a pool, or for a flight; and the flights."""
        queued = sum(upstream._turns.waiting for upstream in self.proxy.app._upstreams)
        loaders = _loaders(self.proxy)
        return queued + sum(each._waiters + len(each._flights) + len(each._boarding) for each in loaders)

    def tasks(self) -> set["asyncio.Task[Any]"]:
        """Tasks that have begun since the proxy started, besides those of the other end."""
        begun = asyncio.all_tasks() - self.before
        return {each for each in begun if _OTHER_END not in repr(each.get_coro())}

    @contextmanager
    def hurried(self, *timeouts: str) -> Iterator[None]:
        """These time-outs are short, for what hangs; what is well keeps its time, however slow the machine is."""
        configs = {upstream: upstream.config for upstream in self.proxy.app._upstreams}
        try:
            for upstream, config in configs.items():
                upstream.config = config.model_copy(update=dict.fromkeys(timeouts, HURRY))
            yield
        finally:
            for upstream, config in configs.items():
                upstream.config = config

    async def settled(self) -> None:
        """Wait until nothing is left of what was asked: no client, no connection, no flight, no task."""
        await self.proxy.quiet()
        await until(lambda: not (self.connections() or self.waiting() or self.tasks()))


def _loaders(proxy: Proxy) -> Iterable[Loader]:
    for server in proxy.app._serving:
        router: object = server.request_handler
        if isinstance(router, Router):
            yield from (handler._resource.resolver._loader for handler in router._bulks.values())


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, as long as a test is patient."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0)


@asynccontextmanager
async def watched(url: str, directory: Path, **sections: Any) -> AsyncIterator[Watched]:
    """The proxy before one upstream, with users and businesses, and all that it logs."""
    sections = {"resources": RESOURCES, **sections}
    with capture_logs() as lines:
        async with running(url, directory, **sections) as proxy:
            yield Watched(proxy, lines, asyncio.all_tasks())
