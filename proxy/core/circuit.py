"""The circuit breaker of an upstream: a state machine that is fed with the time.

| state | what happens | state after it |
|---|---|---|
| closed | a call succeeds | closed, and earlier failures are forgotten |
| closed | a call fails, the last of `failures` in a row within `window` | open |
| open | a call is asked for within `open_for` | open; the call is refused |
| open | a call is asked for after `open_for` | half_open; the call is let through: the probe |
| half_open | a call is asked for | half_open; the call is refused: there is one probe at a time |
| half_open | the probe succeeds | closed |
| half_open | the probe fails | open, for `open_for` from now |
| half_open | the probe is given up | open, for `open_for` from when it was let through |

Failures in a row, and not a share of the calls: at a thousand calls a second a few errors within a window are no
outage. A result that comes from before the last change of state is ignored: what a slow call of the outage says must
not close, nor open, what has changed since.
"""

from collections import deque
from typing import Literal

from msgspec import Struct

State = Literal["closed", "open", "half_open"]


class Permit(Struct, frozen=True):
    """Leave to make one call; its result is reported with it."""

    generation: int
    is_probe: bool


class Circuit:
    """One breaker. Times are monotonic seconds."""

    def __init__(self, *, failures: int, window: float, open_for: float) -> None:
        self._window = window
        self._open_for = open_for
        # When the last failures were; as many as matter.
        self._failed_at: deque[float] = deque(maxlen=failures)
        self._state: State = "closed"
        self._generation = 0
        self._until = 0.0
        """When the next probe may be let through, unless it is closed."""

    def state(self, now: float) -> State:
        """The state; half_open, too, where the next call would be the probe."""
        return "half_open" if self._state == "open" and now >= self._until else self._state

    def retry_in(self, now: float) -> float:
        """Seconds until a call has a chance to be let through; 0 where it has one now."""
        return 0.0 if self._state == "closed" else max(0.0, self._until - now)

    def admit(self, now: float) -> Permit | None:
        """Leave to make a call, or None. Each permit has to come back, to `record` or to `abandon`."""
        if self._state == "closed":
            return Permit(self._generation, is_probe=False)
        if self._state == "half_open" or now < self._until:
            return None
        self._become("half_open")
        self._until = now + self._open_for
        return Permit(self._generation, is_probe=True)

    def record(self, permit: Permit, now: float, *, ok: bool) -> None:
        """A call has ended."""
        if not self.is_current(permit):
            return
        if ok:
            self._failed_at.clear()
            if permit.is_probe:
                self._become("closed")
            return
        self._failed_at.append(now)
        in_a_row = len(self._failed_at) == self._failed_at.maxlen
        if permit.is_probe or (in_a_row and now - self._failed_at[0] < self._window):
            self._become("open")
            self._until = now + self._open_for

    def abandon(self, permit: Permit) -> None:
        """A call was given up before it had a result: that says nothing of the upstream."""
        if permit.is_probe and self.is_current(permit):
            self._become("open")

    def is_current(self, permit: Permit) -> bool:
        """Whether the state has not changed since this was given."""
        return permit.generation == self._generation

    def _become(self, state: State) -> None:
        self._state = state
        self._generation += 1
