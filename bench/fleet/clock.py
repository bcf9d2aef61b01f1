"""An event loop whose time is simulated: it jumps to the next timer, and nobody waits."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Looks at no file: whoever would wait for one gets the time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time go by at once. Raises RuntimeError if there is nothing to wait for."""
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Timers fire in their order, as soon as nothing else is ready; `time()` is what they say it is, from 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Simulated seconds."""
        return self._jumping.now


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """What it returns, run in simulated time. Raises RuntimeError if anything failed besides that nobody waited for."""
    loop = SimulatedLoop()
    failed: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failed.append(context))
    try:
        result = loop.run_until_complete(work)
    finally:
        loop.close()
    if failed:
        raise RuntimeError(failed[0]["message"]) from failed[0].get("exception")
    return result
