"""How many of something are taken in a second."""


class Rate:
    """A token bucket: `per_second` on the average, and as many at once after a quiet second. Times are monotonic
    seconds."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._at = float("-inf")

    def take(self, now: float) -> float:
        """0 if one more may be taken, which is counted; else the seconds until there is room for one."""
        elapsed = now - self._at
        if elapsed >= 1.0:  # which the first one always has waited
            self._left = float(self._per_second)
        elif elapsed > 0:
            self._left = min(self._per_second, self._left + elapsed * self._per_second)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self._per_second
