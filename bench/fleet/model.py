"""What happens to a simulated fleet for three days, of which the last is measured.

Users come during the first day, are looked up, and change at their owner (bench/fleet/load.py says how often, and why).
In the middle of each day all pods are replaced, one after the other: a new one has nothing in memory, and nothing on
its disk. Freshness is that of the built-in configuration.

Users have nothing to do with each other: each has its own copy, freshness, lease and lines in the log. So a sample of
them is simulated, with all of the replicas, and rates are scaled by how many there are. What is not so is left out:
that memory has room for some 65,000 users (what it lacks is read from the database, and is no call of the owner), and
that misses of one moment go up in one call, for which the ids of a sample are too rare: what is counted are ids.
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass

from bench.fleet.clock import simulate
from bench.fleet.databases import LOG_READ, Rows, Server, SharedRows
from bench.fleet.load import DAY, Crowd, Load
from bench.fleet.outcome import Outcome, Staleness, Way, without_proxy
from bench.fleet.replica import Owner, Replica
from proxy.metrics import Metrics

_END = 3 * DAY
_MEASURED_FROM = 2 * DAY
_ROLLOUTS = [0.5 * DAY, 1.5 * DAY, 2.5 * DAY]
_ROLLOUT_TAKES = 1800.0
"""Seconds from the first pod that is replaced to the last."""

_WINDOW = 600.0
"""Seconds after that, in which the fleet is at its worst."""

_DRAINS = 10.0
"""Seconds for which an old pod goes on with what it has begun."""

_OWNER_TAKES, _DATABASE_TAKES, _NOTIFICATION_TAKES = 0.15, 0.001, 0.0005
_WAITED = 0.02
"""Seconds: far more than a database takes, and far less than the owner."""

_EPOCH = 1_800_000_000.0


@dataclass(slots=True)
class _Change:
    """Of a user at the owner, in simulated seconds. The n-th of a user makes version n."""

    at: float
    told_at: float | None = None
    """When a replica had answered that it knows."""


class Measured:
    """What is counted on the last day."""

    def __init__(self) -> None:
        self.requests = [0, 0]
        """For one user, and for several."""
        self.waits = [0, 0]
        self.lookups = 0
        self.told: list[float] = []
        self.untold: list[float] = []


class Simulation:
    """One fleet. `run` is the whole of it; its parts are for tests."""

    def __init__(self, way: Way, replicas: int, users: int, load: Load, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a load, and no secret
        self._load = load
        self._crowd = Crowd(load, users, self._rng)
        # They come one after the other during the first day: else all copies would end at the same time of the day.
        self._comes_at = {user: self._rng.random() * DAY for user in self._crowd.users}
        self.owner = Owner(_OWNER_TAKES)
        self._server = Server(_NOTIFICATION_TAKES, self._now) if way == "shared" else None
        self._calls: Counter[str] = Counter()
        self._metrics = Metrics()
        self._count = replicas
        self.replicas: list[Replica] = []
        self._changes: dict[str, list[_Change]] = {}
        self._measured = Measured()
        self._lookups = 0
        self._after_rollouts: list[float] = []
        """Ids for each look-up."""

    def _now(self) -> float:
        return _EPOCH + asyncio.get_running_loop().time()

    async def run(self) -> Outcome:
        """Let the days go by."""
        await self.start()
        async with asyncio.TaskGroup() as work:
            work.create_task(self._look_up(work), name="look-ups")
            work.create_task(self._change(), name="changes")
            if self._load.rollouts:
                work.create_task(self._roll_out(work), name="rollouts")
            await asyncio.sleep(_MEASURED_FROM)
            self._measured = Measured()
            ids, calls = self.owner.ids, self._calls.copy()
            await asyncio.sleep(_END - _MEASURED_FROM)
            ids = self.owner.ids - ids
            calls = self._calls - calls
        await self.stop()
        return self._outcome(ids, calls)

    async def start(self) -> None:
        """Begin with empty replicas."""
        for _ in range(self._count):
            self.replicas.append(await self._replica())

    async def stop(self) -> None:
        """End them."""
        for replica in self.replicas:
            await replica.stop()

    async def ask(self, users: list[str], replica: Replica) -> None:
        """One request, and what is to be said about its answer."""
        loop = asyncio.get_running_loop()
        measured, asked = self._measured, loop.time()
        outcomes = (await replica.resolver.resolve(users)).outcomes
        is_bulk = len(users) > 1
        measured.requests[is_bulk] += 1
        measured.waits[is_bulk] += loop.time() - asked > _WAITED
        for user in users:
            version = json.loads(outcomes[user].entry.item or b"{}")["v"]
            self._judge(measured, user, version, asked)

    async def change(self, user: str, told: Replica | None) -> None:
        """The user changes at the owner, and perhaps a replica is told; returns when that has said that it knows."""
        loop = asyncio.get_running_loop()
        change = _Change(loop.time())
        self._changes.setdefault(user, []).append(change)
        self.owner.versions[user] = len(self._changes[user])
        if told is not None:
            await told.resolver.invalidate(user, "method")
            change.told_at = loop.time()

    def stale(self) -> tuple[list[float], list[float]]:
        """The seconds of all answers that were out of date: those that somebody had been told of, and the others."""
        return self._measured.told, self._measured.untold

    def _judge(self, measured: Measured, user: str, version: int, asked: float) -> None:
        """How old an answer is that was asked for then and has this version."""
        self._lookups += 1
        measured.lookups += 1
        lacks = [change for change in self._changes.get(user, ())[version:] if change.at < asked]
        told = [one.told_at for one in lacks if one.told_at is not None and one.told_at < asked]
        if told:
            measured.told.append(asked - min(told))
        elif lacks:
            measured.untold.append(asked - lacks[0].at)

    async def _replica(self) -> Replica:
        if self._server is None:
            database = Rows(_DATABASE_TAKES, self._calls)
        else:
            database = SharedRows(_DATABASE_TAKES, self._calls, self._server)
        chance = random.Random(self._rng.random())  # noqa: S311 - likewise
        replica = Replica(self.owner, database, self._now, chance, self._metrics)
        await replica.start()
        return replica

    async def _look_up(self, work: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        rate = self._load.requests(len(self._crowd.users))
        while loop.time() < _END:
            await asyncio.sleep(self._rng.expovariate(rate))
            now, replica = loop.time(), self._rng.choice(self.replicas)
            users = [user for user in self._crowd.asked() if self._comes_at[user] <= now]
            if users:
                work.create_task(self.ask(users, replica), name="look-up")

    async def _change(self) -> None:
        loop = asyncio.get_running_loop()
        rate = self._load.changes * len(self._crowd.users) / DAY
        while loop.time() < _END:
            await asyncio.sleep(self._rng.expovariate(rate))
            user, replica = self._rng.choice(self._crowd.users), self._rng.choice(self.replicas)
            await self.change(user, replica if self._rng.random() < self._load.told else None)

    async def _roll_out(self, work: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        for begins in _ROLLOUTS:
            for place in range(self._count):
                at = begins + _ROLLOUT_TAKES * place / self._count
                await asyncio.sleep(max(0.0, at - loop.time()))
                old, self.replicas[place] = self.replicas[place], await self._replica()
                work.create_task(_drained(old), name="drained")
            ids, lookups = self.owner.ids, self._lookups
            await asyncio.sleep(_WINDOW)
            self._after_rollouts.append((self.owner.ids - ids) / max(1, self._lookups - lookups))

    def _outcome(self, ids: int, calls: Counter[str]) -> Outcome:
        measured, users = self._measured, len(self._crowd.users)
        waits, bulk_waits = (
            waited / max(1, count) for waited, count in zip(measured.waits, measured.requests, strict=True)
        )
        late = self._after_rollouts[1:]  # at the first not all users have come
        return Outcome(
            lookups=measured.lookups / users,
            upstream_ids=ids / users,
            rollout_ids=sum(late) / max(1, len(late)) * self._load.lookups,
            waits=waits,
            bulk_waits=bulk_waits,
            told=Staleness.of(measured.told, measured.lookups),
            untold=Staleness.of(measured.untold, measured.lookups),
            statements={name: count / users for name, count in calls.items() if name != LOG_READ},
        )


async def _drained(replica: Replica) -> None:
    await asyncio.sleep(_DRAINS)
    await replica.stop()


def run(way: Way, replicas: int, *, users: int, load: Load | None = None, seed: int = 1) -> Outcome:
    """Simulate a sample of so many users. Without a proxy there is nothing to simulate."""
    load = load or Load()
    if way == "none":
        return without_proxy(load.lookups)
    return simulate(Simulation(way, replicas, users, load, seed).run())
