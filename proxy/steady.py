"""Wall time that never steps back while the program runs.

Ages are differences of wall times, for they outlive the process in the database. A clock that is set back by a day
would keep all that is held fresh for a day longer than anybody has allowed: here that day goes on passing instead. A
clock that is set forward is followed at once. What is told apart from the origin's own dates takes the plain clock.
"""

from collections.abc import Callable


class SteadyClock:
    """Epoch seconds: at least as many go by as `monotonic` says, whatever is done to `wall`."""

    __slots__ = ("_wall", "monotonic", "offset")

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self.offset = wall() - monotonic()
        """What the time was ahead of `monotonic` when it was last asked for. With it one clock tells both, and a step
        forward of `wall` is seen when somebody asks again."""

    def __call__(self) -> float:
        """The time now."""
        monotonic = self.monotonic()
        offset = self._wall() - monotonic
        if offset > self.offset:  # noqa: PLR1730 - many ask for the time, and `max` takes as long as both clocks
            self.offset = offset
        return monotonic + self.offset

    def ahead(self) -> float:
        """Seconds by which this is ahead of the plain clock: what that was set back, less what it has caught up."""
        return self() - self._wall()
