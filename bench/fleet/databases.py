"""The databases of a simulated fleet: one of each pod, or one of all, with what a call takes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from store.base import Adopted, Position, StoreStats
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.shared import Change, Claim, Cursor, News


class Rows:
    """The rows of a database, as far as a simulation asks for them. `call_takes`: seconds of a call."""

    def __init__(self, call_takes: float) -> None:
        self._call_takes = call_takes
        self.rows: dict[Key, Entry] = {}
        self.calls: Counter[str] = Counter()

    def holds(self, resource: str) -> bool:
        """Whether the resource has a table here."""
        return resource == "user"

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """See `store.base.Store`."""
        await self._called("get")
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """See `store.base.Store`."""
        await self._called("put")
        return {write.entry.key: self._stored(write.entry) for write in writes}

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """See `store.base.Store`."""
        await self._called("invalidate")
        for key in keys:
            if key in self.rows:
                self.rows[key] = replace(self.rows[key], item=None)

    def _stored(self, sent: Entry) -> Entry:
        row = self.rows.get(sent.key)
        version = 1 if row is None else row.version + (row.item != sent.item)
        self.rows[sent.key] = sent.confirmed(
            internal_id=f"{sent.key.resource}:{sent.key.id}", version=version
        )
        return self.rows[sent.key]

    async def _called(self, name: str) -> None:
        self.calls[name] += 1
        await asyncio.sleep(self._call_takes)

    # What no simulated request asks for.

    async def invalidate_all(self) -> None:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def find(self, resource: str, internal_id: str) -> str | None:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def reserve_many(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def erase_many(self, keys: Sequence[Key]) -> None:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def check(self) -> None:
        """See `store.base.Store`."""

    async def stats(self, *, at: float) -> StoreStats:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def prune(self, *, older_than: float) -> int:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def close(self) -> None:
        """See `store.base.Store`."""


class SharedRows(Rows):
    """One database of all replicas: leases, a log, and a notification of each change, which `on_change` hears of."""

    is_there = True

    def __init__(self, call_takes: float, clock: Callable[[], float]) -> None:
        super().__init__(call_takes)
        self._clock = clock
        self._leases: dict[Key, tuple[float, list[int]]] = {}
        self.log: list[Change] = []
        self.listeners: set[Callable[[], object]] = set()

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """See `store.base.Store`; what has lost its lease is left out."""
        await self._called("put")
        stands = [w for w in writes if w.lease in self._leases.get(w.entry.key, (0.0, []))[1]]
        for write in stands:
            del self._leases[write.entry.key]
        return {write.entry.key: self._stored(write.entry) for write in stands}

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """See `store.base.Store`; the others are told."""
        await super().invalidate_many(keys)
        for key in keys:
            self._leases.pop(key, None)
            self.log.append(Change(key, "invalidated"))
        for heard in self.listeners:
            asyncio.get_running_loop().call_later(self._call_takes / 2, heard)

    async def claim_many(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool = False
    ) -> dict[Key, Claim]:
        """See `store.shared.SharedStore`."""
        await self._called("claim")
        now = self._clock()
        claims = {}
        for key in keys:
            until, tokens = self._leases.get(key, (0.0, []))
            is_granted = is_forced or until < now
            if is_granted:
                until = now + seconds
                self._leases[key] = (until, [*tokens, token])
            claims[key] = Claim(is_granted, self.rows.get(key), until)
        return claims

    async def release_many(self, keys: Sequence[Key], token: int) -> None:
        """See `store.shared.SharedStore`."""
        await self._called("release")
        for key in keys:
            if token in self._leases.get(key, (0.0, []))[1]:
                del self._leases[key]

    async def changes_begin(self) -> Cursor:
        """See `store.shared.SharedStore`."""
        await self._called("changes")
        return Cursor(str(len(self.log)), "")

    async def changes_since(self, cursor: Cursor) -> News:
        """See `store.shared.SharedStore`."""
        await self._called("changes")
        return News(Cursor(str(len(self.log)), ""), self.log[int(cursor.snapshot) :])
