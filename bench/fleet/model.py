"""What happens to a simulated fleet for three days, of which the last is measured.

The load is an attendance service's: each user is looked up a few times on a working day, at a login, a switch of
business, an attendance record; each look-up goes to any of the replicas. Users change now and then at their owner, and
of some of these changes a replica is told. Once a day the pods are replaced, one after the other.

Users have nothing to do with each other: each has its own copy, freshness, lease and lines in the log. So a sample of
them is simulated, with all of the replicas, and rates are scaled by how many there are. What is not so is left out:
that memory has room for some 65,000 users (what it lacks is read from the database, and is no call of the owner), and
that misses of one moment go up in one call, for which the ids of a sample are too rare: what is counted are ids.
"""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Literal

from bench.fleet.clock import simulate
from bench.fleet.databases import Rows, SharedRows
from bench.fleet.replica import Owner, Replica

Way = Literal["none", "per pod", "shared"]
"""No proxy; each pod's own SQLite, which goes with the pod; PostgreSQL that all share."""

HOUR, DAY = 3600.0, 86400.0
_WARM = 2 * DAY
_END = 3 * DAY
_ROLLOUT = 2.5 * DAY
"""When the pods begin to be replaced."""

_ROLLOUT_TAKES = HOUR / 2
"""Seconds for all of them, one after the other."""

_OWNER_TAKES, _DATABASE_TAKES = 0.15, 0.001
_EPOCH = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Load:
    """What users and their owner do."""

    lookups_a_day: float = 20.0
    """Of one user: a few logins and records, by an application that asks each time."""
    changes_a_day: float = 0.2
    """Of one user, at the owner: a phone number, an avatar."""
    told: float = 0.5
    """The part of these changes after which some replica is told to invalidate."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one user, a day; scale it by the number of users."""

    lookups: float
    upstream_ids: float
    rollout_ids: float
    """In the hour in which pods are replaced, as a rate of a day."""
    waits: float
    """Look-ups that had to wait for the owner."""
    told_stale: float
    """The part of the look-ups whose answer was older than a change that some replica had been told of."""
    told_longest: float
    """Seconds after such an invalidation at which the last of them was answered; 0: none was."""
    untold_stale: float
    """The part of them that were older than a change that nobody was told of."""
    untold_longest: float
    """Seconds after such a change."""
    database_calls: dict[str, float]


class _Fleet:
    """The run of one simulation."""

    def __init__(self, way: Way, replicas: int, users: int, load: Load, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a load, and no secret
        self._way = way
        self._users = [f"u{number}" for number in range(users)]
        # They come one after the other during the first day: else all copies would end at the same time of the day.
        self._comes_at = {user: self._rng.random() * DAY for user in self._users}
        self._load = load
        self._owner = Owner(_OWNER_TAKES)
        self._shared = SharedRows(_DATABASE_TAKES, self._now)
        self._replicas: list[Replica] = []
        self._databases: list[Rows] = []
        self._count = replicas
        self._changed: dict[str, tuple[int, float, bool]] = {}
        """Of each user the version, since when (simulated seconds), and whether somebody was told of it."""
        self._told_at: dict[str, float] = {}
        self._stale: dict[bool, list[float]] = {True: [], False: []}
        self._lookups = self._waits = self._ids = self._rollout_ids = 0

    def _now(self) -> float:
        return _EPOCH + asyncio.get_running_loop().time()

    async def run(self) -> Outcome:
        """Let the days go by."""
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            self._replicas.append(await self._replica())
        async with asyncio.TaskGroup() as work:
            work.create_task(self._look_up(work), name="look-ups")
            work.create_task(self._change(), name="changes")
            work.create_task(self._roll_out(), name="rollout")
            await asyncio.sleep(_WARM)
            self._lookups = self._waits = 0
            self._stale = {True: [], False: []}
            before = self._owner.ids
            calls = self._database_calls()
            await asyncio.sleep(_END - loop.time())
            self._ids = self._owner.ids - before
            calls = {name: count - calls.get(name, 0) for name, count in self._database_calls().items()}
        for replica in self._replicas:
            await replica.stop()
        users = len(self._users)
        return Outcome(
            lookups=self._lookups / users,
            upstream_ids=self._ids / users,
            rollout_ids=self._rollout_ids / users * DAY / HOUR,
            waits=self._waits / max(1, self._lookups),
            told_stale=len(self._stale[True]) / max(1, self._lookups),
            told_longest=max(self._stale[True], default=0.0),
            untold_stale=len(self._stale[False]) / max(1, self._lookups),
            untold_longest=max(self._stale[False], default=0.0),
            database_calls={name: count / users for name, count in calls.items()},
        )

    async def _replica(self) -> Replica:
        database = self._shared if self._way == "shared" else Rows(_DATABASE_TAKES)
        self._databases.append(database)
        chance = random.Random(self._rng.random())  # noqa: S311 - likewise
        replica = Replica(self._owner, database, self._now, chance)
        await replica.start()
        return replica

    async def _look_up(self, work: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        rate = self._load.lookups_a_day * len(self._users) / DAY
        while loop.time() < _END:
            await asyncio.sleep(self._rng.expovariate(rate))
            user, replica = self._rng.choice(self._users), self._rng.choice(self._replicas)
            if loop.time() < self._comes_at[user]:
                continue
            work.create_task(self._one(user, replica), name="look-up")

    async def _one(self, user: str, replica: Replica) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        found = (await replica.resolver.resolve([user])).outcomes[user]
        self._lookups += 1
        self._waits += loop.time() - asked >= _OWNER_TAKES / 2
        version, since, was_told = self._changed.get(user, (0, 0.0, False))
        if since < asked and json.loads(found.entry.item or b"{}")["v"] < version:
            if not was_told:
                self._stale[False].append(asked - since)
            elif asked > self._told_at.get(user, asked):
                self._stale[True].append(asked - self._told_at[user])

    async def _change(self) -> None:
        loop = asyncio.get_running_loop()
        rate = self._load.changes_a_day * len(self._users) / DAY
        while loop.time() < _END:
            await asyncio.sleep(self._rng.expovariate(rate))
            user = self._rng.choice(self._users)
            version = self._owner.versions.get(user, 0) + 1
            self._owner.versions[user] = version
            is_told = self._rng.random() < self._load.told
            self._told_at.pop(user, None)
            self._changed[user] = (version, loop.time(), is_told)
            if is_told:
                await self._rng.choice(self._replicas).resolver.invalidate(user, "method")
                self._told_at[user] = loop.time()

    async def _roll_out(self) -> None:
        await asyncio.sleep(_ROLLOUT)
        loop = asyncio.get_running_loop()
        before, began = self._owner.ids, loop.time()
        for place in range(self._count):
            await asyncio.sleep(max(0.0, began + _ROLLOUT_TAKES * place / self._count - loop.time()))
            old, self._replicas[place] = self._replicas[place], await self._replica()
            await old.stop()
        await asyncio.sleep(max(0.0, began + HOUR - loop.time()))
        self._rollout_ids = self._owner.ids - before

    def _database_calls(self) -> dict[str, int]:
        if self._way == "shared":
            return dict(self._shared.calls)
        total: dict[str, int] = {}
        for database in self._databases:
            for name, count in database.calls.items():
                total[name] = total.get(name, 0) + count
        return total


def run(way: Way, replicas: int, *, users: int, load: Load | None = None, seed: int = 1) -> Outcome:
    """Simulate a sample of so many users. Without a proxy there is nothing to simulate: each look-up is a call."""
    load = load or Load()
    if way == "none":
        a_day = load.lookups_a_day
        return Outcome(a_day, a_day, a_day, 1.0, 0.0, 0.0, 0.0, 0.0, {})
    return simulate(_Fleet(way, replicas, users, load, seed).run())
