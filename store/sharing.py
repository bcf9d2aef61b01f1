"""A memory tier over a database that others change, too: what it learns from the change log, and the leases of what is
fetched."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from store.base import StoreError
from store.catching_up import CatchUp
from store.entry import Entry, Key, Write
from store.generation import Generations, Watch
from store.memory import MemoryTier
from store.rows import Rows
from store.shared import Change, Claim, Cursor, SharedStore
from store.write_behind import WriteBehind

_EARLY: Final = 0.75
"""The log is read when so much of the interval is over, so that a read that takes its time is still in time."""

_RETRY: Final = 1.0
"""Seconds after a read that failed, at the most, when memory counts as stale already."""

_RENEWED_FOR: Final = 1.0
"""Seconds for which a lease is taken that is needed at once."""


_MAX_UNANSWERED: Final = 10_000
"""Changes that are remembered one by one: each has cost a request, which failed."""


class SharedBy(Struct, frozen=True):
    """What `Sharing` is made with, besides the parts of a tiered store."""

    poll_interval: float
    """Seconds."""
    monotonic: Callable[[], float]
    """Seconds that never step."""
    next_token: Callable[[], int]
    """A number that nobody else has."""
    on_change: Callable[[Change], None]
    """Told of what others have changed."""
    on_doubt: Callable[[], None]
    """Told once that memory counts as stale, or was forgotten."""


class Sharing:
    """Keeps memory coherent with the log: `keep` reads it when it is woken (`wake`), and each `poll_interval` seconds.

    If it could not be read for that long, what memory has counts as stale, but for what the upstream has said since
    (`believed`). `promote(entry)` takes a row into memory. `on_error(operation)` is told of a failed claim, release,
    lead or changes.
    """

    def __init__(
        self,
        database: SharedStore,
        memory: MemoryTier,
        behind: WriteBehind,
        rows: Rows,
        catch_up: CatchUp,
        generations: Generations,
        erasures: Generations,
        by: SharedBy,
        *,
        promote: Callable[[Entry], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._database = database
        self._memory = memory
        self._behind = behind
        self._rows = rows
        self._catch_up = catch_up
        self._generations = generations
        self._erasures = erasures
        self._promote = promote
        self._on_change = by.on_change
        self._on_doubt = by.on_doubt
        self._on_error = on_error
        self._poll_interval = by.poll_interval
        self._monotonic = by.monotonic
        self.next_token = by.next_token
        self._token: int | None = None
        self.is_coherent = False
        """Whether memory is known to have nothing that was changed longer ago than the interval."""
        self._heard_at = by.monotonic() - by.poll_interval
        self._cursor: Cursor | None = None
        self._unanswered: set[Key] = set()
        self._reading = asyncio.Lock()
        self._woken = asyncio.Event()

    @property
    def is_late(self) -> bool:
        """Whether memory may have something that was changed longer ago than the interval. Looks at the clock: whoever
        stood still has missed it, and is asked before his timers are."""
        return not self.is_coherent or self.lag() >= self._poll_interval

    def lag(self) -> float:
        """Seconds since when it is not known what others have changed."""
        return self._monotonic() - self._heard_at

    def wake(self) -> None:
        """There is something in the log, or may be."""
        self._woken.set()

    async def keep(self) -> None:
        """Read the log until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()
            self._woken.clear()
            left = self._poll_interval - self.lag()
            with suppress(TimeoutError):
                async with asyncio.timeout(left if self.is_coherent and left > 0 else None):
                    await self.read_log()
            self._look_at_lag()

    async def read_log(self) -> bool:
        """Read the log to its end, and do what it says; whether that could be done."""
        async with self._reading:
            asked_at = self._monotonic()
            try:
                if self._cursor is None:
                    self._cursor = await self._database.changes_begin()
                    self.forget_all()  # what memory has, it has without having heard of anything
                else:
                    news = await self._database.changes_since(self._cursor)
                    self._cursor = news.cursor
                    if news.is_broken:
                        self.forget_all()
                    for change in news.changes:
                        self.apply(change)
            except StoreError:
                self._on_error("changes")
                self._look_at_lag()
                return False
            while self._unanswered:
                self._apply_changed(self._unanswered.pop())
            self._heard_at = asked_at
            self.is_coherent = True
            return True

    def apply(self, change: Change) -> None:
        """Another replica has changed an entity."""
        key = change.key
        self._on_change(change)
        if change.kind == "changed":
            self._apply_changed(key)
            return
        if change.kind == "erased":
            self._erasures.changed(key)
            self._catch_up.forget(key)
        self._generations.invalidated(key)
        self._behind.overtaken(key)
        self._memory.discard(key)

    def unanswered(self, key: Key) -> None:
        """A change of this replica's own may have been made: its row is read again once the database answers."""
        if len(self._unanswered) < _MAX_UNANSWERED:
            self._unanswered.add(key)
        else:
            self._cursor = None  # with so many, all is

    def forget_all(self) -> None:
        """Anything may have been changed: all goes that is in memory, and is read again."""
        self._generations.all_changed()
        self._behind.all_overtaken()
        self._catch_up.clear()
        if self._memory.bytes:
            self._memory.clear()
            self._on_doubt()

    def believed(self, entry: Entry, now: float) -> Entry:
        """The entry as it may be used at `now` (epoch seconds): while nothing is heard, what was fetched longer ago
        than the interval is at the end of its freshness."""
        if not self.is_late or entry.received_at + self._poll_interval > now or entry.ttl(now) <= 0:
            return entry
        return replace(entry, lifetime=entry.age(now))

    async def claim(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool
    ) -> dict[Key, Claim] | None:
        """Take leases, for so many seconds; None if the database can't say who has them."""
        # An invalidation that it has still to learn would take the lease away that is taken now.
        await self._behind.forgotten_by_now(keys)
        try:
            return await self._database.claim_many(keys, token, seconds=seconds, is_forced=is_forced)
        except StoreError:
            self._on_error("claim")
            return None

    async def release(self, keys: Sequence[Key], token: int) -> None:
        """Give up leases under which nothing is going to be stored. They end by themselves if that fails."""
        try:
            await self._database.release_many(keys, token)
        except StoreError:
            self._on_error("release")

    async def lead(self, role: str, seconds: float) -> bool:
        """Take a role that one replica has at a time, for so many seconds; whether it could be had. Nobody has it while
        the database can't say, and it is of no use to who does not hear of what others change."""
        if self.is_late:
            return False
        if self._token is None:
            self._token = self.next_token()
        try:
            return await self._database.lead(role, self._token, seconds=seconds)
        except StoreError:
            self._on_error("lead")
            return False

    def learn(self, row: Entry, seen: Watch) -> None:
        """Take a row that another replica has stored into memory, unless something has happened since `seen`."""
        if seen.is_current(row.key):
            self._promote(row)

    async def leased_again(self, writes: Sequence[Write]) -> list[Write]:
        """Writes that were fetched without a lease, with one: what others have done to them before is known by then,
        and is gone from memory; what they do from now on takes the lease away. Empty if that can't be had."""
        token = self.next_token()
        keys = [write.entry.key for write in writes]
        claims = await self.claim(keys, token, seconds=_RENEWED_FOR, is_forced=True) if keys else None
        if claims is None or not await self.read_log():
            return []
        for key in keys:
            if key not in claims:  # it can have no row
                self._catch_up.confirmed(key)
        return [write._replace(lease=token) for write in writes if write.entry.key in claims]

    def _apply_changed(self, key: Key) -> None:
        # What is not durable is newer, and its confirmation brings what is in the row.
        held = self._memory.look_at(key)
        if held is not None and held.durable:
            self._memory.drop(key)
        self._rows.changed_elsewhere(key)

    def _pause(self) -> float:
        """Seconds until the log is to be read without having been woken."""
        if self.is_coherent:
            return max(0.0, _EARLY * self._poll_interval - self.lag())
        return min(_RETRY, _EARLY * self._poll_interval)

    def _look_at_lag(self) -> None:
        if self.is_coherent and self.lag() >= self._poll_interval:
            self.is_coherent = False
            self._on_doubt()
