"""A line of those who want an upstream: so many at a time, and nobody stands in it for longer than is of use."""

import asyncio
from types import TracebackType

from proxy.exchange import AGAIN_IN, UpstreamError


class Turns:
    """At most `count` have their turn at a time."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.waiting = 0
        """Those who stand in line."""

    def turn(self, within: float) -> "_Turn":
        """Have a turn, for what has to be done `within` so many seconds.

        Half of them may pass in line: who has stood there for longer would hardly see the answer. Raises UpstreamError
        ("overloaded"); the upstream was not asked then.
        """
        return _Turn(self, within)

    async def take(self, within: float) -> None:
        """The same for who calls `release` at the end."""
        limit = asyncio.timeout(within / 2)
        if not self._free.locked():
            await (
                self._free.acquire()
            )  # at once: a clock that is set and stopped would cost more than all the rest
            return
        self.waiting += 1
        try:
            async with limit:
                await self._free.acquire()
        except TimeoutError:
            raise UpstreamError("overloaded", retry_after=AGAIN_IN) from None
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """End a turn."""
        self._free.release()


class _Turn:
    """A context with a turn in it."""

    __slots__ = ("_turns", "_within")

    def __init__(self, turns: Turns, within: float) -> None:
        self._turns = turns
        self._within = within

    async def __aenter__(self) -> None:
        await self._turns.take(self._within)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.release()
