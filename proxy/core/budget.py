"""How many bytes of bodies may be held in memory at a time, whoever holds them (docs/decisions/0016).

A body that is streamed needs no budget: neither side of it is ever held. This is for those that are held as a whole:
what is looked into, what is kept, and what waits for a client that reads slowly.
"""

from types import TracebackType
from typing import Self

FREE = 16 * 1024
"""Bytes of each body of a client's connection that take nothing: plain look-ups work when the budget is spent. What
connections come to so is bounded by their number (`limits.connections`)."""
FREE_FILL = 256 * 1024
"""The same of an answer to the proxy's own call. Their number is bounded by `upstreams.*.max_connections`, and a full
bulk of users is below it: whoever reads nothing must not keep others from being fetched."""


class Share:
    """What one body holds of a budget. As a context manager it gives all back at the end, whatever the end is."""

    __slots__ = ("_budget", "_free", "_size", "is_refused")

    def __init__(self, budget: "Budget", free: int) -> None:
        self._budget = budget
        self._free = free
        self._size = 0
        self.is_refused = False
        """Whether there was once no room."""

    def take(self, size: int) -> bool:
        """Hold so many bytes more. False when there is no room for them: then nothing more is held than before."""
        over = max(0, self._size + size - self._free) - max(0, self._size - self._free)
        if self._budget.used + over > self._budget.limit:
            self.is_refused = True
            return False
        self._budget.used += over
        self._size += size
        return True

    def close(self) -> None:
        """Give all back. Idempotent."""
        self._budget.used -= max(0, self._size - self._free)
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Budget:
    """So many bytes for all bodies together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def share(self, free: int = FREE) -> Share:
        """A share that holds nothing yet; its first `free` bytes are not counted."""
        return Share(self, free)
