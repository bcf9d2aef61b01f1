"""Fetches behind an answer what a message has outdated: once a storm of messages is over, and not once for each."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from cachetools import TTLCache

QUIET: Final = 0.2
"""Seconds without another message about an entity after which it is fetched: an owner that writes in several steps
sends one for each of them. Who asks for it meanwhile has it fetched at once, as always."""

MOST: Final = 10_000
"""Entities that wait for that. What comes beyond is fetched when it is asked for."""


_LATELY: Final = 10.0
"""Seconds for which it is known that something was fetched so: longer than a fetch takes."""


class Timer(Protocol):
    """What can be called off."""

    def cancel(self) -> None:
        """Call it off."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Calls in so many seconds, as `asyncio.AbstractEventLoop.call_later` does."""


def _call_later(seconds: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, call)


class Refetching:
    """Of one resource. `refetch(entity)` has it fetched. `clock` gives seconds. Close it at the end."""

    def __init__(
        self, refetch: Callable[[str], None], *, clock: Callable[[], float], later: Later = _call_later
    ) -> None:
        self._refetch = refetch
        self._later = later
        self._waiting: dict[str, Timer] = {}
        self._lately: TTLCache[str, None] = TTLCache(MOST, _LATELY, timer=clock)

    def __len__(self) -> int:
        """How many entities wait to be fetched."""
        return len(self._waiting)

    def is_known(self, entity: str) -> bool:
        """Whether it waits to be fetched, or was fetched so a moment ago."""
        return entity in self._waiting or entity in self._lately

    def soon(self, entity: str) -> None:
        """Have it fetched when nothing more is said of it for a moment."""
        waiting = self._waiting.pop(entity, None)
        if waiting is not None:
            waiting.cancel()
        if len(self._waiting) < MOST:
            self._waiting[entity] = self._later(QUIET, lambda: self._now(entity))

    def not_any_more(self, entity: str) -> None:
        """There is nothing to be fetched of it."""
        self._lately.pop(entity, None)
        waiting = self._waiting.pop(entity, None)
        if waiting is not None:
            waiting.cancel()

    def close(self) -> None:
        """Fetch nothing any more. Idempotent."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    def _now(self, entity: str) -> None:
        del self._waiting[entity]
        self._lately[entity] = None
        self._refetch(entity)
