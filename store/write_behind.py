"""What a database has still to learn: the last changes of each key, written behind the answers, in batches."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from store.base import Store, StoreError
from store.entry import Entry, Key, Write

T = TypeVar("T")

BATCH = 500
"""Keys that are written at a time: some 8 ms of a database, so that what comes next does not wait for long."""


MAX_UNFORGOTTEN = 100_000
"""Keys that a failing database could not be told to forget, some 30 MB: a day's worth at more than one a second. With
more the whole of it counts as forgotten."""


class _Everything(Container[Key]):
    """Has every key."""

    def __contains__(self, _key: object) -> bool:
        return True


class Invalidated(StoreError):
    """The write was dropped before the database had it: an invalidation or an erasure came after it."""


@dataclass(slots=True, eq=False)
class _Put:
    """A write that the database has still to learn, and who waits for it."""

    write: Write
    waiters: list[asyncio.Future[Entry]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Invalidation:
    """What the database has still to forget, and who waits for it."""

    since: float
    """When the first who wants it did, in seconds of the clock."""
    is_erasure: bool = False
    """The row has to go, too."""
    is_invalidation: bool = False
    """It has to be forgotten even if the database can't be told."""
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


_Invalidations = dict[Key, _Invalidation]


class WriteBehind:
    """Puts and invalidations of each key reach the database in their order; a later put replaces one that waits.
    An erasure is an invalidation that takes the row, too.

    Somebody's request waits for an invalidation, and a put that has to make room takes seconds. So there are two
    tasks, one for each, and a key is with one of them at a time: its put waits for its invalidation, and its
    invalidation for the batch that its put is under way in. Otherwise an invalidation waits for no put: a database
    takes it while it makes room.

    `on_confirmed(sent, confirmed)` brings each entry back as the database holds it. `on_result(operation, ok)` is
    told of each batch of invalidations or erasures, of each batch with puts that went well, and of each put that did
    not.
    """

    def __init__(
        self,
        database: Store,
        *,
        on_confirmed: Callable[[Entry, Entry], None],
        on_result: Callable[[str, bool], None],
        max_pending: int,
        clock: Callable[[], float],
        on_missed: Callable[[Key], None] = lambda _key: None,
    ) -> None:
        self._database = database
        self._on_missed = on_missed
        self._clock = clock
        self._on_confirmed = on_confirmed
        self._on_result = on_result
        self._max_pending = max_pending
        self._puts: dict[Key, _Put] = {}  # each came after the invalidation of its key, if that waits, too
        self._writing: dict[Key, _Put] = {}  # taken from the puts, and not answered yet
        self._invalidations: _Invalidations = {}
        self._forgetting: _Invalidations = {}  # taken from the invalidations, and not answered yet
        # Invalidations that failed, and since when they are wanted; told again with the next, or when asked to.
        self._unforgotten: dict[Key, float] = {}
        self._all_unforgotten_since: float | None = None
        self._is_all_due = False
        self._quiet: Counter[Key] = Counter()  # those that are being changed, and by how many
        self._wake_put = asyncio.Event()
        self._wake_invalidate = asyncio.Event()
        self._is_closing = False
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Keys whose last change is not confirmed."""
        return len(self._pending())

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
        return self._forget_later(key, is_erasure=False)

    def erase(self, key: Key) -> asyncio.Future[None]:
        """Queue the erasure, as `invalidate` does. One that fails has changed nothing, and is not told again: that is
        for who was told of the failure."""
        return self._forget_later(key, is_erasure=True)

    def entry(self, key: Key) -> Entry | None:
        """The entry that is on its way, if one is and nothing came after it."""
        put = self._last_put(key)
        return None if put is None else put.write.entry

    def is_forgotten(self, key: Key) -> bool:
        """Whether the database can hold what has been invalidated since."""
        if self._all_unforgotten_since is not None:
            return True
        return key in self._unforgotten or key in self._invalidations or key in self._forgetting

    def forgotten(self) -> Container[Key]:
        """Each key that `is_forgotten`, as of now."""
        if self._all_unforgotten_since is not None:
            return _Everything()
        return self._unforgotten.keys() | self._invalidations.keys() | self._forgetting.keys()

    @property
    def owes(self) -> bool:
        """Whether the database has failed to take an invalidation, and still does not know of it."""
        return bool(self._unforgotten) or self._all_unforgotten_since is not None

    def retry_invalidations(self) -> None:
        """Tell the database again of the invalidations that it failed to take."""
        self._is_all_due = self._all_unforgotten_since is not None
        if self._unforgotten or self._is_all_due:
            self._wake()

    def invalidation_lag(self) -> float:
        """Seconds for which the invalidation that has waited longest is not durable yet; 0 when there is none."""
        waiting = (one.since for one in (*self._invalidations.values(), *self._forgetting.values()))
        now = self._clock()
        all_since = self._all_unforgotten_since
        return max(
            0.0,
            now
            - min(
                (*waiting, *self._unforgotten.values(), now if all_since is None else all_since), default=now
            ),
        )

    def written(self, key: Key) -> asyncio.Future[Entry] | None:
        """The entry that is on its way, once it is durable; None if none is. The future may raise StoreError."""
        put = self._last_put(key)
        return None if put is None else _waiter(put.waiters)

    @asynccontextmanager
    async def quiet(self, key: Key) -> AsyncIterator[None]:
        """For a change of the row that goes past this: nothing of the key is on its way when it begins, and what is
        put meanwhile waits for its end."""
        while waiters := self._outcomes([key]):
            await asyncio.wait(waiters)
        self._quiet[key] += 1
        try:
            yield
        finally:
            self._quiet[key] -= 1
            if not self._quiet[key]:
                del self._quiet[key]
            self._wake_put.set()

    async def flush(self) -> None:
        """Return when all that is queued now is durable or has failed."""
        waiters = self._outcomes(self._pending())
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

    def _forget_later(self, key: Key, *, is_erasure: bool) -> asyncio.Future[None]:
        dropped = self._puts.pop(key, None)
        if dropped is not None:
            _fail(dropped.waiters, Invalidated("put: invalidated meanwhile"))
        if self._is_closed:
            # Nobody will tell the database any more.
            invalidation = _Invalidation(self._clock(), is_invalidation=not is_erasure)
            self._stay_forgotten({key: invalidation})
        else:
            invalidation = self._invalidations.setdefault(key, _Invalidation(self._clock()))
        invalidation.is_erasure |= is_erasure
        invalidation.is_invalidation |= not is_erasure
        waiter = _waiter(invalidation.waiters)
        if self._is_closing:
            _fail([waiter], StoreError("forget: the store is closed"))
        self._wake()
        return waiter

    def _pending(self) -> set[Key]:
        return self._puts.keys() | self._writing.keys() | self._invalidations.keys() | self._forgetting.keys()

    def _outcomes(self, keys: Iterable[Key]) -> "list[asyncio.Future[Entry] | asyncio.Future[None]]":
        """One future for each change of these keys that is on its way, and is done when that is."""
        outcomes: list[asyncio.Future[Entry] | asyncio.Future[None]] = []
        for key in keys:
            outcomes += (_waiter(puts[key].waiters) for puts in (self._writing, self._puts) if key in puts)
            outcomes += (
                _waiter(invalidations[key].waiters)
                for invalidations in (self._forgetting, self._invalidations)
                if key in invalidations
            )
        return outcomes

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
                since = self._unforgotten.pop(key)
                again_now = self._forgetting.setdefault(key, _Invalidation(since))
                again_now.is_invalidation, again_now.since = True, min(since, again_now.since)
            if self._is_all_due:
                await self._forget_all()
            if self._forgetting:
                await self._forget(self._forgetting)
            # Not for what has failed just now: it would be told again without end.
            if is_full:
                self._wake_invalidate.set()

    async def _put_forever(self) -> None:
        while self._puts or not self._is_closing:
            await self._wake_put.wait()
            self._wake_put.clear()
            ready = (
                key
                for key in self._puts
                if not (key in self._invalidations or key in self._forgetting or key in self._quiet)
            )
            self._writing = {key: self._puts.pop(key) for key in list(islice(ready, BATCH))}
            if self._writing:
                await self._put(self._writing)
                self._writing = {}
                self._wake()

    def _abandon(self) -> None:
        """Nobody may wait for ever for what will not come, and what was to be forgotten stays so."""
        self._is_closed = True
        for put in (*self._writing.values(), *self._puts.values()):
            _fail(put.waiters, StoreError("put: the store is closed"))
        for invalidation in (*self._forgetting.values(), *self._invalidations.values()):
            _fail(invalidation.waiters, StoreError("forget: the store is closed"))
        for invalidations in (self._forgetting, self._invalidations):
            self._stay_forgotten(invalidations)
        self._puts, self._writing, self._forgetting, self._invalidations = {}, {}, {}, {}

    async def _forget(self, batch: _Invalidations) -> None:
        erasures = {key: forgotten for key, forgotten in batch.items() if forgotten.is_erasure}
        others = {key: forgotten for key, forgotten in batch.items() if not forgotten.is_erasure}
        # There may be much to do for an erasure: nobody else waits for that.
        await self._tell("invalidate", self._database.invalidate_many, others)
        await self._tell("erase", self._database.erase_many, erasures)

    async def _tell(
        self, operation: str, tell: Callable[[list[Key]], Awaitable[None]], batch: _Invalidations
    ) -> None:
        if not batch:
            return
        failure: StoreError | None = None
        try:
            await tell(list(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, later batches must be written
            failure = _as_store_error(operation, error)
            self._stay_forgotten(batch)
        self._on_result(operation, failure is None)
        for key, invalidation in batch.items():
            del self._forgetting[key]
            if failure is not None:
                _fail(invalidation.waiters, failure)
            for waiter in invalidation.waiters:
                _settle(waiter, None)
        # The puts of these keys have waited.
        self._wake_put.set()

    def _stay_forgotten(self, invalidations: _Invalidations) -> None:
        """What the database could not be told. A mere erasure is not among it: it has failed, and the row stands."""
        self._unforgotten |= {key: one.since for key, one in invalidations.items() if one.is_invalidation}
        if len(self._unforgotten) > MAX_UNFORGOTTEN:
            since = min(self._unforgotten.values())
            self._all_unforgotten_since = min(since, self._all_unforgotten_since or since)
            self._unforgotten.clear()

    async def _forget_all(self) -> None:
        self._is_all_due = False
        since = self._all_unforgotten_since
        try:
            await self._database.invalidate_all()
        except Exception:  # noqa: BLE001 - as in `_tell`
            self._on_result("invalidate", False)  # noqa: FBT003 - the hook's shape
            return
        self._on_result("invalidate", True)  # noqa: FBT003 - the hook's shape
        if since == self._all_unforgotten_since:
            self._all_unforgotten_since = None

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
                self._on_missed(key)
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
