"""What was asked, what was answered, and what was wrong with it."""

from collections import Counter
from dataclasses import dataclass

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be. Ids in it are made up."""

    at: float
    """Seconds from the start."""
    kind: str
    place: str
    detail: str


class Verdicts:
    """Counts everything, and keeps the first violations."""

    def __init__(self, started: float) -> None:
        self.started = started
        """Monotonic seconds: when the load began."""
        self.requests: Counter[str] = Counter()
        """By kind of request."""
        self.answers: Counter[str] = Counter()
        """By what came: a status, or `cut`."""
        self.caches: Counter[str] = Counter()
        """By what Cache-Status said."""
        self.judged: Counter[str] = Counter()
        """By what was held against the model."""
        self.excused: Counter[str] = Counter()
        """Failures, by the trouble that excuses them."""
        self.violations: list[Violation] = []
        self.kinds: Counter[str] = Counter()
        """All violations, by kind and place."""

    @property
    def wrong(self) -> int:
        """How many violations there were."""
        return self.kinds.total()

    def violation(self, now: float, kind: str, place: str, detail: str) -> None:
        """Something that must not be."""
        self.kinds[f"{place}: {kind}"] += 1
        if len(self.violations) < _SHOWN:
            self.violations.append(Violation(round(now - self.started, 2), kind, place, detail))
