"""A tiered store over a database that the test holds by the hand."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from store.base import StoreError, StoreStats
from store.entry import Entry, Key, Write
from store.memory import MemoryTier
from store.tiered import TieredStore
from tests.unit.store.samples import NOW, derive


class Database:
    """A store in a dictionary. It fails when told, and answers reads and writes only while their gates are open."""

    def __init__(self) -> None:
        self.rows: dict[Key, Entry] = {}
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.broken: set[str] = set()
        self.bad: set[str] = set()
        self.may_read = asyncio.Event()
        self.may_write = asyncio.Event()
        self.may_read.set()
        self.may_write.set()
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
        stored = {sent.key: sent.confirmed(internal_id=derive(sent.key, 0), version=1) for sent, _ in writes}
        self.rows |= stored
        return stored

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        await self.may_write.wait()
        self._called("invalidate", keys)
        for key in keys:
            if key in self.rows:
                self.rows[key] = replace(self.rows[key], item=None)

    async def stats(self) -> StoreStats:
        self._called("stats", [])
        return StoreStats(4096, {"user": len(self.rows)})

    async def prune(self, *, older_than: float) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class World:
    """A tiered store and what its hooks were told."""

    def __init__(self, database: Database | None, *, max_pending: int = 10, memory: int = 1 << 20) -> None:
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
            wanted=True,
        )


async def turns(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it did not come to that")
