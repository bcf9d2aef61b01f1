"""A line of those who want an upstream: so many at a time, and nobody stands in it for longer than is of use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.exchange import AGAIN_IN, UpstreamError


class Turns:
    """At most `count` have their turn at a time."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.waiting = 0
        """Those who stand in line."""

    @asynccontextmanager
    async def turn(self, within: float) -> AsyncIterator[None]:
        """Have a turn, for what has to be done `within` so many seconds.

        Half of them may pass in line: who has stood there for longer would hardly see the answer. Raises UpstreamError
        ("overloaded"); the upstream was not asked then.
        """
        self.waiting += 1
        try:
            async with asyncio.timeout(within / 2):
                await self._free.acquire()
        except TimeoutError:
            raise UpstreamError("overloaded", retry_after=AGAIN_IN) from None
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()
