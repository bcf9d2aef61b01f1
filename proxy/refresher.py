"""The background refresher: fetches again ahead of time what is held, many copies in one call.

Each `interval` there is a round: the copies of each resource are surveyed, and the calls that it affords
(`proxy.core.refreshing`) are spread over the time until the next. So that the upstream has most of its capacity for
those who wait, at most `concurrency` calls are made at a time, after each of which its lane rests for as long as the
call took, and none while the upstream fails or somebody stands in line for it: then the round is over.

Where replicas share a store, one of them at a time refreshes what is in there: what it fetches reaches the others by
the change log. It leads for less than an interval, and intervals differ by chance, so that the lead goes round: each
knows what is used at its own place alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Final

from cachetools import TTLCache
from msgspec import Struct

from config.model import RefreshConfig
from proxy.core.refreshing import Candidate, Pace, Survey
from proxy.loader import Loader
from proxy.metrics import Metrics, RefreshResult
from proxy.results import Loaded, Missing, Result
from store.entry import Entry
from store.slot import Slot

_AT_ONCE: Final = 500
"""Copies that are surveyed before others have a turn of the event loop: 1 ms."""

_SPREAD: Final = 0.9
"""Of an interval over which calls are spread: the last should have come before the next round."""

_LEADS: Final = 0.9
"""Of an interval for which a replica takes the lead."""

_DIFFERS: Final = 0.2
"""The part of an interval by which it may be longer or shorter where there are several replicas."""

_LEFT_OUT: Final = 60.0
"""Seconds for which what could not be renewed is left out: others are to have their turn."""

_MAX_LEFT_OUT: Final = 8_192

Sleep = Callable[[float], Awaitable[None]]


class Subject(Struct, frozen=True):
    """What is refreshed of one resource."""

    loader: Loader
    places: Callable[[], Sequence[tuple[str, Slot]]]
    """Its copies in memory, by id."""
    seats: int
    """Ids that one call may ask for."""
    idle: float
    """Seconds after the end of a lifetime since its last use for which a copy is renewed."""
    may_call: Callable[[], bool]
    """Whether the upstream is well enough to be asked for what nobody waits for."""
    lead: Callable[[float], Awaitable[bool]] | None = None
    """Takes the lead of the replicas for so many seconds, if it can be had; None: there are no others."""


class _Call(Struct, frozen=True):
    refreshed: "_Refreshed"
    candidates: Sequence[Candidate]


class Refresher:
    """Refreshes any number of resources. `clock` gives epoch seconds, `monotonic` seconds that never step, `rng` a
    number in [0, 1); `sleep` waits so many seconds. `on_crash(name, error)` is told of a defect, after which it goes
    on."""

    def __init__(
        self,
        config: RefreshConfig,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: Callable[[], float],
        on_crash: Callable[[str, BaseException], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._config = config
        self._interval = config.interval
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._on_crash = on_crash
        self._sleep = sleep
        self._refreshed: list[_Refreshed] = []
        self._has_others = False

    def add(self, subject: Subject) -> None:
        """Refresh this, too."""
        self._has_others |= subject.lead is not None
        refreshed = _Refreshed(
            subject, self._config, self._metrics, clock=self._clock, monotonic=self._monotonic
        )
        self._refreshed.append(refreshed)

    async def run(self) -> None:
        """One round after the other, until cancelled."""
        while True:
            until = self._monotonic() + self._pause()
            try:
                await self.round(until)
            except* Exception as group:  # noqa: BLE001 - a defect in one round must not be the end of all
                for error in group.exceptions:
                    self._on_crash("refresher", error)
            await self._sleep(max(0.0, until - self._monotonic()))

    async def round(self, until: float) -> None:
        """Refresh what there is to be refreshed, in calls that begin before then (monotonic seconds)."""
        planned = [await refreshed.planned() for refreshed in self._refreshed]
        in_turn = zip_longest(*planned)  # one of each resource after the other
        calls = [call for each in in_turn for call in each if call is not None]
        if not calls:
            return
        began = self._monotonic()
        apart = _SPREAD * max(0.0, until - began) / len(calls)
        times = iter([(began + number * apart, call) for number, call in enumerate(calls)])
        async with asyncio.TaskGroup() as lanes:
            for number in range(min(self._config.concurrency, len(calls))):
                lanes.create_task(self._lane(times, until), name=f"refresher lane {number}")

    async def _lane(self, times: Iterator[tuple[float, _Call]], until: float) -> None:
        for at, call in times:
            await self._sleep(max(0.0, at - self._monotonic()))
            began = self._monotonic()
            if began >= until:
                return
            if await call.refreshed.renew(call.candidates):
                # At most half of the time it keeps the upstream busy.
                await self._sleep(self._monotonic() - began)

    def _pause(self) -> float:
        if not self._has_others:
            return self._interval
        return self._interval * (1 + _DIFFERS * (2 * self._rng() - 1))


class _Refreshed:
    """One resource, as the rounds go on."""

    def __init__(
        self,
        subject: Subject,
        config: RefreshConfig,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        loader = subject.loader
        self._subject = subject
        self._loader = loader
        self._interval = config.interval
        self._batch = min(config.batch, subject.seats)
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._pace = Pace(
            batch=self._batch, seats=subject.seats, gathers=loader.gathers, interval=config.interval
        )
        self._left_out: TTLCache[int, None] = TTLCache(_MAX_LEFT_OUT, _LEFT_OUT, timer=monotonic)
        self._looked_at = monotonic()
        self._renewals = loader.renewals
        self._is_over = False
        metrics.refreshes(loader.name)

    async def planned(self) -> list[_Call]:
        """The calls of a round; none while it is not its time."""
        now = self._monotonic()
        seconds, self._looked_at = now - self._looked_at, now
        caused, self._renewals = self._loader.renewals - self._renewals, self._loader.renewals
        self._is_over = self._must_not()
        if self._is_over or not await self._leads():
            return []
        if self._subject.lead is not None:  # another has led meanwhile
            seconds = min(seconds, _LEADS * self._interval)
        self._pace.pass_time(seconds, caused=caused)
        most = max(1, int(self._pace.credit)) * self._batch
        survey = Survey(self._clock(), interval=self._interval, idle=self._subject.idle, most=most)
        places = iter(self._subject.places())
        left_out = frozenset(self._left_out)
        while piece := list(islice(places, _AT_ONCE)):
            if left_out:
                piece = [place for place in piece if hash(place[0]) not in left_out]
            survey.add(piece)
            await asyncio.sleep(0)
        self._pace.expect(
            ids_per_second=survey.ids_per_second,
            asked_per_second=survey.asked_per_second,
            copies=survey.copies,
        )
        calls = self._pace.affords(survey.due, survey.weight)
        taken = survey.taken(calls * self._batch)
        return [
            _Call(self, taken[first : first + self._batch]) for first in range(0, len(taken), self._batch)
        ]

    async def renew(self, candidates: Sequence[Candidate]) -> bool:
        """Make a call of the round, unless that is over; whether it was made."""
        self._is_over = self._is_over or self._must_not()
        if self._is_over:
            return False
        # What somebody else has renewed since, or forgotten, is none of ours any more.
        held = {one.id: one.entry for one in candidates if one.slot.entry is one.entry}
        results = await self._loader.renew(held)
        if not results:
            return False
        self._pace.spend(1)
        self._note(held, results)
        return True

    def _note(self, held: Mapping[str, Entry], results: Mapping[str, Result]) -> None:
        counts: dict[RefreshResult, int] = {}
        for entity, result in results.items():
            outcome = _outcome(held[entity], result)
            counts[outcome] = counts.get(outcome, 0) + 1
            if outcome == "failed":
                self._left_out[hash(entity)] = None  # no id, which an erasure would have to find
        self._metrics.refreshed(self._loader.name, counts)

    def _must_not(self) -> bool:
        return self._loader.backing_off or self._loader.is_crowded or not self._subject.may_call()

    async def _leads(self) -> bool:
        lead = self._subject.lead
        return lead is None or await lead(_LEADS * self._interval)


def _outcome(held: Entry, result: Result) -> RefreshResult:
    match result:
        case Loaded(entry):
            return "unchanged" if entry.item == held.item else "changed"
        case Missing():
            return "absent"
        case _:
            return "failed"
