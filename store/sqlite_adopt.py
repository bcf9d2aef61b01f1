# ruff: noqa: S608 - every name that goes into a statement is quoted or a constant
"""Rows that an import brings: which row gives way to which."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from store.base import Adopted, DeriveId, TableSpec
from store.entry import Column, Entry, Write
from store.migrations import quoted
from store.row_values import HELD, INVALIDATED
from store.sqlite_pragmas import with_large_cache
from store.sqlite_rows import REFRESHED, values_of
from store.sqlite_table import Table

Outcome = Literal["added", "updated", "renamed", "replaced"]
"""A word of `store.base.Adopted`."""


class _Row(NamedTuple):
    """What is asked of a row that is there."""

    rowid: int
    internal_id: str
    external_id: str
    last_synced_at: str
    state: int
    version: int
    local: tuple[Column, ...]


class Adoption:
    """The statements of an import into one table. Raises the driver's errors and runs in the connection's thread."""

    def __init__(self, spec: TableSpec, table: Table) -> None:
        self._table = table
        self._external = external = quoted(spec.id_column)
        self._columns = spec.columns
        locals_ = {quoted(name): f":l{place}" for place, name in enumerate(self._table.locals)}
        representation = {quoted(name): f":c{place}" for place, name in enumerate(spec.columns)}
        representation |= {name: f":{name}" for name in REFRESHED}
        inserted = {"id": ":id", external: ":external_id", "version": ":version", "invalidated": ":state"}
        inserted |= representation | locals_
        self._look = (
            f"SELECT rowid, id, {external}, last_synced_at, invalidated, version{''.join(f', {n}' for n in locals_)}"
            f" FROM {table.name} WHERE id = :id OR {external} = :external_id"
        )
        self._insert = (
            f"INSERT INTO {table.name} ({', '.join(inserted)}) VALUES ({', '.join(inserted.values())})"
        )
        self._insert_new = f"{self._insert} ON CONFLICT DO NOTHING"
        self._taken = [
            f"invalidated = {HELD}",
            *(f"{name} = {value}" for name, value in representation.items()),
        ]
        self._emptied = [
            f"{name} = NULL" for name in ("item", "headers", *(quoted(name) for name in spec.columns))
        ]
        self._emptied.append(f"invalidated = {INVALIDATED}")
        self._delete = f"DELETE FROM {table.name} WHERE rowid = ?"

    def adopt(self, connection: sqlite3.Connection, write: Write, derive_id: DeriveId) -> Outcome:
        """Take one row over."""
        entry = write.entry
        values: dict[str, Any] = values_of(write, self._columns)
        values |= {f"l{place}": entry.local.get(name) for place, name in enumerate(self._table.locals)}
        values |= {"version": entry.version, "state": INVALIDATED if entry.item is None else HELD}
        # Most of what is imported is new, and needs no look at what is there.
        values["id"] = entry.internal_id or derive_id(entry.key, 0)
        if connection.execute(self._insert_new, values).rowcount:
            return "added"
        values["id"] = entry.internal_id
        rows = [_Row._make((*row[:6], row[6:])) for row in connection.execute(self._look, values).fetchall()]
        named = next((row for row in rows if row.internal_id == entry.internal_id), None)
        known = next((row for row in rows if row.external_id == entry.key.id), None)
        if known:
            return self._into_known(connection, known, named, entry, values)
        if named:
            # What is stored is about another external id, and says so.
            changes = [f"{self._external} = :external_id"]
            changes += self._emptied if entry.item is None else self._taken
            self._update(connection, named, changes, entry.local, values)
            return "renamed"
        values["id"] = self._table.free_id(connection, entry.key, derive_id)
        connection.execute(self._insert, values)
        return "added"

    def _into_known(
        self,
        connection: sqlite3.Connection,
        known: _Row,
        named: _Row | None,
        entry: Entry,
        values: dict[str, Any],
    ) -> Outcome:
        """Update the row of the external id; one that has the internal id already gives it away, with what is ours."""
        local = dict(entry.local)
        changes: list[str] = []
        outcome: Outcome = "updated"
        if entry.internal_id not in {None, known.internal_id}:
            changes.append("id = :id")
            outcome = "replaced"
            if named:
                # To whoever knows the internal id, that row is the one that goes on, under another external id.
                outcome = "renamed"
                connection.execute(self._delete, (named.rowid,))
                # Local attributes belong to the internal id, and so does not having any.
                local = dict(zip(self._table.locals, named.local, strict=True)) | local
                values["version"] = max(named.version, entry.version)
        is_newer = known.state != HELD or values["last_synced_at"] >= known.last_synced_at
        if entry.item is not None and is_newer:
            changes += self._taken
        self._update(connection, known, changes, local, values)
        return outcome

    def _update(
        self,
        connection: sqlite3.Connection,
        row: _Row,
        changes: list[str],
        local: Mapping[str, Column],
        values: dict[str, Any],
    ) -> None:
        changes = ["version = max(version, :version)", *changes]
        for place, name in enumerate(self._table.locals):
            if name in local:
                values[f"l{place}"] = local[name]
                changes.append(f"{quoted(name)} = :l{place}")
        values["rowid"] = row.rowid
        connection.execute(f"UPDATE {self._table.name} SET {', '.join(changes)} WHERE rowid = :rowid", values)


def adopt_all(
    adoptions: Mapping[str, Adoption],
    writes: Sequence[Write],
    derive_id: DeriveId,
    connection: sqlite3.Connection,
) -> Adopted:
    """Take all these rows over, each into the table of its resource."""
    with with_large_cache(connection):
        found = Counter(
            adoptions[write.entry.key.resource].adopt(connection, write, derive_id) for write in writes
        )
    there = sum(found[outcome] for outcome in ("updated", "renamed", "replaced"))
    return Adopted(found["added"], there, found["renamed"], found["replaced"])
