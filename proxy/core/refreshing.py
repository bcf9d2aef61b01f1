"""Which copies are fetched again before they are stale, and how many calls that may cost: no more than it saves.

Without a refresher a copy that has come to its end is fetched again behind the first request that finds it so. Of an
entity that is asked for at random, `p` times a second, one such call comes every `lifetime + 1/p` seconds. What `p` is
nobody knows, but the time `u` since it was asked for last says enough: on average over time,

    exp(-u / lifetime)  is  p * lifetime / (1 + p * lifetime),

the calls that requests would cause within one lifetime. (`u` has the density `p * exp(-p * u)`.) So the sum of
`exp(-u / lifetime) / lifetime` over all copies is `r`, the ids a second that requests would have fetched again. Those
gather for `gathers` seconds into one call, which makes `r / (1 + r * gathers)` calls a second, or `r / seats`, if
those are full. What was asked for within the same tenth of a second was asked for together, would be fetched together,
and counts once.

A refresher's call renews as many as the upstream takes at a time. It is allowed SHARE of the calls that requests would
cause, less those that they do cause (`Pace`): as long as copies come to their end all the same, it saves nothing, and
has nothing to spend. With 100 ids a call each copy is renewed up to 90 times within one lifetime. At the start all
copies have to be renewed once before that saves anything: so many calls of requests are not held against it.

Beyond that it may make one call for several copies that would each have cost one within the next moments. Where
refreshes gather, one id less saves a call less often: `r / (1 + r * gathers)` grows by `1 / (1 + r * gathers) ** 2`
with `r`. And where they gather so well that a refresher's calls are hardly larger, it would renew a part of the copies,
and save next to nothing: it leaves them to the requests (WORTH).

What is taken (`Survey`): first what goes stale before the next round, the soonest first, among equals the one that
was used last. Then what gains most by it. The chance that a copy is out of date grows with its age, so what is served
out of date between two renewals grows with the square of that, `a * a`, and with how often it is asked for, about `1
/ u`. The one whose `a * a / u` is largest comes first: that makes the intervals of two copies inversely proportional
to the square roots of how often they are asked for, which is the best that a given number of renewals can do. A
lifetime that the origin has stated for an entity is taken for a word about how often it changes: `a * a / (lifetime *
u)`.
"""

from collections.abc import Iterable
from itertools import chain, islice
from math import ceil, exp, floor
from typing import Final

from msgspec import Struct

from store.entry import Entry
from store.slot import Slot

SHARE: Final = 0.95
"""Of the calls that requests would have caused: what that is was estimated, and a start costs some more."""

SPENT: Final = 0.95
"""Of its lifetime a copy must have had when it is renewed instead of the request that would do it: earlier means more
often. Alone in its call it costs a twentieth more at the most."""

WORTH: Final = 8
"""Times as many ids in a call of the refresher's as in one that requests cause: with fewer it leaves it to those."""

SURE: Final = 0.9
"""Calls that requests would surely make, for each that is made in their place."""

_CHANCE: Final = 0.2
"""Of its age by which a copy seems to have been used longer ago than it was: what was used in this moment by chance is
not asked for all the time. Found by simulation: a tenth to a third make no difference, none and a whole one do."""

_NONE: Final = 1e-9
"""Seconds: a copy may be of this moment, and used in it."""

_MOST_DUE: Final = 5_000
"""Copies that are taken for being due in one round: after an outage all of them are, and a sort of 65,000 holds up the
event loop for 90 ms."""

_AHEAD: Final = 1.5
"""Intervals within which a copy goes stale that is due: before what the next round asks for has come."""

_MOMENTS: Final = 10
"""A second: what was used within one of them counts as asked for together. Chance brings together few others: with 10
requests a second by Zipf's law for 10,000 entities a fifteenth of the calls is not seen."""


class Pace:
    """How many calls the refresher of one resource may make. One of its calls asks for `batch` ids, one that requests
    cause for up to `seats`; `gathers`: seconds for which those wait for each other; `interval`: seconds between two
    rounds."""

    def __init__(self, *, batch: int, seats: int, gathers: float, interval: float) -> None:
        self._batch = batch
        self._seats = seats
        self._gathers = gathers
        self._interval = interval
        self._to_begin: int | None = None
        """Calls of requests that are not held against it."""
        self._gathered = 1.0
        """Ids in a call that requests would cause."""
        self.credit = 0.0
        """Calls."""
        self.calls_per_second = 0.0
        """That requests would cause."""

    def pass_time(self, seconds: float, *, caused: int) -> None:
        """So many seconds have passed, in which requests have caused so many calls for what was held.

        At most two rounds' worth is kept: what could not be spent, for the upstream was failing, is not made up for.
        """
        forgiven = min(caused, self._to_begin or 0)
        if self._to_begin is not None:
            self._to_begin -= forgiven
        gained = SHARE * self.calls_per_second if self._batch >= WORTH * self._gathered else 0.0
        credit = self.credit + gained * min(seconds, 2 * self._interval) - (caused - forgiven)
        self.credit = max(0.0, min(credit, 1.0 + 2 * self._interval * gained))

    def expect(self, *, ids_per_second: float, asked_per_second: float, copies: int) -> None:
        """Requests would have fetched so many ids again each second, and asked so often for some of them, out of so
        many copies."""
        self._gathered = 1.0 + ids_per_second * self._gathers
        gathered = asked_per_second / (1.0 + asked_per_second * self._gathers)
        self.calls_per_second = max(gathered, ids_per_second / self._seats)
        if self._to_begin is None:
            self._to_begin = ceil(copies / self._batch)

    def affords(self, due: int, weight: float) -> int:
        """Calls that may be made now. So many copies are `due`, for which requests would make `weight` calls, if they
        did not gather."""
        in_their_place = min(ceil(due / self._batch), floor(weight / (SURE * self._gathered**2)))
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

    `interval`: seconds until the next round. A copy that nobody has asked for during its lifetime and `idle` seconds
    more is left to come to its end: it would not be shown stale any more. Up to `most` copies are remembered besides
    those that are due.
    """

    def __init__(self, now: float, *, interval: float, idle: float, most: int) -> None:
        self._now = now
        self._interval = interval
        self._idle = idle
        self._most = most
        self._moments: set[int] = set()
        self._due: list[tuple[float, float, str, Slot, Entry]] = []
        self._others: list[tuple[float, str, Slot, Entry]] = []
        self.due = 0
        """How many copies are about to go stale."""
        self.copies = 0
        """Those that somebody uses."""
        self.ids_per_second = 0.0
        """That requests would fetch again."""
        self.asked_per_second = 0.0
        """How often requests would ask for some of those."""
        self.weight = 0.0
        """Calls that requests would make for what is due, if they did not gather."""

    def add(self, places: Iterable[tuple[str, Slot]]) -> None:
        """Look at the copies in these places, by id: 1 ms for some 500."""
        now, moments, others = self._now, self._moments, self._others
        horizon = _AHEAD * self._interval
        for entity, slot in places:
            entry = slot.entry
            if entry is None or entry.item is None or entry.absent:
                continue
            lifetime = entry.lifetime - entry.initial_age
            unused = now - slot.used_at if slot.used_at < now else 0.0
            if lifetime <= 0 or unused >= lifetime + self._idle:
                continue
            self.copies += 1
            weight = exp(-unused / lifetime)
            self.ids_per_second += weight / lifetime
            moment = int(slot.used_at * _MOMENTS)
            if moment in moments:
                weight = 0.0
            else:
                moments.add(moment)
                self.asked_per_second += weight / lifetime
            age = now - entry.received_at if entry.received_at < now else 0.0
            left = lifetime - age
            if left <= horizon and left <= (1 - SPENT) * lifetime and unused < lifetime:
                self.weight += weight
                self.due += 1
                self._due.append((now + left, -slot.used_at, entity, slot, entry))
            else:
                gain = age * age / (lifetime * (unused + _CHANCE * age + _NONE))
                others.append((gain, entity, slot, entry))
        if len(self._due) > 2 * _MOST_DUE:
            self._due.sort()
            del self._due[_MOST_DUE:]
        if len(others) > 2 * self._most:
            self._cut()

    def _cut(self) -> None:
        """Forget what is not taken: 10 ms for 20,000. No two have the same id."""
        self._others.sort(reverse=True)
        del self._others[self._most :]

    def taken(self, count: int) -> list[Candidate]:
        """Up to so many of them, in their order."""
        self._due.sort()
        self._cut()
        due = (Candidate(entity, slot, entry) for _, _, entity, slot, entry in self._due)
        others = (Candidate(entity, slot, entry) for _, entity, slot, entry in self._others)
        return list(islice(chain(due, others), count))
