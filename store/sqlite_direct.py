"""Reads of a few rows in the thread that asks for them.

To have another thread read takes three times as long as the read: two wake-ups, and two turns of the event loop. But
the event loop must not wait for a disk. So it reads by itself for as long as that is quick, which it is while the pages
are in the kernel's cache, and after a read that was not leaves reading to the thread for a while.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import perf_counter

from store.entry import Entry, Key
from store.sqlite_files import FOREIGN_ERRORS, Files
from store.sqlite_pragmas import set_up_direct

MAX_KEYS = 32
"""Keys of one read: half a millisecond, in which nobody else has a turn."""

_SLOW = 0.002
"""Seconds above which a read has waited for something."""

_PAUSE = 50
"""So many times as long as that took nothing is read here: a slow disk has a fiftieth of the event loop's time."""

_CREDIT = 2.0
"""Seconds of such pauses that may be owed before one is made, 40 ms of slow reads. One now and then is none of the
disk's doing: the process was not scheduled, or the collector of garbage had its turn."""

_Read = Callable[[Sequence[Key], sqlite3.Connection], dict[Key, Entry]]


class DirectReader:
    """A connection of its own, for one thread at a time. `read(keys, connection)` gives the rows that there are;
    `monotonic` are seconds."""

    def __init__(self, files: Files, read: _Read, *, monotonic: Callable[[], float] = perf_counter) -> None:
        # Opened by one thread, used by another, and never by two.
        self._connection = sqlite3.connect(files.path, isolation_level=None, check_same_thread=False)
        self._read = read
        self._monotonic = monotonic
        self._not_before = float("-inf")
        set_up_direct(self._connection)

    def get(self, keys: Sequence[Key]) -> Mapping[Key, Entry] | None:
        """The rows of those keys that there are; None if they have to be read by somebody who can wait, or fail."""
        began = self._monotonic()
        if len(keys) > MAX_KEYS or began < self._not_before:
            return None
        rows: Mapping[Key, Entry] | None = None
        with suppress(*FOREIGN_ERRORS):
            rows = self._read(keys, self._connection)
        ended = self._monotonic()
        if rows is None:
            self._not_before = ended + _PAUSE * max(_SLOW, ended - began)
        elif ended - began > _SLOW:
            self._not_before = max(self._not_before, ended - _CREDIT) + _PAUSE * (ended - began)
        return rows

    def close(self) -> None:
        """Close the connection."""
        with suppress(*FOREIGN_ERRORS):
            self._connection.close()
