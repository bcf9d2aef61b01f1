"""What a database has still to learn: one change per key, written behind the answers, in batches."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from store.base import Store, StoreError
from store.entry import Entry, Key, Write

T = TypeVar("T")

BATCH = 500
"""Keys that are written at a time: some 8 ms of a database, so that what comes next does not wait for long."""


@dataclass(slots=True, eq=False)
class _Change:
    """What the database has still to learn of one key: first the invalidation, if there is one, then the write."""

    write: Write | None = None
    is_invalidation: bool = False
    written: list[asyncio.Future[Entry]] = field(default_factory=list)
    invalidated: list[asyncio.Future[None]] = field(default_factory=list)


class WriteBehind:
    """Puts and invalidations of each key reach the database in their order; a later put replaces one that waits.

    `on_confirmed(sent, confirmed)` brings each entry back as the database holds it. `on_result(operation, ok)` is
    told of each batch of invalidations, of each batch with puts that went well, and of each put that did not.
    """

    def __init__(
        self,
        database: Store,
        *,
        on_confirmed: Callable[[Entry, Entry], None],
        on_result: Callable[[str, bool], None],
        max_pending: int,
    ) -> None:
        self._database = database
        self._on_confirmed = on_confirmed
        self._on_result = on_result
        self._max_pending = max_pending
        self._pending: dict[Key, _Change] = {}
        self._writing: dict[Key, _Change] = {}  # taken from the pending, and not answered yet
        self._unforgotten: dict[Key, None] = {}  # invalidations that failed; told again with the next batch
        self._wake = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Keys whose last change is not confirmed."""
        return len(self._pending) + len(self._writing)

    def put(self, write: Write) -> bool:
        """Queue the write; whether there was room (or the key had its place already)."""
        key = write.entry.key
        change = self._pending.get(key)
        if change is None:
            if self._is_closing or len(self._pending) >= self._max_pending:
                return False
            change = self._pending[key] = _Change()
            self._wake.set()
        change.write = write
        return True

    def invalidate(self, key: Key) -> asyncio.Future[None]:
        """Queue the invalidation, and drop the write that waits. Never refused: it has cost a request each, and
        what is forgotten must not come back. The future raises StoreError when the database failed."""
        change = self._pending.setdefault(key, _Change())
        change.write, change.is_invalidation = None, True
        _fail(change.written, StoreError("put: invalidated meanwhile"))
        waiter = _waiter(change.invalidated)
        if self._is_closing:
            _fail([waiter], StoreError("invalidate: the store is closed"))
        self._wake.set()
        return waiter

    def entry(self, key: Key) -> Entry | None:
        """The entry that is on its way, if one is and nothing came after it."""
        change = self._pending.get(key) or self._writing.get(key)
        return None if change is None or change.write is None else change.write.entry

    def is_forgotten(self, key: Key) -> bool:
        """Whether the database can hold what has been invalidated since."""
        changes = (self._pending.get(key), self._writing.get(key))
        return key in self._unforgotten or any(
            change is not None and change.is_invalidation for change in changes
        )

    def written(self, key: Key) -> asyncio.Future[Entry] | None:
        """The entry that is on its way, once it is durable; None if none is. The future may raise StoreError."""
        change = self._pending.get(key) or self._writing.get(key)
        return None if change is None or change.write is None else _waiter(change.written)

    async def flush(self) -> None:
        """Return when all that is queued now is durable or has failed."""
        waiters: list[asyncio.Future[Entry] | asyncio.Future[None]] = []
        for change in (*self._writing.values(), *self._pending.values()):
            if change.write is not None:
                waiters.append(_waiter(change.written))
            elif change.is_invalidation:
                waiters.append(_waiter(change.invalidated))
        if waiters:
            await asyncio.wait(waiters)

    def start(self) -> None:
        """Begin to write what is queued. Once."""
        self._task = asyncio.create_task(self._write_forever(), name="store-write-behind")

    async def close(self) -> None:
        """Write what is queued, then stop. Idempotent."""
        self._is_closing = True
        self._wake.set()
        if self._task is None:
            self._abandon()
        else:
            await asyncio.wait([self._task])

    async def _write_forever(self) -> None:
        try:
            while self._pending or not self._is_closing:
                if not self._pending:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._writing = self._take()
                await self._invalidate(self._writing)
                await self._put(self._writing)
                self._writing = {}
        finally:
            # Cancelled from outside, if anything is left.
            self._is_closing = True
            self._abandon()

    def _abandon(self) -> None:
        """Nobody may wait for ever for what will not come."""
        for change in (*self._writing.values(), *self._pending.values()):
            _fail(change.written, StoreError("put: the store is closed"))
            _fail(change.invalidated, StoreError("invalidate: the store is closed"))

    def _take(self) -> dict[Key, _Change]:
        batch = {key: self._pending.pop(key) for key in list(islice(self._pending, BATCH))}
        for key in list(islice(self._unforgotten, BATCH)):
            del self._unforgotten[key]
            batch.setdefault(key, _Change()).is_invalidation = True
        return batch

    async def _invalidate(self, batch: dict[Key, _Change]) -> None:
        told = {key: change for key, change in batch.items() if change.is_invalidation}
        if not told:
            return
        failure: StoreError | None = None
        try:
            await self._database.invalidate_many(list(told))
        except Exception as error:  # noqa: BLE001 - whatever it is, later batches must be written
            failure = _as_store_error("invalidate", error)
            self._unforgotten |= dict.fromkeys(told)
        self._on_result("invalidate", failure is None)
        for change in told.values():
            # Answered: while the write of the same batch is under way, nobody is to wait for it any more.
            change.is_invalidation = False
            if failure is not None:
                _fail(change.invalidated, failure)
            for waiter in change.invalidated:
                _settle(waiter, None)

    async def _put(self, batch: dict[Key, _Change]) -> None:
        told = {key: change.write for key, change in batch.items() if change.write is not None}
        outcomes = await self._try_put(list(told.values())) if told else {}
        if any(isinstance(outcome, Entry) for outcome in outcomes.values()):
            self._on_result("put", True)  # noqa: FBT003 - the hook's shape
        for key, outcome in outcomes.items():
            if isinstance(outcome, Entry):
                # Written over, what was to be forgotten is gone.
                self._unforgotten.pop(key, None)
                self._on_confirmed(told[key].entry, outcome)
                for waiter in batch[key].written:
                    _settle(waiter, outcome)
            else:
                self._on_result("put", False)  # noqa: FBT003 - the hook's shape
                _fail(batch[key].written, _as_store_error("put", outcome))

    async def _try_put(self, writes: list[Write]) -> dict[Key, Entry | BaseException]:
        try:
            return dict(await self._database.put_many(writes))
        except Exception as error:  # noqa: BLE001 - as above
            if len(writes) == 1:
                return {writes[0].entry.key: error}
        # One of them may be at fault: by themselves, the others can still be stored.
        singly = (self._database.put_many([write]) for write in writes)
        outcomes = await asyncio.gather(*singly, return_exceptions=True)
        keys = [write.entry.key for write in writes]
        return {
            key: outcome if isinstance(outcome, BaseException) else outcome[key]
            for key, outcome in zip(keys, outcomes, strict=True)
        }


def _as_store_error(operation: str, error: BaseException) -> StoreError:
    return error if isinstance(error, StoreError) else StoreError(f"{operation}: {type(error).__name__}")


def _waiter(waiters: list[asyncio.Future[T]]) -> asyncio.Future[T]:
    waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    # Who does not wait need not hear of the failure: it has been counted.
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    waiters.append(waiter)
    return waiter


def _settle(waiter: asyncio.Future[T], result: T) -> None:
    if not waiter.done():
        waiter.set_result(result)


def _fail(waiters: Iterable[asyncio.Future[T]], error: StoreError) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
