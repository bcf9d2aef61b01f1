"""Plain numbers in which what happens often is counted, and how they come into Prometheus's at each scrape.

A counter of the library takes a lock for each number, and a histogram two: as long as all the rest of a hit.
"""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Histogram


class Spread:
    """What was observed for one histogram since the last look, by the bounds of its buckets."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def move_to(self, histogram: Histogram) -> int:
        """Add all of it there, and begin anew; how many there were."""
        observed = sum(self._counts)
        if observed:
            add(histogram, self._counts, self._total)
            self._counts = [0] * len(self._counts)
            self._total = 0.0
        return observed


class Tally:
    """What the hits of one route have come to since the last look. `seconds` and `ages` are the bounds of the buckets
    of their histograms, in seconds."""

    __slots__ = ("_age_bounds", "_bounds", "age", "ages", "ids", "least", "seconds", "took")

    def __init__(self, seconds: Sequence[float], ages: Sequence[float]) -> None:
        self._bounds = seconds
        self.least = seconds[0]
        """The first bound in seconds; nearly all that is counted here took no more."""
        self._age_bounds = ages
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.ids = 0
        self.seconds = 0.0
        self.took = [0] * (len(self._bounds) + 1)
        self.age = 0.0
        self.ages = [0] * (len(self._age_bounds) + 1)

    @property
    def requests(self) -> int:
        """How many were counted."""
        return sum(self.took)

    def bucket_of(self, age: float) -> int:
        """The index of the bucket in `ages` that an age belongs to."""
        return bisect_left(self._age_bounds, age)

    def duration_bucket(self, seconds: float) -> int:
        """The index of the bucket in `took` that a duration belongs to."""
        return bisect_left(self._bounds, seconds)

    def count(self, ids: int, age: float, bucket: int, seconds: float) -> None:
        """A request for so many ids was answered in so many seconds, the oldest of them of that age, in that bucket."""
        self.ids += ids
        self.age += age
        self.ages[bucket] += 1
        self.seconds += seconds
        self.took[0 if seconds <= self.least else self.duration_bucket(seconds)] += 1


def add(histogram: Histogram, counts: Sequence[int], total: float) -> None:
    """Add observations by bucket, and their sum, to one histogram (of one set of labels).

    The library has `observe` alone, for one at a time; tests/unit/test_tallies.py fails when what is under it changes.
    """
    for bucket, count in zip(histogram._buckets, counts, strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)  # noqa: SLF001
