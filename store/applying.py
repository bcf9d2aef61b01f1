"""What owners say of their entities, in memory and in the database: one message of an entity at a time."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from cachetools import TLRUCache, TTLCache
from msgspec.structs import replace

from store.base import Store, StoreError
from store.effects import Applied, Decide, Delivery, Effect, Forget, Keep, Replace
from store.entry import AT_LEAST, Entry, Key
from store.generation import Generations
from store.memory import MemoryTier
from store.write_behind import WriteBehind

NAMED_FOR: Final = 60.0
"""Seconds for which an answer of the owner's that is older than what its message has named is not believed: what it
reads from may be behind what it writes to. After that its answer is its word, older or not: it may have gone back."""

_MOST_NAMED: Final = 20_000
"""Entities of which that is remembered: 60 s of more than 300 messages a second. Some 5 MB."""

_MOST_DELIVERED: Final = 200_000
"""Messages that are remembered in memory, where there is no database: 15 minutes of 200 a second. Some 30 MB then."""


def _until(_name: str, until: float, _now: float) -> float:
    return until


class Applying:
    """Does what messages say. `database`, `behind`: None where no resource has a table. `has_row(key)`: whether the
    database has a place for it. `promote(entry)` takes an entry into memory; `as_put(entry)` is one that has no row, as
    memory has it. `forget(keys)` is told of what has to be forgotten, for the database has failed. `is_shared`: others
    may have changed the row before memory has heard of it. `learned(row)` is told of each row that was changed. `clock`
    gives epoch seconds."""

    def __init__(
        self,
        memory: MemoryTier,
        database: Store | None,
        behind: WriteBehind | None,
        generations: Generations,
        *,
        has_row: Callable[[Key], bool],
        promote: Callable[[Entry], None],
        as_put: Callable[[Entry], Entry],
        forget: Callable[[list[Key]], object],
        learned: Callable[[Entry], None],
        is_shared: bool,
        clock: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._database = database
        self._behind = behind
        self._generations = generations
        self._has_row = has_row
        self._promote = promote
        self._as_put = as_put
        self._forget_later = forget
        self._learned = learned
        self._is_shared = is_shared
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[Applied]] = set()  # one for each caller, even if it has gone away
        self._named: TTLCache[Key, str] = TTLCache(_MOST_NAMED, NAMED_FOR, timer=clock)
        self._delivered: TLRUCache[str, float, float] = TLRUCache(_MOST_DELIVERED, _until, timer=clock)

    def named(self, key: Key) -> str | None:
        """The version of an entity that a message has named within the last minute, if one has."""
        return self._named.get(key._replace(variant=""))

    def erased(self, key: Key) -> None:
        """Nothing is known of the entity any more."""
        self._named.pop(key, None)

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        """Do what a message says of an entity, which no variant is, unless it was delivered before; return once that is
        durable and no request is answered with what was held before.

        Raises StoreError when that can't be had. Then the entity is forgotten, and the message may come again. Raises
        what `decide` raises, having done nothing. A caller that goes away breaks nothing off: memory has to learn what
        the database did.
        """
        task = asyncio.create_task(self._one_at_a_time(key, decide, delivery), name="store-apply")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is under way. Idempotent."""
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[Applied]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone away

    async def _one_at_a_time(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if self._database is None or self._behind is None:
                return self._in_memory(key, decide, delivery)
            try:
                if self._has_row(key):
                    return await self._in_row(self._database, self._behind, key, decide, delivery)
                decide(self._in_memory_alone(key))  # if it does not fit, nothing is to be remembered
                applied = await self._database.apply(key, decide, delivery)
            except StoreError:
                # Whatever the message says, what is held may be out of date.
                self._forget_later([key])
                raise
            if applied.effect is None:
                if self._is_shared:  # another replica has taken it, and memory may not have heard of that
                    self._forget(key, None)
                return applied
            try:
                return self._on_memory(key, decide)
            except BaseException:
                self._forget(key, None)  # it fitted what was there before
                raise

    def _in_memory(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        if delivery.id in self._delivered:
            return Applied(None)
        applied = self._on_memory(key, decide)
        self._delivered[delivery.id] = delivery.at + delivery.remembered_for
        return applied

    def _on_memory(self, key: Key, decide: Decide) -> Applied:
        """The same of an entity that has no row: nothing can come between."""
        held = self._memory.look_at(key)
        before = None if held is None or held.absent else held
        effect = decide(self._in_memory_alone(key))
        if isinstance(effect, Keep):
            self._keep(key, before)
            return Applied(effect, before, before)
        self._note(key, effect)
        entry = self._as_put(effect.write.entry) if isinstance(effect, Replace) else None
        self._forget(key, entry)
        return Applied(effect, before, entry)

    def _in_memory_alone(self, key: Key) -> Entry | None:
        held = self._memory.look_at(key)
        return self._husk(key) if held is None or held.absent else held

    def _keep(self, key: Key, held: Entry | None) -> None:
        """What is held stays. Its variants may be older, and so may what is being fetched."""
        self._memory.drop_variants(key)
        self._generations.invalidated(key)
        if held is not None and held.source_version is not None and key not in self._named:
            self._named[key] = held.source_version.removeprefix(AT_LEAST)

    async def _in_row(
        self, database: Store, behind: WriteBehind, key: Key, decide: Decide, delivery: Delivery
    ) -> Applied:
        # What is on its way to the row is there before it is looked at, and what is fetched meanwhile waits.
        async with behind.quiet(key):
            held = self._memory.look_at(key)
            of_both: _OfBoth | None = None
            if behind.is_forgotten(key):
                decide = partial(_forgotten, decide)
            elif held is not None and not (held.durable or held.absent):
                decide = of_both = _OfBoth(decide, held)
            elif (husk := self._husk(key)) is not None:
                decide = partial(_without_row, decide, husk)
            with closing(self._generations.watch([key])) as seen:
                applied = await database.apply(key, decide, delivery)
                is_current = seen.is_current(key)
            if of_both is not None and of_both.is_row_newer:
                self._forget(key, None)
            return self._took(behind, key, applied, is_current=is_current)

    def _took(self, behind: WriteBehind, key: Key, applied: Applied, *, is_current: bool) -> Applied:
        """The database has done it: so does memory, in this turn."""
        if not self._is_shared:
            if applied.effect is None:
                return applied
            if isinstance(applied.effect, Keep):
                self._keep(key, applied.before)
                return applied
        before = applied.before or self._memory.look_at(key)
        applied = replace(applied, before=None if before is None or before.absent else before)
        self._note(key, applied.effect)
        behind.overtaken(key)
        is_merged = isinstance(applied.effect, Replace) and is_current
        self._forget(key, applied.entry if is_merged else None)
        if applied.entry is not None and isinstance(applied.effect, Replace):
            self._learned(applied.entry)
            if not is_current:
                # Something was fetched or invalidated while the row was changed: which is the newer nobody can say.
                behind.invalidate(key)
                return replace(applied, effect=Forget(applied.entry.source_version))
        return applied

    def _husk(self, key: Key) -> Entry | None:
        """What is known of an entity of which nothing is held: of a message that was taken, the version."""
        named = self.named(key)
        if named is None:
            return None
        return Entry(key=key, item=None, received_at=0.0, lifetime=0.0, source_version=named)

    def _note(self, key: Key, effect: Effect | None) -> None:
        version = None if effect is None else _version_of(effect)
        if version is not None:
            self._named[key] = version

    def _forget(self, key: Key, merged: Entry | None) -> None:
        """What was held goes; what was merged takes its place, which does not count as a use."""
        self._generations.invalidated(key)
        if merged is None:
            self._memory.discard(key)
            return
        self._memory.drop_variants(key)
        self._promote(merged)
        if self._memory.look_at(key) is not merged:  # it is of no use
            self._memory.discard(key)


class _OfBoth:
    """Decides where memory has what did not get into its row: neither may be older than the message says, and neither
    can be made up for by the other."""

    def __init__(self, decide: Decide, held: Entry) -> None:
        self._decide = decide
        self._held = held
        self.is_row_newer = False
        """Whether memory alone is older than the message."""

    def __call__(self, row: Entry | None) -> Effect:
        of_memory = self._decide(self._held)
        of_row = Keep() if row is None and isinstance(of_memory, Keep) else self._decide(row)
        self.is_row_newer = isinstance(of_row, Keep) and not isinstance(of_memory, Keep)
        if isinstance(of_row, Keep):
            return of_row
        return Forget(_version_of(of_row))


def _version_of(effect: Effect) -> str | None:
    match effect:
        case Forget(source_version):
            return source_version
        case Replace(write):
            return write.entry.source_version
    return None


def _without_row(decide: Decide, husk: Entry, row: Entry | None) -> Effect:
    return decide(row or husk)


def _forgotten(decide: Decide, held: Entry | None) -> Effect:
    """Of what the database could not be told to forget, the row is known and nothing else."""
    return decide(None if held is None else replace(held, item=None, headers=()))
