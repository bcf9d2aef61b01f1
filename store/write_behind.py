"""What a database has still to learn: the last changes of each key, written behind the answers, in batches."""

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
class _Put:
    """A write that the database has still to learn, and who waits for it."""

    write: Write
    waiters: list[asyncio.Future[Entry]] = field(default_factory=list)


_Invalidations = dict[Key, list[asyncio.Future[None]]]
"""What the database has still to forget, and who waits for it."""


class WriteBehind:
    """Puts and invalidations of each key reach the database in their order; a later put replaces one that waits.

    Somebody's request waits for an invalidation, and a put that has to make room takes seconds. So there are two
    tasks, one for each, and a key is with one of them at a time: its put waits for its invalidation, and its
    invalidation for the batch that its put is under way in. Otherwise an invalidation waits for no put: a database
    takes it while it makes room.

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
        self._puts: dict[Key, _Put] = {}  # each came after the invalidation of its key, if that waits, too
        self._writing: dict[Key, _Put] = {}  # taken from the puts, and not answered yet
        self._invalidations: _Invalidations = {}
        self._forgetting: _Invalidations = {}  # taken from the invalidations, and not answered yet
        self._unforgotten: dict[Key, None] = {}  # invalidations that failed; told again with the next
        self._wake_put = asyncio.Event()
        self._wake_invalidate = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Keys whose last change is not confirmed."""
        return len(
            self._puts.keys() | self._writing.keys() | self._invalidations.keys() | self._forgetting.keys()
        )

    def put(self, write: Write) -> bool:
        """Queue the write; whether there was room (or the key had its place already)."""
        key = write.entry.key
        put = self._puts.get(key)
        if put is not None:
            put.write = write
            return True
        waiting = len(self._puts) + len(self._invalidations)
        if self._is_closing or (key not in self._invalidations and waiting >= self._max_pending):
            return False
        self._puts[key] = _Put(write)
        self._wake()
        return True

    def invalidate(self, key: Key) -> asyncio.Future[None]:
        """Queue the invalidation, and drop the write that waits. Never refused: it has cost a request each, and
        what is forgotten must not come back. The future raises StoreError when the database failed."""
        dropped = self._puts.pop(key, None)
        if dropped is not None:
            _fail(dropped.waiters, StoreError("put: invalidated meanwhile"))
        waiter = _waiter(self._invalidations.setdefault(key, []))
        if self._is_closing:
            _fail([waiter], StoreError("invalidate: the store is closed"))
        self._wake()
        return waiter

    def entry(self, key: Key) -> Entry | None:
        """The entry that is on its way, if one is and nothing came after it."""
        put = self._last_put(key)
        return None if put is None else put.write.entry

    def is_forgotten(self, key: Key) -> bool:
        """Whether the database can hold what has been invalidated since."""
        return key in self._unforgotten or key in self._invalidations or key in self._forgetting

    def written(self, key: Key) -> asyncio.Future[Entry] | None:
        """The entry that is on its way, once it is durable; None if none is. The future may raise StoreError."""
        put = self._last_put(key)
        return None if put is None else _waiter(put.waiters)

    async def flush(self) -> None:
        """Return when all that is queued now is durable or has failed."""
        waiters: list[asyncio.Future[Entry] | asyncio.Future[None]] = []
        waiters += (_waiter(put.waiters) for put in (*self._writing.values(), *self._puts.values()))
        waiters += (
            _waiter(waiting) for waiting in (*self._forgetting.values(), *self._invalidations.values())
        )
        if waiters:
            await asyncio.wait(waiters)

    def start(self) -> None:
        """Begin to write what is queued. Once."""
        self._task = asyncio.create_task(self._write_forever(), name="store-write-behind")

    async def close(self) -> None:
        """Write what is queued, then stop. Idempotent."""
        self._is_closing = True
        self._wake()
        if self._task is None:
            self._abandon()
        else:
            await asyncio.wait([self._task])

    def _last_put(self, key: Key) -> _Put | None:
        put = self._puts.get(key)
        return self._writing.get(key) if put is None and key not in self._invalidations else put

    def _wake(self) -> None:
        # In this order: what failed to be forgotten is told again before what is put next.
        self._wake_invalidate.set()
        self._wake_put.set()

    async def _write_forever(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._invalidate_forever(), name="store-invalidate-behind")
                tasks.create_task(self._put_forever(), name="store-put-behind")
        finally:
            # Cancelled from outside, if anything is left.
            self._is_closing = True
            self._abandon()

    async def _invalidate_forever(self) -> None:
        # The longer of the two: puts can wait for it, and what is put till the end can be invalidated.
        while len(self) or not self._is_closing:
            await self._wake_invalidate.wait()
            self._wake_invalidate.clear()
            # A key whose put is under way waits for that: told before, the invalidation could be undone by it.
            ready = (key for key in self._invalidations if key not in self._writing)
            self._forgetting = {key: self._invalidations.pop(key) for key in list(islice(ready, BATCH))}
            is_full = len(self._forgetting) == BATCH
            again = (key for key in self._unforgotten if key not in self._writing)
            for key in list(islice(again, BATCH)):
                del self._unforgotten[key]
                self._forgetting.setdefault(key, [])
            if self._forgetting:
                await self._invalidate(self._forgetting)
                self._forgetting = {}
                # The puts of these keys have waited.
                self._wake_put.set()
            # Not for what has failed just now: it would be told again without end.
            if is_full:
                self._wake_invalidate.set()

    async def _put_forever(self) -> None:
        while self._puts or not self._is_closing:
            await self._wake_put.wait()
            self._wake_put.clear()
            ready = (
                key for key in self._puts if key not in self._invalidations and key not in self._forgetting
            )
            self._writing = {key: self._puts.pop(key) for key in list(islice(ready, BATCH))}
            if self._writing:
                await self._put(self._writing)
                self._writing = {}
                self._wake()

    def _abandon(self) -> None:
        """Nobody may wait for ever for what will not come."""
        for put in (*self._writing.values(), *self._puts.values()):
            _fail(put.waiters, StoreError("put: the store is closed"))
        for waiters in (*self._forgetting.values(), *self._invalidations.values()):
            _fail(waiters, StoreError("invalidate: the store is closed"))

    async def _invalidate(self, batch: _Invalidations) -> None:
        failure: StoreError | None = None
        try:
            await self._database.invalidate_many(list(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, later batches must be written
            failure = _as_store_error("invalidate", error)
            self._unforgotten |= dict.fromkeys(batch)
        self._on_result("invalidate", failure is None)
        for waiters in batch.values():
            if failure is not None:
                _fail(waiters, failure)
            for waiter in waiters:
                _settle(waiter, None)

    async def _put(self, batch: dict[Key, _Put]) -> None:
        outcomes = await self._try_put([put.write for put in batch.values()])
        if any(isinstance(outcome, Entry) for outcome in outcomes.values()):
            self._on_result("put", True)  # noqa: FBT003 - the hook's shape
        for key, outcome in outcomes.items():
            put = batch[key]
            if isinstance(outcome, Entry):
                # Written over, what was to be forgotten is gone.
                self._unforgotten.pop(key, None)
                self._on_confirmed(put.write.entry, outcome)
                for waiter in put.waiters:
                    _settle(waiter, outcome)
            else:
                self._on_result("put", False)  # noqa: FBT003 - the hook's shape
                _fail(put.waiters, _as_store_error("put", outcome))

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
