"""Which copies are fetched again before they are stale, and how many calls that may cost: no more than it saves.

Without a refresher a copy that has come to its end is fetched again behind the first request that finds it so. Of an
entity that is asked for at random, `p` times a second, one such call comes every `lifetime + 1/p` seconds. What `p` is
nobody knows, but the time `u` since it was asked for last says enough: on average over time,

    exp(-u / lifetime)  is  p * lifetime / (1 + p * lifetime),

the calls that requests would cause within one lifetime. (`u` has the density `p * exp(-p * u)`.) So the sum of
`exp(-u / lifetime) / lifetime` over all copies is `r`, the ids a second that requests would have fetched again. Those
gather for `gathers` seconds into one call, which makes `r / (1 + r * gathers)` calls a second, or `r / seats`, if
those are full. What was asked for within the same hundredth of a second was asked for together, would be fetched
together, and counts once.

A refresher's call renews as many as the upstream takes at a time. It is allowed SHARE of the calls that requests would
cause, less those that they do cause (`Pace`): as long as copies come to their end all the same, it saves nothing, and
has nothing to spend. With 100 ids a call each copy is renewed up to 90 times within one lifetime. Beyond that it may
make one call for several copies that would each have cost one within the next moments.

What is taken (`Survey`): first what goes stale before the next round, the soonest first, among equals the one that was
used last. Then what gains most by it. A copy of age `a` that is renewed at regular intervals was out of date for some
`a * a` of the time, by how often that was asked for: about `1 / u`. The one whose `a * a / u` is largest comes first:
that makes the intervals of two copies inversely proportional to the square roots of how often they are asked for,
which is the best that a given number of renewals can do. A lifetime that the origin has stated for an entity is taken
for a word about how often it changes: `a * a / (lifetime * u)`.
"""

from collections.abc import Iterable
from heapq import nlargest
from math import ceil, exp, floor
from typing import Final

from msgspec import Struct

from store.entry import Entry
from store.slot import Slot

SHARE: Final = 0.9
"""Of the calls that requests would have caused: what that is was estimated, and a start costs some more."""

IDLE: Final = 10.0
"""Lifetimes after its last use for which a copy is renewed. What nobody asks for any more comes to its end."""

SPENT: Final = 0.95
"""Of its lifetime a copy must have had when it is renewed instead of the request that would do it: earlier means more
often. Alone in its call it costs a twentieth more at the most."""

SURE: Final = 0.9
"""Calls that requests would surely make, for each that is made in their place."""

_MOMENTS: Final = 100
"""A second: what was asked for together was used within one of them."""


class Pace:
    """How many calls the refresher of one resource may make. `seats`: ids that one call may ask for; `gathers`: seconds
    for which refreshes that requests cause wait for each other; `interval`: seconds between two rounds."""

    def __init__(self, *, seats: int, gathers: float, interval: float) -> None:
        self._seats = seats
        self._gathers = gathers
        self._interval = interval
        self.credit = 0.0
        """Calls."""
        self.calls_per_second = 0.0
        """That requests would cause."""

    def pass_time(self, seconds: float, *, caused: int) -> None:
        """So many seconds have passed, in which requests have caused so many calls for what was held.

        At most two rounds' worth is kept: what could not be spent, for the upstream was failing, is not made up for.
        """
        gained = SHARE * self.calls_per_second
        credit = self.credit + gained * min(seconds, 2 * self._interval) - caused
        self.credit = max(0.0, min(credit, 1.0 + 2 * self._interval * gained))

    def expect(self, ids_per_second: float) -> None:
        """Requests would have fetched so many ids again each second."""
        gathered = ids_per_second / (1 + ids_per_second * self._gathers)
        self.calls_per_second = max(gathered, ids_per_second / self._seats)

    def affords(self, due: int, weight: float, batch: int) -> int:
        """Calls that may be made now, of `batch` ids each. So many copies are `due`, for which requests would make
        `weight` calls."""
        in_their_place = min(ceil(due / batch), floor(weight / SURE))
        return max(floor(self.credit), in_their_place)

    def spend(self, calls: int) -> None:
        """So many calls have been made."""
        self.credit = max(0.0, self.credit - calls)


class Candidate(Struct, frozen=True):
    """A copy that may be renewed. It stands while `slot.entry is entry`."""

    id: str
    slot: Slot
    entry: Entry


class Survey:
    """A look at all copies of a resource at `now` (epoch seconds), a piece at a time: a full memory takes a while.

    `interval`: seconds until the next round. Up to `most` copies are remembered besides those that are due.
    """

    def __init__(self, now: float, *, interval: float, most: int) -> None:
        self._now = now
        self._interval = interval
        self._most = most
        self._moments: set[int] = set()
        self._due: list[tuple[float, float, str, Candidate]] = []
        self._others: list[tuple[float, str, Slot, Entry]] = []
        self.ids_per_second = 0.0
        """That requests would fetch again."""
        self.weight = 0.0
        """Calls that requests would make for what is due."""

    @property
    def due(self) -> int:
        """How many copies go stale before the next round."""
        return len(self._due)

    def add(self, places: Iterable[tuple[str, Slot]]) -> None:
        """Look at the copies in these places, by id: 1 ms for some 1,000."""
        now, interval, moments, others = self._now, self._interval, self._moments, self._others
        for entity, slot in places:
            entry = slot.entry
            if entry is None or entry.item is None or entry.absent:
                continue
            lifetime = entry.lifetime - entry.initial_age
            unused = max(0.0, now - slot.used_at)
            if lifetime <= 0 or unused >= IDLE * lifetime:
                continue
            moment = int(slot.used_at * _MOMENTS)
            weight = 0.0
            if moment not in moments:
                moments.add(moment)
                weight = exp(-unused / lifetime)
                self.ids_per_second += weight / lifetime
            age = max(0.0, now - entry.received_at)
            left = lifetime - age
            if left < interval and left <= (1 - SPENT) * lifetime and unused < lifetime:
                self.weight += weight
                self._due.append((now + left, -slot.used_at, entity, Candidate(entity, slot, entry)))
            else:
                # What was used in this very moment is not infinitely popular: rounds are the measure of time here.
                gain = age * age / (lifetime * (unused + interval))
                others.append((gain, entity, slot, entry))
        self._others = nlargest(self._most, others, key=_gain)

    def taken(self, count: int) -> list[Candidate]:
        """Up to so many of them, in their order."""
        due = [candidate for *_, candidate in sorted(self._due, key=_soonest)]
        others = (Candidate(entity, slot, entry) for _, entity, slot, entry in self._others)
        return [*due, *others][:count]


def _gain(place: tuple[float, str, Slot, Entry]) -> float:
    return place[0]


def _soonest(place: tuple[float, float, str, Candidate]) -> tuple[float, float, str]:
    return place[:3]
