"""The ops listener: liveness, readiness, start-up, metrics. It holds no entity data."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from proxy.messages import Answer, Reply, Request

_TEXT = b"text/plain; charset=utf-8"


class Health(Protocol):
    """What the probes ask of the instance. None of it looks at an upstream."""

    @property
    def started(self) -> bool:
        """Whether start-up has come to its end."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the listeners are up, the store is open or given up, and the instance is not draining."""
        ...


class OpsHandler:
    """Answers the ops listener."""

    def __init__(self, health: Health, render_metrics: Callable[[str], Awaitable[tuple[bytes, str]]]) -> None:
        self._health = health
        self._render_metrics = render_metrics

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        path = request.target.partition(b"?")[0]
        if path not in {b"/livez", b"/readyz", b"/startupz", b"/metrics"}:
            return _text(404, b"not found: try /livez, /readyz, /startupz or /metrics\n")
        if request.method not in {"GET", "HEAD"}:
            return Reply(405, [(b"Allow", b"GET, HEAD"), (b"Content-Type", _TEXT)], b"GET only\n", close=True)
        match path:
            case b"/metrics":
                body, content_type = await self._render_metrics(request.header("accept"))
                return Reply(200, [(b"Content-Type", content_type.encode())], body)
            case b"/readyz":
                return _state(self._health.ready, b"ready\n", b"not ready\n")
            case b"/startupz":
                return _state(self._health.started, b"started\n", b"starting\n")
            case _:
                return _text(200, b"live\n")


def _state(good: bool, yes: bytes, no: bytes) -> Reply:  # noqa: FBT001
    return _text(200 if good else 503, yes if good else no)


def _text(status: int, body: bytes) -> Reply:
    return Reply(status, [(b"Content-Type", _TEXT), (b"Cache-Control", b"no-store")], body)
