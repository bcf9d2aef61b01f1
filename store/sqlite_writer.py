"""One writer with group commit: what waits together is committed together."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from msgspec import Struct

from store.base import StoreError

T = TypeVar("T")

MAX_ROWS = 1_000
"""Rows of one transaction, about 15 ms of writing: a login that waits for its commit waits for two at most. One
operation is never divided, whatever its size."""

_CHUNK = 64
"""aiosqlite's own default for iterated cursors, which are not used here."""

Run = Callable[[sqlite3.Connection], T]


async def in_thread(work: Callable[[], T]) -> T:
    """What `work`, calls of the file system, returns or raises. Whoever is cancelled meanwhile waits for its end, and
    so does not undo what it still does."""
    task = asyncio.create_task(asyncio.to_thread(work), name="store-files")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody else looks at it
        raise


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in its thread, for one hop between threads and not many."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        # Autocommit: transactions are begun by name, never by the driver's guess.
        super().__init__(partial(sqlite3.connect, uri, uri=True, isolation_level=None), _CHUNK)
        # A program that fails without closing must end all the same: what is committed is durable.
        self._thread.daemon = True
        self._stopped: asyncio.Future[Any] | None = None

    def stop(self) -> "asyncio.Future[Any] | None":
        """Tell the thread to end."""
        self._stopped = super().stop()
        return self._stopped

    async def _connect(self) -> "Connection":
        try:
            await super()._connect()
        except BaseException:
            # aiosqlite does not wait for the thread here, which would then speak to a loop that may be gone.
            if self._stopped is not None:
                await self._stopped
            raise
        return self

    async def run(self, function: Run[T]) -> T:
        """What `function` returns or raises, called with the connection in its thread."""
        # What aiosqlite's own `_execute` does, without the two calls and the coroutine around it.
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((done, partial(function, self._connection)))
        return await done


class _Operation(Struct, eq=False):
    run: Run[Any]
    rows: int
    is_alone: bool
    """Runs outside a transaction, as checkpoints must."""
    done: asyncio.Future[Any]


class Writer:
    """Owns the task that commits. Operations run in the order in which they came."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queue: deque[_Operation] = deque()  # bounded by its callers: each waits for its operation
        self._wake = asyncio.Event()
        self._is_closing = False
        self._task = asyncio.create_task(self._commit_forever(), name="store-writer")

    async def submit(self, run: Run[T], *, rows: int = 1, is_alone: bool = False) -> T:
        """Run the function in a transaction of its own or of several operations; return once it is durable.

        Raises what it raised. A cancelled caller does not cancel what was submitted.
        """
        if self._is_closing or self._task.done():
            raise StoreError("the store is closed")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Operation(run, rows, is_alone, done))
        self._wake.set()
        return await done

    async def close(self) -> None:
        """Return once the queue is empty. Nothing may be submitted any more."""
        self._is_closing = True
        self._wake.set()
        await asyncio.wait([self._task])

    async def _commit_forever(self) -> None:
        batch: list[_Operation] = []
        try:
            while self._queue or not self._is_closing:
                self._wake.clear()
                if not self._queue:
                    await self._wake.wait()
                    continue
                batch = self._take()
                outcomes = await self._connection.run(partial(_commit, batch))
                for operation, outcome in zip(batch, outcomes, strict=True):
                    _settle(operation, outcome)
        finally:
            # Cancelled from outside: nobody may wait for ever for what will not come.
            for operation in (*batch, *self._queue):
                _settle(operation, StoreError("the store was stopped before it had an answer"))
            self._queue.clear()

    def _take(self) -> list[_Operation]:
        batch = [self._queue.popleft()]
        rows = batch[0].rows
        while self._queue and not batch[0].is_alone and not self._queue[0].is_alone:
            rows += self._queue[0].rows
            if rows > MAX_ROWS:
                break
            batch.append(self._queue.popleft())
        return batch


def _settle(operation: _Operation, outcome: object) -> None:
    if operation.done.done():
        return
    if isinstance(outcome, Exception):
        operation.done.set_exception(outcome)
    else:
        operation.done.set_result(outcome)


def _commit(batch: list[_Operation], connection: sqlite3.Connection) -> list[object]:
    """Run the operations in one transaction; the result or the exception of each. Should one fail, each gets a
    transaction of its own, so that it fails alone."""
    try:
        if batch[0].is_alone:
            return [batch[0].run(connection)]
        connection.execute("BEGIN IMMEDIATE")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer of each, and not the task's end
        # No operation is at fault if no transaction could begin; asking again would only wait again.
        return [error for _ in batch]
    try:
        results = [operation.run(connection) for operation in batch]
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - as above
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if len(batch) == 1:
            return [error]
        return [outcome for operation in batch for outcome in _commit([operation], connection)]
    return results
