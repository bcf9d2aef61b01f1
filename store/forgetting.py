"""What both tiers forget: in memory at once, in the database behind that."""

import asyncio
from collections.abc import Callable, Iterable

from store.base import StoreError
from store.catching_up import CatchUp
from store.entry import Key
from store.generation import Generations
from store.memory import MemoryTier
from store.pending import all_of
from store.write_behind import WriteBehind


class Forgetting:
    """`behind`: None without a database. `has_row(key)`: whether there is a place for it there; `is_rowless(key)`:
    whether it is meant to have none. `is_shared`: others may have in memory what has no row. `on_erased(key)`
    is told of each erasure."""

    def __init__(
        self,
        memory: MemoryTier,
        behind: WriteBehind | None,
        catch_up: CatchUp,
        generations: Generations,
        erasures: Generations,
        *,
        has_row: Callable[[Key], bool],
        is_rowless: Callable[[Key], bool],
        is_degraded: Callable[[], bool],
        is_shared: bool,
        on_erased: Callable[[Key], None],
    ) -> None:
        self._memory = memory
        self._behind = behind
        self._catch_up = catch_up
        self._generations = generations
        self._erasures = erasures
        self._has_row = has_row
        self._is_rowless = is_rowless
        self._is_degraded = is_degraded
        self._is_shared = is_shared
        self._on_erased = on_erased

    def invalidate(self, keys: Iterable[Key]) -> asyncio.Future[None]:
        """Forget the entities, every variant of each: in memory at once, in the database behind that.

        Await the future to know it durable. It raises StoreError when the database failed; then this process goes
        on treating them as forgotten, and tells the database again with what it tells it next.
        """
        waiters: list[asyncio.Future[None]] = []
        for key in keys:
            entity = key._replace(variant="")
            self._generations.invalidated(entity)
            if self._is_degraded():
                self._catch_up.replaced(entity)
            self._memory.discard(entity)
            if self._behind is not None and (self._has_row(entity) or self._is_shared):
                waiters.append(self._behind.invalidate(entity))
        return all_of(waiters)

    def drop(self, key: Key) -> None:
        """Forget this representation alone, and no other variant: in memory at once, in the database behind that."""
        self._generations.changed(key)
        if self._is_degraded():
            self._catch_up.replaced(key)
        self._memory.drop(key)
        if self._behind is not None and self._has_row(key):
            self._behind.invalidate(key)

    async def erase(self, key: Key) -> None:
        """Forget the entity altogether, its internal id and local attributes too; returns when that is durable.

        From the start of the call this process treats it as forgotten for every use. Raises StoreError when the
        database failed: then its row may stand, and is shown again if it does.
        """
        entity = key._replace(variant="")
        self._erasures.changed(entity)
        self._generations.invalidated(entity)
        self._catch_up.forget(entity)
        self._on_erased(entity)
        self._memory.discard(entity)
        if self._is_rowless(entity) and not self._is_shared:
            return
        if self._behind is None:
            raise StoreError("erase: there is no database")
        await self._behind.erase(entity)

    def retry_invalidations(self) -> None:
        """Tell the database again of what it failed to forget: a restart would bring it back."""
        if self._behind is not None:
            self._behind.retry_invalidations()

    def distrust(self) -> None:
        """Another process may have changed or erased what the database had: what memory has of its rows goes.

        All in one turn, so that nothing of it is shown once that is known: some 0.5 s for 65,000.
        """
        keys = self._memory.keys()
        for key in keys:
            if not self._is_rowless(key):
                self._memory.drop(key)
        self._generations.all_changed()
        self._catch_up.clear()
