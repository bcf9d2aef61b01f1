"""What comes of a simulation, of the average user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Way = Literal["none", "per pod", "shared"]
"""No proxy; each pod's own SQLite, which goes with the pod; PostgreSQL that all share."""

NAMES: dict[Way, str] = {"none": "no proxy", "per pod": "SQLite in each pod", "shared": "shared PostgreSQL"}


@dataclass(frozen=True, slots=True)
class Staleness:
    """Of the answers that were out of date. Seconds; 0 where none was."""

    share: float = 0.0
    """The part of all looked-up users that were."""
    p50: float = 0.0
    p99: float = 0.0
    longest: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float], lookups: int) -> "Staleness":
        """Of so many look-ups, those that were out of date by these seconds."""
        if not seconds:
            return cls()
        ordered = sorted(seconds)
        places = (int(part * (len(ordered) - 1) + 0.5) for part in (0.5, 0.99, 1.0))
        return cls(len(ordered) / lookups, *(ordered[place] for place in places))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the average user in a day. Rates are of a day; scale them by the number of users."""

    lookups: float
    upstream_ids: float
    """Ids that the owner was asked for; as many calls at the most."""
    rollout_ids: float
    """The rate of the same in the ten minutes after the last pod was replaced, of two days: ids for each look-up, by
    look-ups a day."""
    waits: float
    """The part of the requests for one user that waited for the owner."""
    bulk_waits: float
    """The part of the bulks that did, for one of their users or more."""
    told: Staleness
    """Out of date though some replica had been told, by the time since it had answered that."""
    untold: Staleness
    """Out of date by a change that nobody had told any replica of, by the time since that change."""
    statements: dict[str, float]
    """Calls of the database by kind, but for reads of the log (`bench.fleet.load.log_reads`)."""


def without_proxy(lookups: float) -> Outcome:
    """There is nothing to simulate: each look-up is an id that the owner is asked for, and up to date."""
    return Outcome(lookups, lookups, lookups, 1.0, 1.0, Staleness(), Staleness(), {})
