"""A flight: one upstream call for some entities, and those who wait for it."""

import asyncio

from msgspec import Struct, field

from proxy.core.http.fields import RawField
from proxy.results import Result
from store.entry import Entry
from store.generation import Watch


class Flight(Struct, eq=False):
    """What `proxy.loader.Loader` knows of one call. `landed` is set by `land` alone."""

    variant: str
    fields: tuple[RawField, ...]
    scope: tuple[RawField, ...]
    landed: asyncio.Future[dict[str, Result]]
    is_refresh: bool
    is_forced: bool = False
    """Whether somebody on board wants the upstream asked, whatever other replicas have stored."""
    is_ahead: bool = False
    """Whether no request has caused it."""
    is_waited_for: bool = False
    """Whether somebody waits for a refresh."""
    is_single: bool = True
    """Whether everybody on board prefers a single call."""
    held: dict[str, tuple[Entry, Watch]] = field(default_factory=dict)
    """What was held when it boarded, and whether it still stands: the validators of what was dropped are not sent."""
    ids: list[str] = field(default_factory=list)
    timer: asyncio.Handle | None = None
    """Of the take-off, until then."""
    took_off: float = 0.0
    """The loop's time, or 0 until then."""
    seen: Watch | None = None
    """What has changed since the call was made."""
    _waiters: set[asyncio.Future[None]] = field(default_factory=set)

    def land(self, results: dict[str, Result]) -> None:
        """Tell the waiters. Once."""
        self.landed.set_result(results)
        for waiter in self._waiters:
            _wake(waiter)

    async def wait(self, until: float) -> None:
        """Wait for the landing, until then (the loop's time) at the most: `asyncio.wait` costs three times as much."""
        if self.landed.done():
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_at(until, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
