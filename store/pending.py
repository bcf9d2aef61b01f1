"""What waits for a database, each with who waits for it."""

import asyncio
from collections.abc import Container, Iterable, Sequence
from sys import getsizeof
from typing import TypeVar

from msgspec import Struct, field

from store.base import StoreError
from store.entry import Entry, Key, Write

T = TypeVar("T")


class Everything(Container[Key]):
    """Has every key."""

    def __contains__(self, _key: object) -> bool:
        return True


class Invalidated(StoreError):
    """The write was dropped before the database had it: an invalidation or an erasure came after it, or
    what replaces it found no room."""


class Put(Struct, eq=False):
    """A write that the database has still to learn, and who waits for it."""

    write: Write
    size: int
    waiters: list[asyncio.Future[Entry]] = field(default_factory=list)


class Invalidation(Struct, eq=False):
    """What the database has still to forget, and who waits for it."""

    since: float
    """When the first who wants it did, in seconds of the clock."""
    is_erasure: bool = False
    """The row has to go, too."""
    is_invalidation: bool = False
    """It has to be forgotten even if the database can't be told."""
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class Gathering(asyncio.Event):
    """An event that can also be set in so many `seconds`, so that more comes together."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def set(self) -> None:
        """Set it now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().set()

    def set_soon(self, *, is_enough: bool) -> None:
        """Set it when the time is over, counted from the first who wants it; now if that `is_enough`."""
        if is_enough or not self._seconds:
            self.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.set)


Invalidations = dict[Key, Invalidation]
"""By key: a key has one at a time."""


def size_of(write: Write) -> int:
    """Bytes of what varies in a write; the rest is bounded by their number."""
    item = write.entry.item or b""
    fields = sum(len(name) + len(value) for name, value in write.entry.headers)
    return len(item) + fields + sum(map(getsizeof, write.columns.values()))


def as_store_error(operation: str, error: BaseException) -> StoreError:
    """Whatever a store has raised, without what it quotes."""
    return error if isinstance(error, StoreError) else StoreError(f"{operation}: {type(error).__name__}")


def new_waiter(waiters: list[asyncio.Future[T]]) -> asyncio.Future[T]:
    """One more of those who wait, which nobody has to await."""
    waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    # Who does not wait need not hear of the failure: it has been counted.
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    waiters.append(waiter)
    return waiter


def settle(waiter: asyncio.Future[T], result: T) -> None:
    """Give it the result, if it waits still."""
    if not waiter.done():
        waiter.set_result(result)


def fail(waiters: Iterable[asyncio.Future[T]], error: StoreError) -> None:
    """Give each the error that waits still."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)


def all_of(waiters: Sequence[asyncio.Future[None]]) -> asyncio.Future[None]:
    """Done when all are; nobody has to await it, and cancelling it cancels none of them."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(outcomes: asyncio.Future[list[BaseException | None]]) -> None:
        errors = [outcome for outcome in outcomes.result() if outcome is not None]
        if done.done():
            return
        if errors:
            done.set_exception(errors[0])
            done.exception()  # it has been counted: who does not await it need not hear of it
        else:
            done.set_result(None)

    if waiters:
        asyncio.gather(*waiters, return_exceptions=True).add_done_callback(tell)
    else:
        done.set_result(None)
    return done
