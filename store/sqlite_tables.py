"""All tables of a database: what is done to rows of several of them in one go."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from store.base import DeriveId, StoreStats
from store.entry import Entry, Key, Write
from store.sqlite_table import Table, representations


class Tables:
    """The tables by resource. Every method but `has_row` raises the driver's errors and runs in the connection's
    thread."""

    def __init__(self, tables: Mapping[str, Table], derive_id: DeriveId) -> None:
        self._tables = tables
        self._derive_id = derive_id

    def has_row(self, key: Key) -> bool:
        """Whether there is a place for the key: a table has one row an id."""
        return key.resource in self._tables and not key.variant

    def get(self, keys: Sequence[Key], connection: sqlite3.Connection) -> dict[Key, Entry]:
        """The rows that there are."""
        ids: dict[str, list[str]] = {}
        for key in keys:
            if self.has_row(key):
                ids.setdefault(key.resource, []).append(key.id)
        return {
            entry.key: entry
            for resource, ids_of_one in ids.items()
            for entry in self._tables[resource].get(connection, ids_of_one)
        }

    def put(self, writes: Sequence[Write], connection: sqlite3.Connection) -> dict[Key, Entry]:
        """Store each; as it now stands."""
        return {
            write.entry.key: self._tables[write.entry.key.resource].put(connection, write, self._derive_id)
            for write in writes
        }

    def reserve(self, keys: Sequence[Key], at: float, connection: sqlite3.Connection) -> dict[Key, Entry]:
        """Each as it stands; a husk, last synced `at` (epoch seconds), where there was no row."""
        there = self.get(keys, connection)
        missing = [key for key in dict.fromkeys(keys) if key not in there]
        for key in missing:
            self._tables[key.resource].reserve(connection, key, at, self._derive_id)
        return there | self.get(missing, connection)

    def invalidate(self, keys: Sequence[Key], connection: sqlite3.Connection) -> None:
        """Take the representations out of the rows that there are."""
        for key in keys:
            if self.has_row(key):
                self._tables[key.resource].invalidate(connection, key.id)

    def stats(self, at: float, size: Callable[[], int], connection: sqlite3.Connection) -> StoreStats:
        """Counts, what is stale `at` that time (epoch seconds), and the size of the files (bytes)."""
        counted = representations(connection)
        return StoreStats(
            size(),
            {resource: counted[resource] for resource in self._tables},
            {resource: table.count_stale(connection, at) for resource, table in self._tables.items()},
        )
