"""Users that change at their owner, asked for by Zipf's law, with the refresher and without it.

Time is simulated, and the upstream is played; all between the two is real.
"""

import asyncio
from bisect import bisect
from itertools import accumulate
from random import Random

from msgspec import Struct

from config.model import RefreshConfig
from proxy.refresher import Refresher, Subject
from store.entry import Entry, Key, Write
from tests.unit.virtual_time import VirtualTimeLoop
from tests.unit.world import World, item, world

USERS = 10_000


class Case(Struct, frozen=True):
    """What is asked for, and how it changes. In seconds."""

    ttl: float
    per_second: float
    """Requests."""
    changes_every: float
    """On average, between two changes of one user."""
    settled: float
    """After so many it is looked at what is served,"""
    end: float
    """until then."""
    interval: str
    """Of the refresher."""


class Outcome(Struct):
    served: int = 0
    outdated: int = 0
    calls: int = 0
    refreshed: int = 0

    @property
    def share(self) -> float:
        return self.outdated / self.served


class Workload:
    """Requests and changes of a seed: the same with the refresher and without it."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        random = Random(seed)
        self.sums = list(accumulate(1 / rank for rank in range(1, USERS + 1)))
        self.rates = [case.per_second / rank / self.sums[-1] for rank in range(1, USERS + 1)]
        self.used = [random.expovariate(rate) for rate in self.rates]
        self.ages = [random.random() * (case.ttl + 1 / rate) for rate in self.rates]
        """As they are when that has gone on for ever: used, and fetched, so many seconds ago."""
        changes = int(USERS * case.end / case.changes_every)
        self.changes = sorted(
            (random.random() * case.end, str(random.randrange(USERS))) for _ in range(changes)
        )
        asked = int(case.per_second * case.end)
        self.requests = sorted(
            (random.random() * case.end, str(bisect(self.sums, random.random() * self.sums[-1])))
            for _ in range(asked)
        )

    def fill(self, there: World) -> None:
        """What is held in the beginning. It may have changed since it was fetched."""
        random = Random(0)
        for number, age in enumerate(self.ages):
            user = str(number)
            has_changed = random.expovariate(1 / self.case.changes_every) < age
            there.upstream.users[user] = 1 + has_changed
            there.store.put(
                Write(
                    Entry(
                        key=Key("user", user),
                        item=item(user, 1),
                        received_at=there.now - age,
                        lifetime=self.case.ttl,
                    ),
                    {},
                )
            )
        for user, slot in there.store.memory.plain_slots("user"):
            slot.used_at = there.now - self.used[int(user)]


async def steady(workload: Workload, config: RefreshConfig | None) -> Outcome:
    """What comes of it."""
    case = workload.case
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    freshness = {"ttl": case.ttl, "stale_while_revalidate": 10**6, "stale_if_error": 10**6}
    async with world(freshness=freshness, refresh_gathers=0.5) as there:
        began = there.now
        workload.fill(there)
        changes = iter([*workload.changes, (case.end + 1, "")])
        upcoming = [next(changes)]

        def passed(now: float) -> None:
            there.now = began + now
            while upcoming[0][0] <= now:
                there.upstream.users[upcoming[0][1]] += 1
                upcoming[0] = next(changes)

        loop.tell(passed)
        if config is not None:
            refresher = refresher_of(there, config)
            there.supervisor.spawn("refresher", refresher.run())
        outcome = Outcome()
        for at, user in workload.requests:
            await asyncio.sleep(at - loop.time())
            slots = there.resolver.hits([user], there.now)
            entry = slots[0].entry if slots else (await there.ask(user)).outcomes[user].entry
            assert entry is not None
            if at >= case.settled:
                outcome.served += 1
                outcome.outdated += entry.item != item(user, there.upstream.users[user])
        outcome.calls = len(there.upstream.calls)
        return outcome


def refresher_of(there: World, config: RefreshConfig) -> Refresher:
    subject = Subject(
        there.loader,
        lambda: there.store.memory.plain_slots("user"),
        seats=100,
        idle=float("inf"),
        may_call=lambda: True,
    )
    refresher = Refresher(
        config,
        metrics=there.metrics,
        clock=lambda: there.now,
        monotonic=asyncio.get_running_loop().time,
        rng=lambda: 0.5,
        on_crash=_crashed,
    )
    refresher.add(subject)
    return refresher


def _crashed(_name: str, error: BaseException) -> None:
    raise error


def compared(case: Case, seed: int) -> tuple[Outcome, Outcome]:
    """Without the refresher, and with it."""
    refreshing = RefreshConfig(enabled=True, interval=case.interval)
    outcomes = []
    for config in (None, refreshing):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            outcomes.append(runner.run(steady(Workload(case, seed), config)))
    without, refreshed = outcomes
    return without, refreshed
