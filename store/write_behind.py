"""What a database has still to learn: the last changes of each key, written behind the answers, in batches."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable
from contextlib import asynccontextmanager
from itertools import islice

from store.base import Store, StoreError
from store.entry import Entry, Key, Write
from store.pending import (
    Everything,
    Gathering,
    Invalidated,
    Invalidation,
    Invalidations,
    Put,
    as_store_error,
    fail,
    new_waiter,
    settle,
    size_of,
)

BATCH = 500
"""Keys that are written at a time: some 8 ms of a database, so that what comes next does not wait for long."""

MAX_BYTES = 16 << 20
"""What upstreams said, in all puts that the database does not hold yet: a good second of a disk that writes 10 MB in
one, and 20,000 users of 800 bytes. Memory may have let go of it, so it comes on top of the memory tier's bound."""

MAX_UNFORGOTTEN = 100_000
"""Keys that a failing database could not be told to forget, some 30 MB: a day's worth at more than one a second. With
more the whole of it counts as forgotten."""


class WriteBehind:
    """Puts and invalidations of each key reach the database in their order; a later put replaces one that waits.
    An erasure is an invalidation that takes the row, too.

    Somebody's request waits for an invalidation, and a put that has to make room takes seconds. So there are two
    tasks, one for each, and a key is with one of them at a time: its put waits for its invalidation, and its
    invalidation for the batch that its put is under way in. Otherwise an invalidation waits for no put: a database
    takes it while it makes room.

    `on_confirmed(sent, confirmed)` brings each entry back as the database holds it, `on_refused(sent)` one that it did
    not take, for something has happened since; after `on_emptied()` it may not hold what it has confirmed.
    `on_result(operation, ok)` is told of each batch of invalidations or erasures, of each batch with puts that went
    well, and of each put that did not.

    For `gathers` seconds a put waits for others, unless somebody waits for it: a transaction costs as much as some
    thirty rows of it.
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
        on_refused: Callable[[Entry], None] = lambda _sent: None,
        on_emptied: Callable[[], Awaitable[None]] | None = None,
        gathers: float = 0.0,
    ) -> None:
        self._database = database
        self._on_emptied = on_emptied
        self._on_missed = on_missed
        self._on_refused = on_refused
        self._clock = clock
        self._on_confirmed = on_confirmed
        self._on_result = on_result
        self._max_pending = max_pending
        self._puts: dict[Key, Put] = {}  # each came after the invalidation of its key, if that waits, too
        self._writing: dict[Key, Put] = {}  # taken from the puts, and not answered yet
        self._bytes = 0  # the sizes of both
        self._overtaken: set[Key] = set()  # of what is being written
        self._invalidations: Invalidations = {}
        self._forgetting: Invalidations = {}  # taken from the invalidations, and not answered yet
        # Invalidations that failed, and since when they are wanted; told again with the next, or when asked to.
        self._unforgotten: dict[Key, float] = {}
        self._all_unforgotten_since: float | None = None
        self._is_all_due = False
        self._quiet: Counter[Key] = Counter()  # those that are being changed, and by how many
        self._wake_put = Gathering(gathers)
        self._wake_invalidate = asyncio.Event()
        self._is_closing = False
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Keys whose last change is not confirmed."""
        return len(self._pending())

    def put(self, write: Write) -> bool:
        """Queue the write in place of one that waits; whether there was room. One of any size has room alone."""
        key, size = write.entry.key, size_of(write)
        put = self._puts.get(key)
        others = self._bytes - (0 if put is None else put.size)
        if others and others + size > MAX_BYTES:
            # What it would have replaced is out of date.
            self._drop(key, "no room for what came after it")
            return False
        if put is not None:
            put.write, put.size, self._bytes = write, size, others + size
            return True
        waiting = len(self._puts) + len(self._invalidations)
        if self._is_closing or (key not in self._invalidations and waiting >= self._max_pending):
            return False
        self._puts[key] = Put(write, size)
        self._bytes += size
        if self.owes:
            self._wake()
        self._wake_put.set_soon(is_enough=len(self._puts) >= BATCH)
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
            return Everything()
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
        if put is None:
            return None
        self._wake_put.set()  # somebody waits
        return new_waiter(put.waiters)

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

    async def forgotten_by_now(self, keys: Iterable[Key]) -> None:
        """Return when the database knows what it had to forget of these, or has failed."""
        waiting = (many.get(key) for key in keys for many in (self._forgetting, self._invalidations))
        if waiters := [new_waiter(one.waiters) for one in waiting if one is not None]:
            await asyncio.wait(waiters)

    def overtaken(self, key: Key) -> None:
        """Something has happened to the entity since what waits was put: it is not written any more. What is being
        written counts as refused, whatever the database says."""
        self._drop(key, "something has happened since")
        if key in self._writing:
            self._overtaken.add(key)

    def all_overtaken(self) -> None:
        """The same of every entity."""
        for key in (*self._puts, *self._writing):
            self.overtaken(key)

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
        self._drop(key, "invalidated meanwhile")
        if self._is_closed:
            # Nobody will tell the database any more.
            invalidation = Invalidation(self._clock(), is_invalidation=not is_erasure)
            self._stay_forgotten({key: invalidation})
        else:
            invalidation = self._invalidations.setdefault(key, Invalidation(self._clock()))
        invalidation.is_erasure |= is_erasure
        invalidation.is_invalidation |= not is_erasure
        waiter = new_waiter(invalidation.waiters)
        if self._is_closing:
            fail([waiter], StoreError("forget: the store is closed"))
        self._wake()
        return waiter

    def _drop(self, key: Key, why: str) -> None:
        dropped = self._puts.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.size
            fail(dropped.waiters, Invalidated(f"put: {why}"))

    def _pending(self) -> set[Key]:
        return self._puts.keys() | self._writing.keys() | self._invalidations.keys() | self._forgetting.keys()

    def _outcomes(self, keys: Iterable[Key]) -> "list[asyncio.Future[Entry] | asyncio.Future[None]]":
        """One future for each change of these keys that is on its way, and is done when that is."""
        outcomes: list[asyncio.Future[Entry] | asyncio.Future[None]] = []
        for key in keys:
            outcomes += (new_waiter(puts[key].waiters) for puts in (self._writing, self._puts) if key in puts)
            outcomes += (
                new_waiter(invalidations[key].waiters)
                for invalidations in (self._forgetting, self._invalidations)
                if key in invalidations
            )
        if outcomes:
            self._wake_put.set()
        return outcomes

    def _last_put(self, key: Key) -> Put | None:
        put = self._puts.get(key)
        is_last = put is None and key not in self._invalidations and key not in self._overtaken
        return self._writing.get(key) if is_last else put

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
                again_now = self._forgetting.setdefault(key, Invalidation(since))
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
                self._bytes -= sum(put.size for put in self._writing.values())
                self._writing = {}
                self._overtaken.clear()
                self._wake_invalidate.set()
                is_waited_for = self._is_closing or any(put.waiters for put in self._puts.values())
                self._wake_put.set_soon(is_enough=is_waited_for or len(self._puts) >= BATCH)

    def _abandon(self) -> None:
        """Nobody may wait for ever for what will not come, and what was to be forgotten stays so."""
        self._is_closed = True
        for put in (*self._writing.values(), *self._puts.values()):
            fail(put.waiters, StoreError("put: the store is closed"))
        for invalidation in (*self._forgetting.values(), *self._invalidations.values()):
            fail(invalidation.waiters, StoreError("forget: the store is closed"))
        for invalidations in (self._forgetting, self._invalidations):
            self._stay_forgotten(invalidations)
        self._puts, self._writing, self._forgetting, self._invalidations = {}, {}, {}, {}
        self._bytes = 0

    async def _forget(self, batch: Invalidations) -> None:
        erasures = {key: forgotten for key, forgotten in batch.items() if forgotten.is_erasure}
        others = {key: forgotten for key, forgotten in batch.items() if not forgotten.is_erasure}
        # There may be much to do for an erasure: nobody else waits for that.
        await self._tell("invalidate", self._database.invalidate_many, others)
        await self._tell("erase", self._database.erase_many, erasures)

    async def _tell(
        self, operation: str, tell: Callable[[list[Key]], Awaitable[None]], batch: Invalidations
    ) -> None:
        if not batch:
            return
        failure: StoreError | None = None
        try:
            await tell(list(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, later batches must be written
            failure = as_store_error(operation, error)
            self._stay_forgotten(batch)
        self._on_result(operation, failure is None)
        for key, invalidation in batch.items():
            del self._forgetting[key]
            if failure is not None:
                fail(invalidation.waiters, failure)
            for waiter in invalidation.waiters:
                settle(waiter, None)
        # The puts of these keys have waited.
        self._wake_put.set()

    def _stay_forgotten(self, invalidations: Invalidations) -> None:
        """What the database could not be told. A mere erasure is not among it: it has failed, and the row stands."""
        self._unforgotten |= {key: one.since for key, one in invalidations.items() if one.is_invalidation}
        if len(self._unforgotten) > MAX_UNFORGOTTEN:
            since = min(self._unforgotten.values())
            self._all_unforgotten_since = min(since, self._all_unforgotten_since or since)
            self._unforgotten.clear()

    async def _forget_all(self) -> None:
        self._is_all_due = False
        since = self._all_unforgotten_since
        if since is None:
            return  # it was asked for again while it was being done
        try:
            await self._database.invalidate_all()
        except Exception:  # noqa: BLE001 - as in `_tell`
            self._on_result("invalidate", False)  # noqa: FBT003 - the hook's shape
            return
        self._on_result("invalidate", True)  # noqa: FBT003 - the hook's shape
        if since == self._all_unforgotten_since:
            self._all_unforgotten_since = None
        if self._on_emptied is not None:
            await self._on_emptied()

    async def _put(self, batch: dict[Key, Put]) -> None:
        outcomes = await self._try_put([put.write for put in batch.values()])
        if any(isinstance(outcome, Entry) for outcome in outcomes.values()):
            self._on_result("put", True)  # noqa: FBT003 - the hook's shape
        for key, put in batch.items():
            outcome = None if key in self._overtaken else outcomes.get(key)
            if outcome is None:
                self._on_refused(put.write.entry)
                fail(put.waiters, Invalidated("put: something has happened since"))
            elif isinstance(outcome, Entry):
                # Written over, what was to be forgotten is gone.
                self._unforgotten.pop(key, None)
                self._on_confirmed(put.write.entry, outcome)
                for waiter in put.waiters:
                    settle(waiter, outcome)
            else:
                self._on_missed(key)
                self._on_result("put", False)  # noqa: FBT003 - the hook's shape
                fail(put.waiters, as_store_error("put", outcome))

    async def _try_put(self, writes: list[Write]) -> dict[Key, Entry | BaseException | None]:
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
            key: outcome if isinstance(outcome, BaseException) else outcome.get(key)
            for key, outcome in zip(keys, outcomes, strict=True)
        }
