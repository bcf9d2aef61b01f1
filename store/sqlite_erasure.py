"""Nothing of an erased entity stays in the files, not even what SQLite left behind beside its live cells."""

import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from store.base import StoreError
from store.sqlite_files import ERASURE_DUE, FOREIGN_ERRORS, Files
from store.sqlite_pages import dead_bytes
from store.sqlite_pragmas import checkpoint, rewrite

_READERS_WAIT_MS = 500
"""How long an erasure waits for reads to end: ours take milliseconds, a person's shell may take for ever."""

_SHORTEST = 3
"""Bytes of the shortest value that is looked for; ids are looked for whatever their length."""

_PIECE = 8
"""Bytes of a value that are looked for at once, so that what is left of it is found if it is twice as long."""

_MOST_NEEDLES = 500
"""Values up to which looking for them takes less time than writing the database anew."""

_SCALARS = re.compile(rb'"(?:[^"\\]|\\.)*+"\s*+:|"((?:[^"\\]|\\.)*+)"|(-?\d[\d.eE+-]*+)', re.DOTALL)
"""Strings and numbers of a JSON text as they stand there, escapes and all; of the names of members, nothing."""

_HEADER_VALUES = re.compile(rb'", "((?:[^"\\]|\\.)*+)"\]', re.DOTALL)
"""Likewise of what `store.sqlite_rows.headers_text` makes."""


class Remains:
    """What erased rows may have left in the files, and how it goes. Lives in the writer's thread.

    SQLite overwrites what it deletes (`secure_delete`), but a page whose cells it moved to another keeps dead copies of
    them beside its live ones. Only a rewrite of the whole database takes these away; as it costs a second, the file is
    looked through first, for whether there is anything to take away. That something is due is written in the database
    (`user_version`), so that it is done in the end, whatever comes between.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._due = 0
        """What `user_version` says."""
        self._needles: set[bytes] = set()
        self._is_rewrite_due = False
        """Whatever the file has: it is not known, or too much, what to look for."""

    @property
    def is_due(self) -> bool:
        """Whether `remove` has something to do."""
        return bool(self._due)

    def at_opening(self, connection: sqlite3.Connection) -> None:
        """Do what an earlier process left to do. If it can't be done now, it stays due."""
        (self._due,) = connection.execute("PRAGMA user_version").fetchone()
        self._is_rewrite_due = self.is_due
        with suppress(*FOREIGN_ERRORS, StoreError):
            self.remove(connection)

    def expect(self, connection: sqlite3.Connection) -> None:
        """Say, in the transaction that erases, that something is due."""
        connection.execute(f"PRAGMA user_version = {ERASURE_DUE}")
        self._due = ERASURE_DUE

    def add(self, external_id: str, row: Sequence[bytes | None] | None) -> None:
        """Take note of what a row had (see `Table.erase`), if there was one."""
        self._needles |= needles_of(external_id, row)
        if len(self._needles) > _MOST_NEEDLES:
            self._needles.clear()
            self._is_rewrite_due = True

    def remove(self, connection: sqlite3.Connection) -> None:
        """Make the files clean, if they may not be. Not in a transaction. Raises StoreError and the driver's errors,
        after which it is still due."""
        if not self.is_due:
            return
        if self._due == ERASURE_DUE:
            self._files.remove_set_aside()
        _empty_log(connection)
        if self._is_rewrite_due or _has_any(self._files, self._needles):
            rewrite(connection)
            self._is_rewrite_due = False
            _empty_log(connection)
        connection.execute("PRAGMA user_version = 0")
        self._needles.clear()
        self._due = 0


def needles_of(external_id: str, row: Sequence[bytes | None] | None) -> set[bytes]:
    """The values by which a row (see `Table.erase`) would be found where it is dead."""
    ids, values = [external_id.encode()], []
    if row is not None:
        item, headers, internal_id, *others = row
        ids.append(internal_id or b"")
        values = [value for value in others if value]
        values += _HEADER_VALUES.findall(headers or b"")
        values += [text or number for text, number in _SCALARS.findall(item or b"")]
    wanted = [value for value in ids if value] + [value for value in values if len(value) >= _SHORTEST]
    return {piece for value in wanted for piece in _pieces(value)}


def _pieces(value: bytes) -> Iterator[bytes]:
    """All of it, so divided that one is whole where a live cell has overwritten one end of the dead value."""
    for start in range(0, len(value) - _PIECE, _PIECE):
        yield value[start : start + _PIECE]
    yield value[-_PIECE:]


def _has_any(files: Files, needles: Collection[bytes]) -> bool:
    return any(needle in dead for dead in dead_bytes(files.read) for needle in needles)


def _empty_log(connection: sqlite3.Connection) -> None:
    if not checkpoint(connection, wait_ms=_READERS_WAIT_MS):
        raise StoreError("erase: somebody reads, so that erased rows are in the files still")
