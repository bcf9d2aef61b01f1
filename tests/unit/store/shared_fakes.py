"""A tiered store over a database that others change, too: the test plays them."""

import itertools
from collections.abc import Sequence

from store.base import StoreError
from store.entry import Entry, Key, Write
from store.memory import MemoryTier
from store.shared import Change, Claim, Cursor, Kind, News
from store.sharing import SharedBy, Sharing
from store.tiered import TieredStore
from tests.unit.store.fakes import Database
from tests.unit.store.samples import NOW, derive

INTERVAL = 5.0
"""Seconds between two looks at the log."""


class Shared(Database):
    """A database with leases, and a log that the test writes."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[Key, list[int]] = {}
        self.log: list[Change] = []
        self.leaders: dict[str, int] = {}
        self.is_broken = False
        """Whether the log has lost something."""

    @property
    def is_there(self) -> bool:
        return True

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        stands = [
            write
            for write in writes
            if write.lease is None or write.lease in self.tokens.get(write.entry.key, [])
        ]
        stored = await super().put_many(stands)
        for key in stored:
            self.tokens.pop(key, None)
        return stored

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        await super().invalidate_many(keys)
        for key in keys:
            self.tokens.pop(key, None)

    async def lead(self, role: str, token: int, *, seconds: float) -> bool:
        self._called("lead", [])
        return self.leaders.setdefault(role, token) == token

    async def claim_many(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool = False
    ) -> dict[Key, Claim]:
        self._called("claim", keys)
        claims = {}
        for key in keys:
            is_granted = is_forced or key not in self.tokens
            if is_granted:
                self.tokens.setdefault(key, []).append(token)
            claims[key] = Claim(is_granted, self.rows.get(key), float(self.tokens[key][-1]))
        return claims

    async def release_many(self, keys: Sequence[Key], token: int) -> None:
        self._called("release", keys)
        for key in keys:
            self.tokens.pop(key, None)

    async def changes_begin(self) -> Cursor:
        self._called("begin", [])
        return Cursor(str(len(self.log)), "")

    async def changes_since(self, cursor: Cursor) -> News:
        self._called("changes", [])
        if self.is_broken:
            return News(Cursor(str(len(self.log)), ""), (), is_broken=True)
        return News(Cursor(str(len(self.log)), ""), self.log[int(cursor.snapshot) :])

    def happens(self, key: Key, kind: Kind) -> None:
        """Another replica has changed it."""
        self.tokens.pop(key, None)
        self.log.append(Change(key, kind))
        if kind == "erased":
            self.rows.pop(key, None)

    def fail(self, *calls: str) -> None:
        self.broken |= set(calls)


class SharedWorld:
    """A tiered store over it, and what its hooks were told."""

    def __init__(self, database: Shared) -> None:
        self.now = NOW
        self.doubts = 0
        self.errors: list[str] = []
        self.heard: list[Change] = []
        self.memory = MemoryTier(1 << 20, clock=lambda: self.now, on_evict=lambda *_: None)
        numbers = itertools.count(1)
        by = SharedBy(
            poll_interval=INTERVAL,
            monotonic=lambda: self.now,
            next_token=lambda: next(numbers),
            on_change=self.heard.append,
            on_doubt=self._doubt,
        )
        self.store = TieredStore(
            self.memory,
            database,
            clock=lambda: self.now,
            usable_until=lambda kept: kept.received_at + kept.lifetime,
            on_lookup=lambda *_: None,
            on_error=self.errors.append,
            max_pending=10,
            tables=frozenset({"user"}),
            derive_id=derive,
            shared=(database, by),
        )

    @property
    def sharing(self) -> Sharing:
        assert self.store.sharing is not None
        return self.store.sharing

    async def leased(self, write: Write) -> Write:
        """As the one who fetches it would write it."""
        token = self.sharing.next_token()
        claims = await self.sharing.claim([write.entry.key], token, seconds=1.0, is_forced=False)
        if not claims or not claims[write.entry.key].is_granted:
            raise StoreError("somebody else has the lease")
        return write._replace(lease=token)

    def _doubt(self) -> None:
        self.doubts += 1
