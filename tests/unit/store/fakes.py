"""A tiered store over a database that the test holds by the hand."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest
from msgspec.structs import replace

from store.base import Adopted, Position, Store, StoreError, StoreStats
from store.effects import Applied, Decide, Delivery, Effect, Forget, Keep, Replace
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.memory import MemoryTier
from store.rows import GetNow
from store.tiered import TieredStore
from tests.unit.store.samples import NOW, derive

UNREADABLE = b"unreadable"
"""An item whose columns can't be told."""


class Database:
    """A store in a dictionary. It fails when told. What it reads is as of the call, what it changes as of when its gate
    is open; `may_answer` holds back what has been changed by then."""

    def __init__(self) -> None:
        self.rows: dict[Key, Entry] = {}
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.broken: set[str] = set()
        self.bad: set[str] = set()
        self.delivered: set[str] = set()
        self.used: dict[Key, float] = {}
        self.may_read = asyncio.Event()
        self.may_write = asyncio.Event()
        self.may_erase = asyncio.Event()
        self.may_change = asyncio.Event()
        self.may_answer = asyncio.Event()
        for gate in (self.may_read, self.may_write, self.may_erase, self.may_change, self.may_answer):
            gate.set()
        self.is_stepped = False
        """Whether each put closes the gate behind it."""

    def holds(self, resource: str) -> bool:
        return resource == "user"

    def _called(self, call: str, keys: Sequence[Key]) -> None:
        self.calls.append((call, tuple(key.id for key in keys)))
        if call in self.broken or (call == "put" and any(key.id in self.bad for key in keys)):
            raise StoreError(f"{call}: broken")

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        self._called("get", keys)
        answer = {key: self.rows[key] for key in keys if key in self.rows}
        await self.may_read.wait()
        return answer

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        await self.may_write.wait()
        if self.is_stepped:
            self.may_write.clear()
        self._called("put", [write.entry.key for write in writes])
        stored = {sent.key: self._stored(sent) for sent, *_ in writes}
        self.rows |= stored
        return stored

    def _stored(self, sent: Entry) -> Entry:
        row = self.rows.get(sent.key)
        local = NO_LOCALS if row is None else row.local
        return sent.confirmed(internal_id=derive(sent.key, 0), version=1, local=local)

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        await self.may_write.wait()
        self._called("invalidate", keys)
        for key in keys:
            if key in self.rows:
                self.rows[key] = replace(self.rows[key], item=None)

    async def find(self, resource: str, internal_id: str) -> str | None:
        self.calls.append(("find", (internal_id,)))
        if "find" in self.broken:
            raise StoreError("find: broken")
        found = [
            key.id
            for key, row in self.rows.items()
            if (key.resource, row.internal_id) == (resource, internal_id)
        ]
        return found[0] if found else None

    async def reserve_many(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        self._called("reserve", keys)
        for key in keys:
            if key not in self.rows:
                husk = Entry(key=key, item=None, received_at=at, lifetime=0.0, last_synced_at=at)
                self.rows[key] = husk.confirmed(internal_id=derive(key, 0), version=1)
        return {key: self.rows[key] for key in keys}

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        await self.may_change.wait()
        self._called("change", [key])
        if key not in self.rows:
            return None
        row = self.rows[key]
        self.rows[key] = replace(
            row,
            local={**row.local, **local} or NO_LOCALS,
            last_synced_at=row.last_synced_at if synced_at is None else synced_at,
        )
        changed = self.rows[key]
        await self.may_answer.wait()
        return changed

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        await self.may_change.wait()
        self._called("apply", [key])
        if delivery.id in self.delivered:
            return Applied(None)
        before = self.rows.get(key)
        effect: Effect = Keep()
        if self.holds(key.resource):
            effect = decide(before)
        self.delivered.add(delivery.id)
        match effect:
            case Forget(version) if before is not None:
                self.rows[key] = replace(before, item=None, source_version=version or before.source_version)
            case Replace(write):
                self.rows[key] = self._stored(write.entry)
        after = self.rows.get(key)
        await self.may_answer.wait()
        return Applied(effect, before, after)

    async def erase_many(self, keys: Sequence[Key]) -> None:
        await self.may_write.wait()
        await self.may_erase.wait()
        self._called("erase", keys)
        for key in keys:
            self.rows.pop(key, None)

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        self._called("unsynced", [])
        unsynced = sorted(
            (Position(row.last_synced_at, row.internal_id or ""), row)
            for key, row in self.rows.items()
            if key.resource == resource and row.item is not None and row.last_synced_at < before
        )
        answer = [row for position, row in unsynced if after is None or position > after][:limit]
        await self.may_read.wait()
        return answer

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        raise NotImplementedError

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        raise NotImplementedError

    async def invalidate_all(self) -> None:
        await self.may_write.wait()
        self._called("invalidate all", [])
        self.rows = {key: replace(row, item=None) for key, row in self.rows.items()}

    async def note_used(self, uses: Sequence[tuple[Key, float]]) -> None:
        await self.may_write.wait()
        self._called("note", [key for key, _ in uses])
        self.used |= uses

    async def recently_used(self, limit: int) -> list[tuple[Key, float]]:
        self._called("recent", [])
        recent = sorted(self.used.items(), key=lambda use: use[1], reverse=True)
        return [(key, at) for key, at in recent if key in self.rows and self.rows[key].item is not None][
            :limit
        ]

    async def check(self) -> None:
        self._called("check", [])

    async def stats(self, *, at: float) -> StoreStats:
        self._called("stats", [])
        stale = sum(entry.ttl(at) < 0 for entry in self.rows.values())
        return StoreStats(4096, {"user": len(self.rows)}, {"user": stale})

    async def prune(self, *, older_than: float) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class World:
    """A tiered store and what its hooks were told."""

    def __init__(
        self,
        database: Store | None,
        *,
        max_pending: int = 10,
        memory: int = 1 << 20,
        get_now: GetNow = lambda _keys: None,
    ) -> None:
        self.now = NOW
        self.errors: list[str] = []
        self.lookups: list[tuple[str, str, str]] = []
        self.memory = MemoryTier(memory, clock=lambda: self.now, on_evict=lambda *_: None)
        self.store = TieredStore(
            self.memory,
            database,
            clock=lambda: self.now,
            usable_until=lambda kept: kept.received_at + kept.lifetime,
            on_lookup=lambda *what: self.lookups.append(what),
            on_error=self.errors.append,
            max_pending=max_pending,
            tables=frozenset({"user"}),
            derive_id=derive,
            as_write=lambda kept: None if kept.item == UNREADABLE else Write(kept, {}),
            get_now=get_now,
        )


async def turns(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it did not come to that")
