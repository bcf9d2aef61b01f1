"""What the users of a simulated fleet and their owner do, and what follows from that by arithmetic alone.

An attendance service asks for a user when he logs in, switches the business or makes a record (a bulk of one), and when
somebody looks at a list that he stands in (a bulk of some tens). Each request goes to any of the replicas, at any time
of the day: where all of it falls into eight hours, rates of those hours are three times the ones of the day. At their
owner users change seldom: a phone number, an avatar, a role. Of half of it somebody tells the proxy, for it is changed
through it, or the owner sends an event; a single replica gets that.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import exp

HOUR, DAY = 3600.0, 86400.0

_READ_AFTER = 0.75
"""The log is read when so much of the poll interval has gone by without a notification (`store.sharing`)."""


@dataclass(frozen=True, slots=True)
class Load:
    """What happens to one user in a day."""

    lookups: float = 20.0
    """Of the average user: some ten of his own doing, and as many in lists."""
    in_lists: float = 0.5
    """The part of them that comes in bulks."""
    bulk: int = 20
    """Users in such a bulk: a page of a list."""
    zipf: float = 0.0
    """How unlike users are: the one of rank r is looked up as often as r to the power of minus this says. 0: all alike;
    0.5: the busiest hundredth ten times the average."""
    changes: float = 0.2
    """At the owner: each working week one."""
    told: float = 0.5
    """The part of these changes after which a replica is told to invalidate."""
    rollouts: bool = True
    """Whether all pods are replaced once a day, by a release or by nodes that make room."""

    def requests(self, users: int) -> float:
        """A second, of so many users."""
        singles = self.lookups * (1 - self.in_lists)
        return (singles + self.lookups * self.in_lists / min(self.bulk, users)) * users / DAY

    def told_changes(self, users: int) -> float:
        """A second, of so many users."""
        return self.changes * self.told * users / DAY


class Crowd:
    """A sample of the users: draws who is asked for, the busy more often."""

    def __init__(self, load: Load, users: int, rng: random.Random) -> None:
        self.users = [f"u{number}" for number in range(users)]
        self._rng = rng
        self._bulk = min(load.bulk, users)
        singles, bulks = 1 - load.in_lists, load.in_lists / self._bulk
        self._is_bulk = bulks / (singles + bulks)
        self._weights = list(accumulate(shares(users, load.zipf)))

    def asked(self) -> list[str]:
        """The different users of the next request."""
        count = self._bulk if self._rng.random() < self._is_bulk else 1
        drawn: dict[str, None] = {}
        while len(drawn) < count:
            drawn.update(
                dict.fromkeys(self._rng.choices(self.users, cum_weights=self._weights, k=count - len(drawn)))
            )
        return list(drawn)


def shares(users: int, zipf: float) -> Sequence[float]:
    """The part of all look-ups that is of each of a sample, which stands for slices of equal size of all users, the
    busiest first: the integral over its slice of a density that falls with the rank to the power of minus `zipf`, which
    is below 1."""
    ends = [(rank / users) ** (1 - zipf) for rank in range(users + 1)]
    return [end - start for start, end in pairwise(ends)]


def log_reads(replicas: int, told_changes: float, poll_interval: float) -> float:
    """Reads of the change log by all replicas, a second.

    Each of them reads at a change, of which there are `told_changes` a second at random times, or when no change has
    come for three quarters of the poll interval (seconds), whichever is first: on average after (1 - e^-rt) / r. At
    hundreds of changes a second there are fewer reads, for what comes while the log is read is read together.
    """
    longest = _READ_AFTER * poll_interval
    if told_changes * longest < 1e-6:
        return replicas / longest
    return replicas * told_changes / (1 - exp(-told_changes * longest))


def without_sharing(replicas: int, lookups: float) -> float:
    """What is asked of the owner for a user a day, at the least, where each of the replicas asks for itself: for each
    of them that looks the user up at all on a day, if look-ups come at random. Each begins empty once a day, or has
    copies that are good for a day."""
    return replicas * (1 - exp(-lookups / replicas))
