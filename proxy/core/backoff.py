"""When a sick upstream is asked again for what there is a copy of: later after each failure."""

from collections.abc import Callable

BASE = 1.0
"""Seconds after the first failure: about what a restart takes."""
CAP = 30.0
"""Seconds at the most: an upstream that is back is noticed within this, at the cost of two calls a minute."""


class Backoff:
    """Exponential back-off with jitter between the half and the whole of a delay. Times are monotonic seconds.

    Half of the delay is certain: with full jitter a call in ten would follow at once, and there is no hurry here.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._until = float("-inf")

    def is_on(self, now: float) -> bool:
        """Whether the upstream is to be left alone."""
        return now < self._until

    def failed(self, now: float, rng: Callable[[], float], *, retry_after: float | None = None) -> None:
        """A call failed; `retry_after` is the upstream's own wish in seconds. `rng` gives a number in [0, 1)."""
        if not self.is_on(now):  # calls that were under way together have failed once
            delay = min(CAP, BASE * 2.0 ** min(self._failures, 10))
            self._failures += 1
            self._until = now + delay * (0.5 + 0.5 * rng())
        if retry_after is not None:
            self._until = max(self._until, now + retry_after)

    def succeeded(self) -> None:
        """A call went well: the next failure is a first one."""
        self._failures = 0
        self._until = float("-inf")
