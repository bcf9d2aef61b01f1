"""The rows of a database, as memory and what is written behind leave them standing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from typing import TypeVar

from msgspec.structs import replace

from store.base import Position, Store, StoreError
from store.entry import Column, Entry, Key
from store.gathered_reads import GatheredReads
from store.generation import Generations
from store.memory import MemoryTier, next_position
from store.write_behind import WriteBehind

T = TypeVar("T")

GetNow = Callable[[Sequence[Key]], Mapping[Key, Entry] | None]
"""The rows of some keys that there are, read without waiting; None if that can't be had."""

_JUST_NOW = 0.1
"""Seconds within which a request that the fast lane has looked at comes to be answered: what had no row then has none
now, unless it was given one."""

_TAKEN_AT_ONCE = 25
"""Rows that are taken into memory before others have their turn: under a millisecond."""

_PRECISION = 0.001
"""Seconds: a time of last sync that a database gives back is rounded to the millisecond."""


class Rows:
    """Reads of a database, and changes of one row, for a memory tier that is to show nothing older than they do.

    `erasures` are of entities. `promote(entry)` takes what was read into memory, and `on_changed(row)` is told of each
    row that was changed, `on_unanswered(key)` of each that may have been.
    `on_lookup(resource, "database", result)`: hit, miss or error, for each key that was read.
    `on_result(operation, ok)` is told of each read of entries; `on_error(operation)` of what failed besides: find,
    reserve, change or unsynced. `get_now` reads without waiting, where it can. The database and
    what is written behind are others' to close.
    """

    def __init__(
        self,
        database: Store,
        behind: WriteBehind,
        memory: MemoryTier,
        generations: Generations,
        erasures: Generations,
        *,
        promote: Callable[[Entry], None],
        on_changed: Callable[[Entry], None],
        on_lookup: Callable[[str, str, str], None],
        on_result: Callable[[str, bool], None],
        on_error: Callable[[str], None],
        get_now: GetNow,
        clock: Callable[[], float],
        on_unanswered: Callable[[Key], None] = lambda _key: None,
    ) -> None:
        self._database = database
        self._on_unanswered = on_unanswered
        self._get_now = get_now
        self._clock = clock
        self._rowless: tuple[Sequence[Key], float] | None = None
        """Keys of which `take_now` found no row, and when."""
        self._behind = behind
        self._memory = memory
        self._generations = generations
        self._erasures = erasures
        self._promote = promote
        self._on_changed = on_changed
        self._on_lookup = on_lookup
        self._on_error = on_error
        self._reads = GatheredReads(database, on_result=on_result)
        self._changes = Generations()  # those that keep the representation: they matter to reads alone
        self._changing: set[asyncio.Task[Entry | None]] = (
            set()
        )  # one for each caller, even if it has gone away

    def known(self, key: Key) -> Entry | None:
        """What is known of the key without the database."""
        entry = self._memory.get(key)
        if entry is None:
            entry = self._behind.entry(key)
            if entry is not None:
                self._promote(entry)
        return entry

    def load_now(self, keys: Sequence[Key]) -> dict[Key, Entry] | None:
        """What `load` gives, where it can be read without waiting; else None. Nothing can happen meanwhile."""
        rows = {} if self._had_no_rows(keys) else self._get_now(keys)
        if rows is None:
            return None
        found: dict[Key, Entry] = {}
        for key in keys:
            row = rows.get(key)
            if row is not None and self._behind.is_forgotten(key):
                row = replace(row, item=None, headers=())
            if row is not None:
                self._offer(row)
                found[key] = row
            self._on_lookup(key.resource, "database", "miss" if row is None or row.item is None else "hit")
        return found

    def take_now(self, keys: Sequence[Key]) -> bool:
        """Take into memory, which has nothing of these keys, what `load_now` gives, if each has a representation; else
        nobody has looked."""
        for key in keys:
            if self._behind.is_forgotten(key) or self._behind.entry(key) is not None:
                return False
        rows = self._get_now(keys)
        if rows is None:
            return False
        if not rows:
            self._rowless = keys, self._clock()
        for key in keys:
            if key not in rows or rows[key].item is None:
                return False
        for key in keys:
            self._promote(rows[key])
            self._on_lookup(key.resource, "database", "hit")
        return True

    async def load(self, keys: Sequence[Key], *, strict: bool = False) -> dict[Key, Entry]:
        """What there is of those keys, read together with what others ask for; husks too.

        A database that fails counts as one that has nothing, or, if `strict`, raises StoreError. What is put,
        invalidated or changed meanwhile wins.
        """
        now = self.load_now(keys)
        if now is not None:
            return now
        found, overtaken = await self._load(keys, strict=strict)
        if overtaken:
            # Once: nobody waits for as long as somebody changes the row. What is overtaken again is not promoted.
            again, still = await self._load(list(overtaken), strict=strict)
            found |= still | again
        return found

    async def read_ahead(self, keys: Sequence[Key], take: Callable[[Entry], bool]) -> bool:
        """Give `take` the representations of those keys, in their order, that a look-up would find in the database
        alone: nobody has asked for them. Ends as soon as it says no; whether it never did. Raises StoreError."""
        keys = [key for key in keys if self._is_unknown(key)]
        with closing(self._generations.watch(keys)) as seen, closing(self._changes.watch(keys)) as unchanged:
            rows = await self._database.get_many(keys)
            for place, key in enumerate(keys):
                if place % _TAKEN_AT_ONCE == 0:
                    await asyncio.sleep(0)
                row = rows.get(key)
                is_current = seen.is_current(key) and unchanged.is_current(key) and self._is_unknown(key)
                if row is not None and row.item is not None and is_current and not take(row):
                    return False
        return True

    async def standing(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The rows that there are, as the database has them, whatever is known besides. One that fails has none."""
        answers = await self._reads.get(keys)
        return {key: row for key, row in answers.items() if row is not None}

    async def find(self, resource: str, internal_id: str) -> str | None:
        """The external id of the row with that internal id. Raises StoreError."""
        return await self._counted("find", self._database.find(resource, internal_id))

    async def reserve(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        """Each as its row stands; a husk, last synced `at` (epoch seconds), where there was none. Raises StoreError."""
        self._rowless = None
        return await self._counted("reserve", self._database.reserve_many(keys, at=at))

    def changed_elsewhere(self, key: Key) -> None:
        """Another replica has changed the row, and not its representation."""
        self._changes.changed(key)

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> tuple[list[Entry], Position | None]:
        """Those of the database's list of which nothing newer is known, and where the list goes on, if it does.

        Raises StoreError.
        """
        # What is forgotten now may be read all the same, even if the database has learned it by then.
        forgotten = self._behind.forgotten()
        unsynced = self._database.longest_unsynced(resource, before=before, after=after, limit=limit)
        entries = await self._counted("unsynced", unsynced)
        standing = [entry for entry in entries if entry.key not in forgotten and not self._is_outdated(entry)]
        return standing, next_position(entries, limit)

    async def change(self, key: Key, local: Mapping[str, Column], synced_at: float | None) -> Entry | None:
        """Set local attributes, or the time of last sync (epoch seconds); the entry as it stands then, in memory, too.

        None: there is no row. What is on its way is waited for. A caller that goes away breaks nothing off: memory
        has to learn what the database did. Raises StoreError.
        """
        change = asyncio.create_task(self._change(key, local, synced_at), name="store-change")
        self._changing.add(change)
        change.add_done_callback(self._changing.discard)
        return await asyncio.shield(change)

    async def close(self) -> None:
        """Break off what is being read, and wait for what is being changed. Idempotent."""
        await self._reads.close()
        if self._changing:
            await asyncio.wait(self._changing)

    async def _load(self, keys: Sequence[Key], *, strict: bool) -> tuple[dict[Key, Entry], dict[Key, Entry]]:
        """What was found, and what was read but may be from before a change of the row."""
        # What is still to be forgotten when the read begins may be in its answer, even if it is forgotten by then.
        were_forgotten = {key for key in keys if self._behind.is_forgotten(key)}
        found: dict[Key, Entry] = {}
        overtaken: dict[Key, Entry] = {}
        with closing(self._generations.watch(keys)) as seen, closing(self._changes.watch(keys)) as unchanged:
            answers = await self._reads.get(keys)
            for key in keys:
                # An answer from before something happened is not the truth any more.
                row = answers.get(key) if seen.is_current(key) else None
                if row is not None and (key in were_forgotten or self._behind.is_forgotten(key)):
                    row = replace(row, item=None, headers=())
                entry = row if unchanged.is_current(key) else None
                if entry is not None:
                    self._offer(entry)
                else:
                    entry = self.known(key)
                if entry is not None:
                    found[key] = entry
                elif row is not None:
                    overtaken[key] = entry = row
                result = "hit" if entry is not None and entry.item is not None else "miss"
                self._on_lookup(key.resource, "database", result if key in answers else "error")
                if strict and entry is None and key not in answers:
                    raise StoreError("get: it is not known what there is")
        return found, overtaken

    def _had_no_rows(self, keys: Sequence[Key]) -> bool:
        """Whether there was no row of these keys just now, when `take_now` looked: a second look would be the same."""
        last, self._rowless = self._rowless, None
        return last is not None and last[0] == keys and self._clock() - last[1] < _JUST_NOW

    def _offer(self, entry: Entry) -> None:
        if entry.item is not None and self._memory.get(entry.key) is None:
            self._promote(entry)

    async def _change(self, key: Key, local: Mapping[str, Column], synced_at: float | None) -> Entry | None:
        async with self._behind.quiet(key):
            was_forgotten = self._behind.is_forgotten(key)
            with (
                closing(self._generations.watch([key])) as seen,
                closing(self._erasures.watch([key])) as unerased,
            ):
                changed = self._database.change(key, local=local, synced_at=synced_at)
                try:
                    entry = await self._counted("change", changed)
                except StoreError:
                    self._on_unanswered(key)
                    raise
                is_current, is_erased = seen.is_current(key), not unerased.is_current(key)
        self._changes.changed(key)
        if entry is None:
            return None
        if not is_erased:
            self._on_changed(entry)
        held = self.known(key)
        is_gone = not is_current and (held is None or held.absent)
        if is_gone or was_forgotten or self._behind.is_forgotten(key):
            return replace(entry, item=None, headers=())
        if entry.item is None and held is not None and held.durable and held.item is not None:
            # The row has made room for others; memory still has what it lost.
            entry = replace(
                held, local=entry.local, version=entry.version, last_synced_at=entry.last_synced_at
            )
        # What is not durable is newer, and its confirmation brings the local attributes.
        if entry.item is not None and (held is None or held.durable):
            self._promote(entry)
        return entry

    def _is_unknown(self, key: Key) -> bool:
        """Whether nothing is known of the key but what its row says."""
        is_held = self._memory.look_at(key) is not None or self._behind.entry(key) is not None
        return not (is_held or self._behind.is_forgotten(key))

    def _is_outdated(self, entry: Entry) -> bool:
        if self._behind.is_forgotten(entry.key):
            return True
        known = self._memory.look_at(entry.key) or self._behind.entry(entry.key)
        return known is not None and known.last_synced_at >= entry.last_synced_at + _PRECISION

    async def _counted(self, operation: str, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except StoreError:
            self._on_error(operation)
            raise
