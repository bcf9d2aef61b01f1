"""When a failed call is tried again, and how many of these there may be."""

from collections.abc import Callable

BASE = 0.05
"""Seconds within which the first retry comes: what a connection that was cut needs, not what a restart takes."""
CAP = 1.0
"""Seconds within which any comes: the whole exchange has a few."""

WINDOW = 10.0
"""Seconds that each of the two counters of the budget stands for."""
SHARE = 0.1
"""Retries for each call, at the most: what a sick upstream can bear on top, and a passing fault needs."""


def delay(attempt: int, rng: Callable[[], float]) -> float:
    """Seconds to wait before retry `attempt` (from 0): full jitter over an exponential back-off.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. `rng` gives a number in [0, 1).
    """
    return rng() * min(CAP, BASE * 2.0 ** min(attempt, 10))


class RetryBudget:
    """Retries are at most a tenth of the calls of the last seconds: an upstream that is down gets no second storm.

    A few are allowed at any time (`floor`), or the first failure after a quiet time could not be retried. The window
    slides in steps: this counter and the one before it, so it has one to two of `WINDOW`. Times are monotonic seconds.
    """

    def __init__(self, floor: int) -> None:
        self._floor = floor
        self._began = float("-inf")
        self._calls = [0, 0]
        self._retries = [0, 0]

    def called(self, now: float) -> None:
        """A call is made; its retries do not count as calls."""
        self._turn(now)
        self._calls[0] += 1

    def take(self, now: float) -> bool:
        """Whether a retry may be made; if so, it is counted."""
        self._turn(now)
        if sum(self._retries) + 1 > max(self._floor, SHARE * sum(self._calls)):
            return False
        self._retries[0] += 1
        return True

    def _turn(self, now: float) -> None:
        if now - self._began < WINDOW:
            return
        is_next = now - self._began < 2 * WINDOW
        for counter in (self._calls, self._retries):
            counter[1] = counter[0] if is_next else 0
            counter[0] = 0
        self._began = self._began + WINDOW if is_next else now
