"""The databases of a simulated fleet: one of each pod, or one of all, with what a call takes."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from store.base import Adopted, Position, StoreStats
from store.effects import Applied, Decide, Delivery
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.shared import Change, Claim, Cursor, News

LOG_READ = "changes"
"""The call that reads the log, as calls are counted."""


class Rows:
    """The rows of a database, as far as a simulation asks for them. A call takes `call_takes` seconds, and is counted
    in `calls`."""

    def __init__(self, call_takes: float, calls: Counter[str]) -> None:
        self._call_takes = call_takes
        self._calls = calls
        self.rows: dict[Key, Entry] = {}

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
        self._calls[name] += 1
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

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
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

    async def note_used(self, uses: Sequence[tuple[Key, float]]) -> None:
        """See `store.base.Store`."""
        raise NotImplementedError

    async def recently_used(self, limit: int) -> list[tuple[Key, float]]:
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


class Server:
    """What all replicas share. A notification takes `takes` seconds; `clock` gives epoch seconds."""

    def __init__(self, takes: float, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.rows: dict[Key, Entry] = {}
        self.leases: dict[Key, tuple[float, list[int]]] = {}
        """Until when, and who may store under it."""
        self.log: list[tuple[int, Change]] = []
        """Each change, with the number of the replica that has made it."""
        self.listeners: dict[Callable[[], object], None] = {}
        """In the order in which they came, so that a simulation is the same each time."""
        self._takes = takes

    def notify(self) -> None:
        """Wake all who listen, in a while: the one who has made the change, too."""
        for heard in self.listeners:
            asyncio.get_running_loop().call_later(self._takes, heard)


class SharedRows(Rows):
    """`store.shared.SharedStore` as one replica has it."""

    is_there = True
    _replicas = itertools.count()

    def __init__(self, call_takes: float, calls: Counter[str], server: Server) -> None:
        super().__init__(call_takes, calls)
        self.server = server
        self.rows = server.rows
        self._leases = server.leases
        self._origin = next(self._replicas)

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """See `store.base.Store`; what has lost its lease is left out."""
        await self._called("put")
        stands = [w for w in writes if w.lease is None or w.lease in self._tokens(w.entry.key)]
        for write in stands:
            self._leases.pop(write.entry.key, None)
        return {write.entry.key: self._stored(write.entry) for write in stands}

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """See `store.base.Store`; the others are told."""
        await super().invalidate_many(keys)
        for key in keys:
            self._leases.pop(key, None)
            self.server.log.append((self._origin, Change(key, "invalidated")))
        self.server.notify()

    async def claim_many(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool = False
    ) -> dict[Key, Claim]:
        """See `store.shared.SharedStore`."""
        await self._called("claim")
        now = self.server.clock()
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
            if token in self._tokens(key):
                del self._leases[key]

    async def lead(self, role: str, token: int, *, seconds: float) -> bool:
        """See `store.shared.SharedStore`."""
        raise NotImplementedError

    async def changes_begin(self) -> Cursor:
        """See `store.shared.SharedStore`."""
        await self._called(LOG_READ)
        return Cursor(str(len(self.server.log)), "")

    async def changes_since(self, cursor: Cursor) -> News:
        """See `store.shared.SharedStore`."""
        await self._called(LOG_READ)
        log = self.server.log
        others = [change for origin, change in log[int(cursor.snapshot) :] if origin != self._origin]
        return News(Cursor(str(len(log)), ""), others)

    def _tokens(self, key: Key) -> list[int]:
        return self._leases.get(key, (0.0, []))[1]
