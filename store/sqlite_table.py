# ruff: noqa: S608 - every name that goes into a statement is quoted or a constant
"""One resource's table: entries to rows and back, in statements that need no hop between threads."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from store.base import TableSpec
from store.entry import Column, Entry, Key, RawHeaders, Write
from store.migrations import HELD, INVALIDATED, PRUNED, quoted

DeriveId = Callable[[Key, int], str]

MAX_KEYS = 512
"""Keys of one SELECT: SQLite allows 32,766 variables; statements are cached by text, and this keeps them at ten."""

MAX_ATTEMPTS = 8
"""Ids that are tried for a new entity. The first is taken only if it was imported for another one, the second only
if somebody aims at it."""


class Table:
    """The statements of one table. Every method raises the driver's errors and runs in the connection's thread."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self.name = table = quoted(spec.table)
        external = quoted(spec.id_column)
        self._columns = spec.columns
        columns = [(quoted(name), f":c{place}") for place, name in enumerate(spec.columns)]
        columns += [(name, f":{name}") for name in _REFRESHED]
        names, values = (", ".join(part) for part in zip(*columns, strict=True))
        changes = ", ".join(f"{name} = {value}" for name, value in columns)
        # Two statements and not one upsert: an upsert conflicts on both keys, and would derive an id to no end.
        self._update = (
            f"UPDATE {table} SET version = version + (item IS NOT :item), invalidated = {HELD}, {changes}"
            f" WHERE {external} = :external_id RETURNING id, version"
        )
        self._insert = (
            f"INSERT INTO {table} (id, {external}, {names}) VALUES (:id, :external_id, {values})"
            " RETURNING id, version"
        )
        self._owner = f"SELECT 1 FROM {table} WHERE id = ?"
        self._select = (
            f"SELECT {external}, id, last_synced_at, received_at, lifetime, initial_age, version, source_version,"
            " headers, CAST(item AS BLOB), stale_while_revalidate, stale_if_error, must_revalidate, shareable"
            f" FROM {table} WHERE {external} IN "
        )
        emptied = "".join(f", {quoted(name)} = NULL" for name in spec.columns)
        self._empty = f"UPDATE {table} SET invalidated = :state, item = NULL, headers = NULL{emptied}"
        self._invalidate = f"{self._empty} WHERE {external} = :external_id AND invalidated = {HELD}"
        locals_ = [quoted(name) for name, _ in spec.local_columns]
        is_local = " OR ".join(f"{name} IS NOT NULL" for name in locals_) or "0"
        self._oldest = (
            f"SELECT rowid, id, {external}, {is_local} FROM {table}"
            " WHERE invalidated = ? AND last_synced_at < ? ORDER BY last_synced_at LIMIT ?"
        )
        self._first = f"SELECT min(last_synced_at) FROM {table} WHERE invalidated = {HELD}"
        self._delete = f"DELETE FROM {table} WHERE rowid = ?"

    def get(self, connection: sqlite3.Connection, ids: Sequence[str]) -> Iterator[tuple[Key, Entry]]:
        """The rows of those ids that have one."""
        for start in range(0, len(ids), MAX_KEYS):
            chunk = list(ids[start : start + MAX_KEYS])
            # Filled up to a power of two with what is asked anyway, so that there are few statements to cache.
            chunk += chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))
            marks = ",".join("?" * len(chunk))
            for row in connection.execute(f"{self._select}({marks})", chunk):
                key = Key(self._spec.resource, row[0])
                yield key, _entry(key, row)

    def put(self, connection: sqlite3.Connection, write: Write, derive_id: DeriveId) -> Entry:
        """Update the row of the entry's key, or insert it under the first free id."""
        entry = write.entry
        values = self._values(write)
        row = connection.execute(self._update, values).fetchone()
        attempt = 0
        while row is None:
            values["id"] = derive_id(entry.key, attempt)
            attempt += 1
            if attempt < MAX_ATTEMPTS and connection.execute(self._owner, (values["id"],)).fetchone():
                continue
            row = connection.execute(self._insert, values).fetchone()
        return entry.confirmed(internal_id=row[0], version=row[1])

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
            if is_local or internal_id != derive_id(Key(self._spec.resource, external_id), 0):
                connection.execute(f"{self._empty} WHERE rowid = :rowid", {"state": PRUNED, "rowid": rowid})
            else:
                connection.execute(self._delete, (rowid,))
        return len(rows)

    def _values(self, write: Write) -> dict[str, Column | bytes]:
        entry = write.entry
        values: dict[str, Column | bytes] = {
            "external_id": entry.key.id,
            "last_synced_at": rfc3339(entry.last_synced_at),
            "received_at": entry.received_at,
            "lifetime": entry.lifetime,
            "initial_age": entry.initial_age,
            "source_version": entry.source_version,
            "headers": _headers_text(entry.headers),
            "item": _readable(entry.item),
            "stale_while_revalidate": entry.stale_while_revalidate,
            "stale_if_error": entry.stale_if_error,
            "must_revalidate": entry.must_revalidate,
            "shareable": entry.shareable,
        }
        for place, name in enumerate(self._columns):
            values[f"c{place}"] = _column_text(write.columns.get(name))
        return values


_REFRESHED = (
    "last_synced_at", "received_at", "lifetime", "initial_age", "source_version", "headers", "item",
    "stale_while_revalidate", "stale_if_error", "must_revalidate", "shareable",
)  # fmt: skip
"""What each write sets besides the configured columns; local attributes are not among it."""


def rfc3339(seconds: float) -> str:
    """Epoch seconds for a person to read; the texts sort as the times do. Raises ValueError, OverflowError."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


_Row = tuple[
    str, str, str, float, float, float, int, str | None, str | None, bytes | None,
    float | None, float | None, int, int,
]  # fmt: skip


def _entry(key: Key, row: _Row) -> Entry:
    _, internal_id, synced, received_at, lifetime, initial_age, version, source_version, headers, item = row[
        :10
    ]
    while_revalidate, if_error, must_revalidate, shareable = row[10:]
    return Entry(
        key=key,
        item=item,
        received_at=received_at,
        lifetime=lifetime,
        initial_age=initial_age,
        stale_while_revalidate=while_revalidate,
        stale_if_error=if_error,
        must_revalidate=bool(must_revalidate),
        shareable=bool(shareable),
        headers=_headers(headers),
        internal_id=internal_id,
        version=version,
        source_version=source_version,
        last_synced_at=datetime.fromisoformat(synced).timestamp(),
        durable=True,
    )


def _readable(item: bytes | None) -> str | bytes | None:
    """As text, which a person can read in any SQLite shell, if the bytes allow it; they come back exactly either way.

    NUL would end the text there for that person, and is no JSON.
    """
    if item is None or b"\0" in item:
        return item
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item


def _column_text(value: Column) -> str | None:
    # Text whatever it is: an integer may be larger than SQLite's, and a person reads both alike.
    if value is None:
        return None
    text = ("false", "true")[value] if isinstance(value, bool) else str(value)
    return text.encode(errors="backslashreplace").decode()


def _headers_text(headers: RawHeaders) -> str | None:
    if not headers:
        return None
    return json.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers])


def _headers(text: str | None) -> RawHeaders:
    if text is None:
        return ()
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(text))
