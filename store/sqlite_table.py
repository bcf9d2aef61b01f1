# ruff: noqa: S608 - every name that goes into a statement is quoted or a constant
"""One resource's table: the statements, which need no hop between threads."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from store.base import Position, TableSpec
from store.entry import Column, Entry, Key, Write
from store.migrations import FRESH_UNTIL, HELD, INVALIDATED, PRUNED, REGISTRY, quoted
from store.sqlite_files import SuspectError
from store.sqlite_rows import READ, REFRESHED, entry_of, local_of, values_of
from store.times import rfc3339

DeriveId = Callable[[Key, int], str]

MAX_KEYS = 512
"""Keys of one SELECT: SQLite allows 32,766 variables; statements are cached by text, and this keeps them at ten."""

MAX_ATTEMPTS = 8
"""Ids that are tried for a new entity. The first is taken only if it was imported for another one, the second only
if somebody aims at it."""


class Table:
    """The statements of one table. Every method raises the driver's errors and runs in the connection's thread."""

    def __init__(self, spec: TableSpec) -> None:
        self.resource = spec.resource
        self.name = table = quoted(spec.table)
        external = quoted(spec.id_column)
        self._columns = spec.columns
        self._identify = spec.identify
        self.is_lenient = False
        """Whether a row that is not what was put there is left out, and no reason any more to suspect the file."""
        self.locals = tuple(name for name, _ in spec.local_columns)
        locals_ = [quoted(name) for name in self.locals]
        returned = "".join(f", {name}" for name in locals_)
        columns = [(quoted(name), f":c{place}") for place, name in enumerate(spec.columns)]
        columns += [(name, f":{name}") for name in REFRESHED]
        names, values = (", ".join(part) for part in zip(*columns, strict=True))
        changes = ", ".join(f"{name} = {value}" for name, value in columns)
        # Two statements and not one upsert: an upsert conflicts on both keys, and would derive an id to no end.
        self._update = (
            f"UPDATE {table} SET version = version + (item IS NOT :item), invalidated = {HELD}, {changes}"
            f" WHERE {external} = :external_id RETURNING id, version{returned}"
        )
        self._insert = (
            f"INSERT INTO {table} (id, {external}, {names}) VALUES (:id, :external_id, {values})"
            f" RETURNING id, version{returned}"
        )
        self._reserve = (
            f"INSERT INTO {table} (id, {external}, last_synced_at, received_at, lifetime, initial_age, invalidated)"
            f" VALUES (?, ?, ?, ?, 0, 0, {INVALIDATED})"
        )
        self._read = f"{external}, {READ}{returned}"
        self._select = f"SELECT {self._read} FROM {table} WHERE {external} IN "
        self._page = f"SELECT {self._read} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"
        self._unsynced = (
            f"SELECT {self._read} FROM {table} WHERE invalidated = {HELD} AND last_synced_at < ?"
            " AND (last_synced_at, id) > (?, ?) ORDER BY last_synced_at, id LIMIT ?"
        )
        self._find = f"SELECT {external} FROM {table} WHERE id = ?"
        self._of_key = f" WHERE {external} = :external_id"
        emptied = "".join(f", {quoted(name)} = NULL" for name in spec.columns)
        self._empty = f"UPDATE {table} SET invalidated = :state, item = NULL, headers = NULL{emptied}"
        self._invalidate = f"{self._empty}{self._of_key} AND invalidated = {HELD}"
        is_local = " OR ".join(f"{name} IS NOT NULL" for name in locals_) or "0"
        self._oldest = (
            f"SELECT rowid, id, {external}, {is_local} FROM {table}"
            " WHERE invalidated = ? AND last_synced_at < ? ORDER BY last_synced_at LIMIT ?"
        )
        self._first = f"SELECT min(last_synced_at) FROM {table} WHERE invalidated = {HELD}"
        self._count_stale = f"SELECT count(*) FROM {table} WHERE invalidated = {HELD} AND {FRESH_UNTIL} < ?"
        self._delete = f"DELETE FROM {table} WHERE rowid = ?"
        erased = ", ".join(
            f"CAST({name} AS BLOB)"
            for name in ("item", "headers", "id", "source_version", *map(quoted, spec.columns), *locals_)
        )
        self._erase = f"DELETE FROM {table}{self._of_key} RETURNING {erased}"

    def get(self, connection: sqlite3.Connection, ids: Sequence[str]) -> Iterator[tuple[Key, Entry]]:
        """The rows of those ids that have one."""
        for start in range(0, len(ids), MAX_KEYS):
            chunk = list(ids[start : start + MAX_KEYS])
            # Filled up to a power of two with what is asked anyway, so that there are few statements to cache.
            chunk += chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))
            marks = ",".join("?" * len(chunk))
            for entry in self._entries(connection, f"{self._select}({marks})", chunk):
                yield entry.key, entry

    def find(self, connection: sqlite3.Connection, internal_id: str) -> str | None:
        """The external id of the row with that id."""
        row = connection.execute(self._find, (internal_id,)).fetchone()
        return None if row is None else row[0]

    def page(self, connection: sqlite3.Connection, *, after: str | None, limit: int) -> list[Entry]:
        """Rows in whatever state, in the order of their ids."""
        return self._entries(connection, self._page, (after or "", limit))

    def unsynced(
        self, connection: sqlite3.Connection, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """Representations in the order of their last sync."""
        # What an entry of a page says, to the millisecond, becomes the very text that it came from.
        position = (rfc3339(after.last_synced_at), after.internal_id) if after else ("", "")
        return self._entries(connection, self._unsynced, (rfc3339(before), *position, limit))

    def count_stale(self, connection: sqlite3.Connection, at: float) -> int:
        """How many representations are past their freshness at that time."""
        found: int = connection.execute(self._count_stale, (at,)).fetchone()[0]
        return found

    def put(self, connection: sqlite3.Connection, write: Write, derive_id: DeriveId) -> Entry:
        """Update the row of the entry's key, or insert it under the first free id."""
        values = values_of(write, self._columns)
        row = connection.execute(self._update, values).fetchone()
        if row is None:
            values["id"] = self.free_id(connection, write.entry.key, derive_id)
            row = connection.execute(self._insert, values).fetchone()
        return write.entry.confirmed(internal_id=row[0], version=row[1], local=local_of(self.locals, row[2:]))

    def reserve(self, connection: sqlite3.Connection, key: Key, at: float, derive_id: DeriveId) -> None:
        """Insert a husk for a key that has no row."""
        values = (self.free_id(connection, key, derive_id), key.id, rfc3339(at), at)
        connection.execute(self._reserve, values)

    def free_id(self, connection: sqlite3.Connection, key: Key, derive_id: DeriveId) -> str:
        """The first derived id that no row has, or the last attempt, whatever becomes of it."""
        for attempt in range(MAX_ATTEMPTS - 1):
            derived = derive_id(key, attempt)
            taken_by = self.find(connection, derived)
            if taken_by is None:
                return derived
            if taken_by == key.id:
                # The row was asked for by that very id, and not found.
                raise SuspectError
        return derive_id(key, MAX_ATTEMPTS - 1)

    def change(
        self,
        connection: sqlite3.Connection,
        external_id: str,
        local: Mapping[str, Column],
        synced_at: float | None,
    ) -> Entry | None:
        """Set those local attributes, and the time of last sync if there is one. None: there is no such row."""
        values: dict[str, Column] = {"external_id": external_id}
        changes, differences = [], []
        for place, name in enumerate(self.locals):
            if name in local:
                values[f"l{place}"] = local[name]
                changes.append(f"{quoted(name)} = :l{place}")
                differences.append(f"{quoted(name)} IS NOT :l{place}")
        if differences:
            changes.append(f"version = version + ({' OR '.join(differences)})")
        if synced_at is not None:
            values["synced_at"] = rfc3339(synced_at)
            changes.append("last_synced_at = :synced_at")
        if changes:
            connection.execute(f"UPDATE {self.name} SET {', '.join(changes)}{self._of_key}", values)
        # Not by RETURNING, which gives a REAL column's number as it was bound and not as it is stored.
        return next((entry for _, entry in self.get(connection, [external_id])), None)

    def erase(self, connection: sqlite3.Connection, external_id: str) -> tuple[bytes | None, ...] | None:
        """Delete the row. Returns what it had, whatever a person has made of it: the item, its headers, the internal
        id, then the other texts."""
        row = connection.execute(self._erase, {"external_id": external_id}).fetchone()
        erased: tuple[bytes | None, ...] | None = row
        return erased

    def invalidate(self, connection: sqlite3.Connection, external_id: str) -> None:
        """Take the representation out of the row, if it has one."""
        connection.execute(self._invalidate, {"state": INVALIDATED, "external_id": external_id})

    def first(self, connection: sqlite3.Connection) -> str | None:
        """When the representation that has been longest without was last synced."""
        found: str | None = connection.execute(self._first).fetchone()[0]
        return found

    def evict(
        self, connection: sqlite3.Connection, *, state: int, before: str, limit: int, derive_id: DeriveId
    ) -> int:
        """Remove up to `limit` rows of that state that were last synced before, the oldest first.

        A row that could not be made again stays without its representation: one with local attributes, or whose
        id was not derived. Returns how many rows were dealt with.
        """
        rows = connection.execute(self._oldest, (state, before, limit)).fetchall()
        for rowid, internal_id, external_id, is_local in rows:
            if is_local or internal_id != derive_id(Key(self.resource, external_id), 0):
                connection.execute(f"{self._empty} WHERE rowid = :rowid", {"state": PRUNED, "rowid": rowid})
            else:
                connection.execute(self._delete, (rowid,))
        return len(rows)

    def _entries(
        self, connection: sqlite3.Connection, sql: str, values: Sequence[Any] | Mapping[str, Any]
    ) -> list[Entry]:
        # Fetched before a row is looked at: a read that a bad row ended half-way would stay open, and hold up the log.
        try:
            rows = connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if hasattr(error, "sqlite_errorname"):
                raise
            # The driver's own error, of a text that is none.
            if not self.is_lenient:
                raise SuspectError from None
            with _any_text(connection):
                rows = connection.execute(sql, values).fetchall()
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def _entry(self, row: tuple[Any, ...]) -> Entry | None:
        """None, or an error until the file has been verified, for what is not what was put there."""
        try:
            entry = entry_of(self.resource, row, self.locals)
        except (ValueError, TypeError):
            entry = None
        if entry is None or self._is_another(entry):
            if self.is_lenient:
                return None
            raise SuspectError
        return entry

    def _is_another(self, entry: Entry) -> bool:
        if entry.item is None or self._identify is None:
            return False
        return self._identify(entry.item) != entry.key.id


@contextmanager
def _any_text(connection: sqlite3.Connection) -> Iterator[None]:
    """Meanwhile bytes that are no UTF-8 come back as something that is no id, no time and no name either."""
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        yield
    finally:
        connection.text_factory = str


def representations(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows have one, by resource, of all the tables that there are."""
    return dict(connection.execute(f"SELECT resource, entities FROM {REGISTRY}"))
