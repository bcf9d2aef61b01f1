"""Timers that the test lets run out."""

from collections.abc import Callable


class Timers:
    """What is to be called later, and when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Timer] = []

    def later(self, seconds: float, call: Callable[[], None]) -> "Timer":
        timer = Timer(self.now + seconds, call)
        self.due.append(timer)
        return timer

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.due if timer.at <= self.now]:
            self.due.remove(timer)
            if not timer.is_cancelled:
                timer.call()


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
