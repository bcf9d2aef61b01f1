"""Replicas' tiers over one real database, whose ways there fail, and what is known of what each of them has to show."""

import itertools
import json
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from store.base import StoreError
from store.entry import Entry, Key, Write
from store.generation import Watch
from store.memory import MemoryTier
from store.postgres.store import PostgresStore
from store.shared import SharedStore
from store.sharing import SharedBy, Sharing
from store.tiered import TieredStore
from tests.unit.store.samples import NOW, derive, entry, user

KEYS = [user(name) for name in "ab"]
LEASE = 60.0
"""Seconds: none ends by itself. Who takes one by force is as if it had."""

Way = Literal["well", "down", "unanswered"]
"""Of a replica to the database. Unanswered: what is asked is done, and it is never heard of."""


class Gate:
    """A replica's way to the database."""

    def __init__(self, database: PostgresStore) -> None:
        self.database = database
        self.way: Way = "well"

    @property
    def is_there(self) -> bool:
        return self.way != "down"

    def holds(self, resource: str) -> bool:
        return self.database.holds(resource)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **named: Any) -> Any:
            if self.way == "down":
                raise StoreError(f"{name}: down")
            answer = await getattr(self.database, name)(*arguments, **named)
            if self.way == "unanswered":
                raise StoreError(f"{name}: unanswered")
            return answer

        return called


@dataclass
class Fetched:
    """What the upstream has said, and nobody has taken yet."""

    by: "Replica"
    write: Write
    seen: Watch


class Replica:
    """Its tiers, and what they may not show any more."""

    def __init__(self, database: PostgresStore, tokens: "itertools.count[int]") -> None:
        self.gate = Gate(database)
        shared = cast("SharedStore", self.gate)
        self.memory = MemoryTier(1 << 20, clock=lambda: NOW, on_evict=lambda *_: None)
        by = SharedBy(
            poll_interval=1e9,  # it is the test that reads the log
            monotonic=lambda: 0.0,
            next_token=lambda: next(tokens),
            on_change=lambda _: None,
            on_doubt=lambda: None,
        )
        self.store = TieredStore(
            self.memory,
            shared,
            clock=lambda: NOW,
            usable_until=lambda kept: kept.received_at + kept.lifetime,
            on_lookup=lambda *_: None,
            on_error=lambda _: None,
            max_pending=10,
            tables=frozenset({"user"}),
            derive_id=derive,
            is_there=lambda: self.gate.is_there,
            shared=(shared, by),
        )
        self.known = dict.fromkeys(KEYS, 0)
        """The version of each key that this replica knows everything before to be invalidated."""
        self.owed = dict.fromkeys(KEYS, 0)
        """The same of what it has still to tell."""

    @property
    def sharing(self) -> Sharing:
        assert self.store.sharing is not None
        return self.store.sharing


@dataclass
class World:
    """Some replicas, and an upstream that makes a new version before it has somebody invalidate the old one."""

    replicas: list[Replica]
    version: dict[Key, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 1))
    told: dict[Key, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    """As `Replica.known`, of the database."""
    fetched: list[Fetched] = field(default_factory=list)

    async def ask(self, replica: Replica, key: Key, *, is_forced: bool) -> None:
        """What a loader does with a miss, up to the upstream's answer."""
        seen = replica.store.watch([key])
        token = replica.sharing.next_token()
        claims = await replica.sharing.claim([key], token, seconds=LEASE, is_forced=is_forced)
        claim = None if claims is None else claims[key]
        if claim is not None and not claim.is_granted:
            with closing(seen):
                if claim.row is not None and claim.row.item is not None:
                    replica.sharing.learn(claim.row, seen)
            return
        said = entry(key, json.dumps({"id": key.id, "version": self.version[key]}).encode())
        self.fetched.append(Fetched(replica, Write(said, {}, None if claim is None else token), seen))

    def land(self, fetched: Fetched) -> None:
        """And what it does with the answer."""
        with closing(fetched.seen) as seen:
            fetched.by.store.put(fetched.write, seen=seen)

    async def invalidate(self, replica: Replica, key: Key) -> None:
        """The upstream has a new version, and this replica is told."""
        self.version[key] += 1
        replica.known[key] = replica.owed[key] = self.version[key]
        with suppress(StoreError):
            await replica.store.invalidate([key])
            self._is_told(key, self.version[key])
            replica.owed[key] = 0

    async def erase(self, replica: Replica, key: Key) -> None:
        """Likewise, if that succeeds: one that fails is for whoever wanted it to make again."""
        self.version[key] += 1
        try:
            await replica.store.erase(key)
        except StoreError:
            self.version[key] -= 1
        else:
            replica.known[key] = self.version[key]
            self._is_told(key, self.version[key])

    async def read_log(self, replica: Replica) -> bool:
        """It knows by then what had been told before."""
        told = dict(self.told)
        is_read = await replica.sharing.read_log()
        if is_read:
            replica.known = {key: max(replica.known[key], told[key]) for key in KEYS}
        return is_read

    async def recover(self, replica: Replica) -> bool:
        """What the database has missed is told then."""
        is_well = await replica.store.recover()
        behind = replica.store._behind
        assert behind is not None
        if is_well and not behind.owes:
            for key in KEYS:
                self._is_told(key, replica.owed[key])
                replica.owed[key] = 0
        return is_well

    async def check(self) -> None:
        """Nothing is older than it may be, in the database and in memory."""
        rows = await self.replicas[0].gate.database.get_many(KEYS)
        for key, row in rows.items():
            assert row.item is None or version_of(row) >= self.told[key], f"{key.id} in the database"
        for number, replica in enumerate(self.replicas):
            for key in KEYS:
                held = replica.memory.look_at(key)
                if held is not None and held.item is not None:
                    assert version_of(held) >= replica.known[key], f"{key.id} in memory of {number}"

    async def load(self, replica: Replica, key: Key) -> Entry | None:
        """What it shows."""
        shown = (await replica.store.load([key])).get(key)
        if shown is not None and shown.item is not None:
            assert version_of(shown) >= replica.known[key]
        return shown

    async def end(self) -> None:
        """All is well again: each has told, and heard, and shows what the database has."""
        for fetched in self.fetched:
            self.land(fetched)
        for replica in self.replicas:
            replica.gate.way = "well"
        for replica in self.replicas:
            for _ in range(3):  # what it was late to learn makes it try once more
                if await self.recover(replica):
                    break
            else:
                raise AssertionError("it does not recover")
            await replica.store.flush()
        for replica in self.replicas:
            assert await self.read_log(replica)
        await self.check()
        for number, replica in enumerate(self.replicas):
            await self._is_up_to_date(replica, f"of {number}")

    async def _is_up_to_date(self, replica: Replica, whose: str) -> None:
        rows = await replica.gate.database.get_many(KEYS)
        for key in KEYS:
            shown = await self.load(replica, key)
            if shown is not None and shown.item is not None:
                assert version_of(shown) == self.version[key], f"{key.id} {whose}"
                assert not shown.durable or shown.local == rows[key].local, f"{key.id} {whose}"

    def _is_told(self, key: Key, number: int) -> None:
        self.told[key] = max(self.told[key], number)


def version_of(shown: Entry) -> int:
    assert shown.item is not None
    number: int = json.loads(shown.item)["version"]
    return number
