"""Reads of a database, gathered: what is asked for in one turn of the event loop is read together, each key once."""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from store.base import Store, StoreError
from store.entry import Entry, Key

MAX_KEYS = 1_000
"""Keys of one read, some 10 ms of the reading thread: who asks for a few does not wait for one who asks for all."""


class _Read(Struct, eq=False):
    """One read of the database."""

    keys: list[Key] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    rows: dict[Key, Entry] | None = None
    """The rows that there are, or None when the database failed, or nothing was read."""
    error: BaseException | None = None
    """What no database should raise."""
    is_over: bool = False

    async def over(self) -> None:
        """Wait for its end, whoever else does."""
        if not self.is_over:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter

    def end(self) -> None:
        """Have all who wait go on in one turn. Idempotent."""
        self.is_over = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()


class _Turn(Struct, eq=False):
    """What one turn of the event loop has asked for."""

    reads: dict[Key, _Read] = field(default_factory=dict)
    newest: _Read | None = None
    """The read that was made last."""


class GatheredReads:
    """`get` for any number of callers at a time. `on_result(operation, ok)` is told of each read of the database.

    The reads belong to this and not to those who ask: a caller that goes away cancels nobody's read.
    """

    def __init__(self, database: Store, *, on_result: Callable[[str, bool], None]) -> None:
        self._database = database
        self._on_result = on_result
        self._turn: _Turn | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def get(self, keys: Sequence[Key]) -> dict[Key, Entry | None]:
        """What the database has of each key; a key that is not in the answer could not be read.

        All who wait for the same read go on in the same turn, so that what they do next can be gathered, too.
        """
        if self._is_closed:
            return {}
        reads = {key: self._read_with(key) for key in keys}
        for read in dict.fromkeys(reads.values()):
            await read.over()
        answers: dict[Key, Entry | None] = {}
        for key, read in reads.items():
            if read.error is not None:
                raise read.error
            if read.rows is not None:
                answers[key] = read.rows.get(key)
        return answers

    async def close(self) -> None:
        """Break off what is being read, and read nothing after this. Idempotent."""
        self._is_closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _read_with(self, key: Key) -> _Read:
        """The read of this turn that has the key, or gets it now."""
        turn = self._turn = self._turn or _Turn()
        read = turn.reads.get(key)
        if read is None:
            read = turn.newest
            if read is None or len(read.keys) == MAX_KEYS:
                read = turn.newest = self._begin(turn)
            read.keys.append(key)
            turn.reads[key] = read
        return read

    def _begin(self, turn: _Turn) -> _Read:
        read = _Read()
        # A task takes its first step after this turn of the loop: until then, keys can be added.
        task = asyncio.create_task(self._read(turn, read), name="store-read")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                read.error = task.exception()
            read.end()  # one that was broken off has not done so by itself

        task.add_done_callback(ended)
        return read

    async def _read(self, turn: _Turn, read: _Read) -> None:
        if self._turn is turn:
            self._turn = None
        try:
            read.rows = await self._database.get_many(read.keys)
        except StoreError:
            self._on_result("get", False)  # noqa: FBT003 - the hook's shape
        else:
            self._on_result("get", True)  # noqa: FBT003 - the hook's shape
        read.end()
