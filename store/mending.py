"""What of a database has failed, and how it is made up for once it works again."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from store.base import Store, StoreError
from store.catching_up import CatchUp
from store.entry import Write
from store.sharing import Sharing
from store.write_behind import WriteBehind

T = TypeVar("T")


class Mending:
    """The operations of a database that failed when they were last tried; `on_error(operation)` is told of each."""

    def __init__(self, *, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self.failing: set[str] = set()

    def noted(self, operation: str, ok: bool) -> None:  # noqa: FBT001 - a hook's shape
        """It was tried."""
        if ok:
            self.failing.discard(operation)
        else:
            self.failing.add(operation)
            self._on_error(operation)

    async def tried(self, operation: str, asked: Awaitable[T]) -> tuple[bool, T | None]:
        """Whether the database could do it, and its answer."""
        try:
            answer = await asked
        except StoreError:
            self.noted(operation, ok=False)
            return False, None
        self.noted(operation, ok=True)
        return True, answer

    async def recover(
        self,
        database: Store,
        behind: WriteBehind,
        catch_up: CatchUp,
        sharing: Sharing | None,
        *,
        queue: Callable[[Write], bool],
    ) -> bool:
        """Find out whether a database that failed works again, and tell it what it has missed. Whether all is well."""
        if not (self.failing or len(catch_up) or behind.owes):
            catch_up.settled()
            return True
        works, _ = await self.tried("check", database.check())
        if not works:
            return False
        missing = await catch_up.missing()
        # Each of them says so again if it does not: writes below, reads as they come.
        self.failing &= {"erase"}
        catch_up.settled()
        behind.retry_invalidations()
        if sharing is not None:
            missing = await sharing.leased_again(missing)
        catch_up.again(missing, queue)
        await behind.flush()
        if "erase" in self.failing:
            await self.tried("erase", database.erase_many([]))
        return not (self.failing or behind.owes)
