# ruff: noqa: S608 - every name that goes into a statement is quoted or a constant
"""One resource's table: the statements, which need no hop between threads."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from store.base import DeriveId, Position, TableSpec
from store.entry import Column, Entry, Key, Write
from store.migrations import FRESH_UNTIL, REGISTRY, quoted
from store.row_values import AT_LEAST_KNOWN, HELD, INTERNAL_ID, INVALIDATED, PRUNED, local_of
from store.sqlite_files import SuspectError
from store.sqlite_rows import READ, REFRESHED, entry_of, values_of
from store.times import rfc3339

MAX_KEYS = 512
"""Keys of one SELECT: SQLite allows 32,766 variables; statements are cached by text, and this keeps them at ten."""

MAX_ATTEMPTS = 8
"""Ids that are tried for a new entity. The first is taken only if it was imported for another one, the second only
if somebody aims at it."""


class Page(NamedTuple):
    """A page of rows, some of which may have been left out."""

    entries: list[Entry]
    last: tuple[bytes, ...] | None
    """Where the next page begins; None: there is none."""


async def filled(
    run: Callable[[Callable[[sqlite3.Connection], Page]], Awaitable[Page]],
    read: Callable[..., Page],
    limit: int,
) -> list[Entry]:
    """A page that is as long as it was asked for, if there is so much. `read`, a method of a table, gives less where
    rows are left out; `run` calls it with the connection, and serves others between two calls."""
    page = await run(partial(read, position=(), limit=limit))
    found = page.entries
    while page.last is not None and len(found) < limit:
        page = await run(partial(read, position=page.last, limit=limit - len(found)))
        found += page.entries
    return found


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
        self.left_out = 0
        """How often one was."""
        self.locals = tuple(name for name, _ in spec.local_columns)
        locals_ = [quoted(name) for name in self.locals]
        returned = "".join(f", {name}" for name in locals_)
        columns = [(quoted(name), f":c{place}") for place, name in enumerate(spec.columns)]
        columns += [(name, f":{name}") for name in REFRESHED]
        names, values = (", ".join(part) for part in zip(*columns, strict=True))
        changes = ", ".join(f"{name} = {value}" for name, value in columns if name != "source_version")
        changes += f", source_version = coalesce(:source_version, {AT_LEAST_KNOWN})"
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
        self._select_one = f"{self._select}(?)"
        # Positions in the bytes that the texts have, be they texts or not.
        place = "CAST(id AS BLOB)"
        self._page = f"SELECT {place}, {self._read} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"
        self._unsynced = (
            f"SELECT CAST(last_synced_at AS BLOB), {place}, {self._read} FROM {table} WHERE invalidated = {HELD}"
            f" AND last_synced_at < ? AND (last_synced_at, id) > (?, ?) ORDER BY last_synced_at, id LIMIT ?"
        )
        self._known = f"SELECT {place} FROM {table} WHERE {external} = ?"
        self._find = f"SELECT {external} FROM {table} WHERE id = ?"
        self._of_key = f" WHERE {external} = :external_id"
        emptied = "".join(f", {quoted(name)} = NULL" for name in spec.columns)
        self._empty = f"UPDATE {table} SET invalidated = :state, item = NULL, headers = NULL{emptied}"
        self._overwrite = (
            f"UPDATE {table} SET last_synced_at = ?, received_at = ?, lifetime = 0, initial_age = 0,"
            f" version = CAST(version AS INTEGER) + 1, source_version = NULL, stale_while_revalidate = NULL,"
            f" stale_if_error = NULL, must_revalidate = 0, shareable = 0, item = NULL, headers = NULL,"
            f" invalidated = {INVALIDATED}{emptied} WHERE {external} = ?"
        )
        self._invalidate = f"{self._empty}{self._of_key} AND invalidated = {HELD}"
        self._version = f"UPDATE {table} SET source_version = :version{self._of_key}"
        is_local = " OR ".join(f"{name} IS NOT NULL" for name in locals_) or "0"
        self._oldest = (
            f"SELECT rowid, id, {external}, {is_local} FROM {table}"
            " WHERE invalidated = ? AND last_synced_at < ? ORDER BY last_synced_at LIMIT ?"
        )
        self._places = f"SELECT rowid, {external} FROM {table} WHERE {external} IN "
        # A rowid may have been given anew since it was read.
        self._note = (
            f"UPDATE {table} SET used_at = :used_at{self._of_key} AND rowid = :rowid"
            " AND (used_at IS NULL OR used_at < :used_at)"
        )
        self._used = (
            f"SELECT rowid, {external}, CASE invalidated WHEN {HELD} THEN used_at END FROM {table}"
            " WHERE rowid > ? ORDER BY rowid LIMIT ?"
        )
        self._first = f"SELECT min(last_synced_at) FROM {table} WHERE invalidated = {HELD}"
        self._count_stale = f"SELECT count(*) FROM {table} WHERE invalidated = {HELD} AND {FRESH_UNTIL} < ?"
        self._delete = f"DELETE FROM {table} WHERE rowid = ?"
        erased = ", ".join(
            f"CAST({name} AS BLOB)"
            for name in ("item", "headers", "id", "source_version", *map(quoted, spec.columns), *locals_)
        )
        self._erase = f"DELETE FROM {table}{self._of_key} RETURNING {erased}"

    def get(self, connection: sqlite3.Connection, ids: Sequence[str]) -> list[Entry]:
        """The rows of those ids that have one."""
        if len(ids) == 1:
            return self._entries(connection, self._select_one, ids)
        found: list[Entry] = []
        for sql, chunk in _chunks(self._select, ids):
            found += self._entries(connection, sql, chunk)
        return found

    def find(self, connection: sqlite3.Connection, internal_id: str) -> str | None:
        """The external id of the row with that id."""
        row = connection.execute(self._find, (internal_id,)).fetchone()
        return None if row is None else row[0]

    def page(
        self, connection: sqlite3.Connection, position: tuple[bytes, ...], limit: int, *, after: str | None
    ) -> Page:
        """Rows in whatever state, in the order of their ids. `position`: the `last` of the page before this one."""
        position = position or ((after or "").encode(),)
        sql, place = _positioned(self._page, position)
        return self._page_of(self._rows(connection, sql, (*place, limit)), position, limit)

    def unsynced(
        self,
        connection: sqlite3.Connection,
        position: tuple[bytes, ...],
        limit: int,
        *,
        before: float,
        after: Position | None,
    ) -> Page:
        """Representations in the order of their last sync. `position`: as for `page`."""
        if not position:
            # What an entry of a page says, to the millisecond, becomes the very text that it came from.
            texts = (rfc3339(after.last_synced_at), after.internal_id) if after else ("", "")
            position = tuple(text.encode() for text in texts)
        sql, place = _positioned(self._unsynced, position)
        rows = self._rows(connection, sql, (rfc3339(before), *place, limit))
        return self._page_of(rows, position, limit)

    def _page_of(self, rows: list[tuple[Any, ...]], before: tuple[bytes, ...], limit: int) -> Page:
        places = len(before)
        last = rows[-1][:places] if len(rows) == limit else None
        if last is not None and last <= before:
            # Only what is no text stands there for ever, behind all texts.
            last = None
        return Page(self._entries_of([row[places:] for row in rows]), last)

    def count_stale(self, connection: sqlite3.Connection, at: float) -> int:
        """How many representations are past their freshness at that time."""
        found: int = connection.execute(self._count_stale, (at,)).fetchone()[0]
        return found

    def put(self, connection: sqlite3.Connection, write: Write, derive_id: DeriveId) -> Entry:
        """Update the row of the entry's key, or insert it under the first free id."""
        values = values_of(write, self._columns)
        if self.is_lenient:
            self._has_id(connection, write.entry.key, derive_id)
        row = connection.execute(self._update, values).fetchone()
        if row is None:
            values["id"] = self.free_id(connection, write.entry.key, derive_id)
            row = connection.execute(self._insert, values).fetchone()
        return write.entry.confirmed(internal_id=row[0], version=row[1], local=local_of(self.locals, row[2:]))

    def reserve(self, connection: sqlite3.Connection, key: Key, at: float, derive_id: DeriveId) -> None:
        """Insert a husk for a key that has no row. One that is left out becomes a husk, its local attributes as they
        are, and its id if that is one."""
        if self.is_lenient and self._has_id(connection, key, derive_id):
            connection.execute(self._overwrite, (rfc3339(at), at, key.id))
            return
        values = (self.free_id(connection, key, derive_id), key.id, rfc3339(at), at)
        connection.execute(self._reserve, values)

    def _has_id(self, connection: sqlite3.Connection, key: Key, derive_id: DeriveId) -> bool:
        """Whether the key has a row, which has an id then: a new one, if what stood there is none."""
        known = connection.execute(self._known, (key.id,)).fetchone()
        if known and not INTERNAL_ID.fullmatch(known[0].decode(errors="replace")):
            values = {"id": self.free_id(connection, key, derive_id), "external_id": key.id}
            connection.execute(f"UPDATE {self.name} SET id = :id{self._of_key}", values)
        return known is not None

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
        if self.is_lenient and not self.get(connection, [external_id]):
            return None
        if changes:
            connection.execute(f"UPDATE {self.name} SET {', '.join(changes)}{self._of_key}", values)
        # Not by RETURNING, which gives a REAL column's number as it was bound and not as it is stored.
        return next(iter(self.get(connection, [external_id])), None)

    def erase(self, connection: sqlite3.Connection, external_id: str) -> tuple[bytes | None, ...] | None:
        """Delete the row. Returns what it had, whatever a person has made of it: the item, its headers, the internal
        id, then the other texts."""
        row = connection.execute(self._erase, {"external_id": external_id}).fetchone()
        erased: tuple[bytes | None, ...] | None = row
        return erased

    def invalidate(self, connection: sqlite3.Connection, external_id: str) -> None:
        """Take the representation out of the row, if it has one."""
        connection.execute(self._invalidate, {"state": INVALIDATED, "external_id": external_id})

    def outdate(self, connection: sqlite3.Connection, external_id: str, source_version: str | None) -> None:
        """Likewise, for the owner has another version of it: that one, if it is known which."""
        self.invalidate(connection, external_id)
        if source_version is not None:
            connection.execute(self._version, {"version": source_version, "external_id": external_id})

    def places(self, connection: sqlite3.Connection, ids: Sequence[str]) -> list[tuple[int, str]]:
        """Rowid and external id of those that have a row."""
        return [
            place for sql, chunk in _chunks(self._places, ids) for place in connection.execute(sql, chunk)
        ]

    def note_used(self, connection: sqlite3.Connection, rowid: int, external_id: str, used_at: float) -> None:
        """Note that the entity was used then, if it was not used later and its row is still there."""
        connection.execute(self._note, {"rowid": rowid, "external_id": external_id, "used_at": used_at})

    def used(self, connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[Any, ...]]:
        """Rowid, external id and last use, as noted, of the next rows; without that where there is no
        representation."""
        return self._rows(connection, self._used, (after, limit))

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
        return self._entries_of(self._rows(connection, sql, values))

    def _rows(
        self, connection: sqlite3.Connection, sql: str, values: Sequence[Any] | Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        # Fetched before a row is looked at: a read that a bad row ended half-way would stay open, and hold up the log.
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if hasattr(error, "sqlite_errorname"):
                raise
            # The driver's own error, of a text that is none.
            if not self.is_lenient:
                raise SuspectError from None
            with _any_text(connection):
                return connection.execute(sql, values).fetchall()

    def _entries_of(self, rows: list[tuple[Any, ...]]) -> list[Entry]:
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def _entry(self, row: tuple[Any, ...]) -> Entry | None:
        """None, or an error until the file has been verified, for what is not what was put there."""
        try:
            entry = entry_of(self.resource, row, self.locals)
        except (ValueError, TypeError):
            entry = None
        if entry is None or self._is_another(entry):
            if self.is_lenient:
                self.left_out += 1
                return None
            raise SuspectError
        return entry

    def _is_another(self, entry: Entry) -> bool:
        if entry.item is None or self._identify is None:
            return False
        return self._identify(entry.item) != entry.key.id


def _chunks(select: str, ids: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The statement for each part of the ids, and that part."""
    for start in range(0, len(ids), MAX_KEYS):
        chunk = list(ids[start : start + MAX_KEYS])
        # Filled up to a power of two with what is asked anyway, so that there are few statements to cache.
        chunk += chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))
        yield f"{select}({','.join('?' * len(chunk))})", chunk


def _positioned(sql: str, position: tuple[bytes, ...]) -> tuple[str, Sequence[str | bytes]]:
    """The statement, and what it wants for the position."""
    try:
        return sql, [part.decode() for part in position]
    except UnicodeDecodeError:
        # Of what is no UTF-8 the driver makes no text. SQLite does, but would not use all of the index then.
        text = "CAST(? AS TEXT)"
        return sql.replace("> ?", f"> {text}").replace("> (?, ?)", f"> ({text}, {text})"), position


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
