"""Wall time that never steps back while the program runs.

Ages are differences of wall times, for they outlive the process in the database. A clock that is set back by a day
would keep all that is held fresh for a day longer than anybody has allowed: here that day goes on passing instead. A
clock that is set forward is followed at once. What is told apart from the origin's own dates takes the plain clock.
"""

from collections.abc import Callable


class SteadyClock:
    """Epoch seconds: at least as many go by as `monotonic` says, whatever is done to `wall`."""

    __slots__ = ("_monotonic", "_offset", "_wall")

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def __call__(self) -> float:
        """The time now."""
        monotonic = self._monotonic()
        offset = self._wall() - monotonic
        if offset > self._offset:  # noqa: PLR1730 - each hit asks for the time, and `max` takes as long as both clocks
            self._offset = offset
        return monotonic + self._offset

    def ahead(self) -> float:
        """Seconds by which this is ahead of the plain clock: what that was set back, less what it has caught up."""
        return self() - self._wall()
