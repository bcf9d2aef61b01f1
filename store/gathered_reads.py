"""Reads of a database, gathered: what is asked for in one turn of the event loop is read together, each key once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from store.base import Store, StoreError
from store.entry import Entry, Key

MAX_KEYS = 1_000
"""Keys of one read, some 10 ms of the reading thread: who asks for a few does not wait for one who asks for all."""

_Read = asyncio.Task[dict[Key, Entry] | None]
"""The rows that there are, or None when the database failed."""


@dataclass(slots=True, eq=False)
class _Turn:
    """What one turn of the event loop has asked for."""

    reads: dict[Key, _Read] = field(default_factory=dict)
    newest: tuple[list[Key], _Read] | None = None
    """The read that was made last, and its keys."""


class GatheredReads:
    """`get` for any number of callers at a time. `on_result(operation, ok)` is told of each read of the database.

    The reads belong to this and not to those who ask: a caller that goes away cancels nobody's read.
    """

    def __init__(self, database: Store, *, on_result: Callable[[str, bool], None]) -> None:
        self._database = database
        self._on_result = on_result
        self._turn: _Turn | None = None
        self._reads: set[_Read] = set()
        self._is_closed = False

    async def get(self, keys: Sequence[Key]) -> dict[Key, Entry | None]:
        """What the database has of each key; a key that is not in the answer could not be read.

        All who wait for the same read go on in the same turn, so that what they do next can be gathered, too.
        """
        if self._is_closed:
            return {}
        reads = {key: self._read_with(key) for key in keys}
        await asyncio.wait(set(reads.values()))
        answers: dict[Key, Entry | None] = {}
        for key, read in reads.items():
            rows = None if read.cancelled() else read.result()
            if rows is not None:
                answers[key] = rows.get(key)
        return answers

    async def close(self) -> None:
        """Break off what is being read, and read nothing after this. Idempotent."""
        self._is_closed = True
        reads = list(self._reads)
        for read in reads:
            read.cancel()
        if reads:
            await asyncio.wait(reads)

    def _read_with(self, key: Key) -> _Read:
        """The read of this turn that has the key, or gets it now."""
        turn = self._turn = self._turn or _Turn()
        if key not in turn.reads:
            if turn.newest is None or len(turn.newest[0]) == MAX_KEYS:
                turn.newest = self._begin(turn)
            keys, turn.reads[key] = turn.newest
            keys.append(key)
        return turn.reads[key]

    def _begin(self, turn: _Turn) -> tuple[list[Key], _Read]:
        keys: list[Key] = []
        # A task takes its first step after this turn of the loop: until then, keys can be added.
        read = asyncio.create_task(self._read(turn, keys), name="store-read")
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        return keys, read

    async def _read(self, turn: _Turn, keys: list[Key]) -> dict[Key, Entry] | None:
        if self._turn is turn:
            self._turn = None
        try:
            rows = await self._database.get_many(keys)
        except StoreError:
            self._on_result("get", False)  # noqa: FBT003 - the hook's shape
            return None
        self._on_result("get", True)  # noqa: FBT003 - the hook's shape
        return rows
