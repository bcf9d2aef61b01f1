"""What the refresher is for: users that change at their owner, asked for by Zipf's law, with it and without it.

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
TTL = 600.0
PER_SECOND = 50.0
CHANGES_EVERY = 600.0
"""Seconds, on average, between two changes of one user."""
SETTLED, END = 300.0, 900.0
"""Seconds after which what is served is looked at, and until when."""
STEADY = Refresh = RefreshConfig(enabled=True, interval="5s")


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

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.sums = list(accumulate(1 / rank for rank in range(1, USERS + 1)))
        self.rates = [PER_SECOND / rank / self.sums[-1] for rank in range(1, USERS + 1)]
        self.used = [random.expovariate(rate) for rate in self.rates]
        self.ages = [random.random() * (TTL + 1 / rate) for rate in self.rates]
        """As they are when that has gone on for ever: used, and fetched, so many seconds ago."""
        changes = int(USERS * END / CHANGES_EVERY)
        self.changes = sorted((random.random() * END, str(random.randrange(USERS))) for _ in range(changes))
        asked = int(PER_SECOND * END)
        self.requests = sorted(
            (random.random() * END, str(bisect(self.sums, random.random() * self.sums[-1]))) for _ in range(asked)
        )

    def fill(self, there: World) -> None:
        """What is held in the beginning. It may have changed since it was fetched."""
        random = Random(0)
        for number, age in enumerate(self.ages):
            user = str(number)
            has_changed = random.expovariate(1 / CHANGES_EVERY) < age
            there.upstream.users[user] = 1 + has_changed
            there.store.put(
                Write(
                    Entry(key=Key("user", user), item=item(user, 1), received_at=there.now - age, lifetime=TTL), {}
                )
            )
        for user, slot in there.store.memory.plain_slots("user"):
            slot.used_at = there.now - self.used[int(user)]


async def steady(workload: Workload, config: RefreshConfig | None) -> Outcome:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    freshness = {"ttl": TTL, "stale_while_revalidate": 10**6, "stale_if_error": 10**6}
    async with world(freshness=freshness, refresh_gathers=0.5) as there:
        began = there.now
        workload.fill(there)
        changes = iter([*workload.changes, (END + 1, "")])
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
            if at >= SETTLED:
                outcome.served += 1
                outcome.outdated += entry.item != item(user, there.upstream.users[user])
        outcome.calls = len(there.upstream.calls)
        return outcome


def refresher_of(there: World, config: RefreshConfig) -> Refresher:
    subject = Subject(
        there.loader,
        lambda: there.store.memory.plain_slots("user"),
        seats=100,
        may_call=lambda: True,
    )
    return Refresher(
        config,
        [subject],
        metrics=there.metrics,
        clock=lambda: there.now,
        monotonic=asyncio.get_running_loop().time,
        rng=lambda: 0.5,
        on_crash=_crashed,
    )


def _crashed(_name: str, error: BaseException) -> None:
    raise error


def test_users_that_are_refreshed_are_out_of_date_a_tenth_of_the_time_for_no_more_calls() -> None:
    outcomes = []
    for config in (None, STEADY):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            outcomes.append(runner.run(steady(Workload(9), config)))
    without, refreshed = outcomes
    assert 0.3 < without.share < 0.6
    assert refreshed.share < without.share / 10
    assert refreshed.calls <= without.calls
