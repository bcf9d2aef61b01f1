"""Rows that an import brings: which row gives way to which. As of SQLite's (`store.sqlite_adopt`), in fewer calls."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from store.base import Adopted, DeriveId
from store.entry import Column, Key, Write
from store.postgres.pool import Connection
from store.postgres.reading import Tables
from store.postgres.rows import of_text, parameters_of, text_of
from store.postgres.statements import TableStatements
from store.postgres.writing import free_ids, stored_value


class _Row(NamedTuple):
    """What is asked of a row that is there."""

    internal_id: str
    external_id: str
    version: int
    local: tuple[Column, ...]


class _Outcome(NamedTuple):
    """What came of some rows."""

    counts: Counter[str]
    changed: list[Key]
    """Entities whose rows were there already, under the external ids of before and of now."""


async def adopt_all(
    connection: Connection, tables: Tables, writes: Sequence[Write], derive_id: DeriveId
) -> tuple[Adopted, list[Key]]:
    """Take all these rows over; also the entities of which other replicas may have something in memory."""
    counts: Counter[str] = Counter()
    changed: list[Key] = []
    for resource in sorted({write.entry.key.resource for write in writes}):
        adoption = _Adoption(connection, tables[resource][0], derive_id)
        outcome = await adoption.adopt([write for write in writes if write.entry.key.resource == resource])
        counts += outcome.counts
        changed += outcome.changed
    there = sum(counts[word] for word in ("updated", "renamed", "replaced"))
    return Adopted(counts["added"], there, counts["renamed"], counts["replaced"]), changed


class _Adoption:
    """Of one resource, in the transaction that is under way."""

    def __init__(self, connection: Connection, statements: TableStatements, derive_id: DeriveId) -> None:
        self._connection = connection
        self._statements = statements
        self._derive_id = derive_id

    async def adopt(self, writes: Sequence[Write]) -> _Outcome:
        """In their order, as far as it matters: where one names what another has."""
        if _are_apart(writes):
            # Most of what is imported is new, and needs no look at what is there.
            added = await self._add(writes, [self._wanted_id(write) for write in writes])
            left = [write for write in writes if write.entry.key.id not in added]
            known, others = await self._parted(left)
        else:
            added, known, others = set(), [], list(writes)
        outcome = _Outcome(Counter(added=len(added), updated=len(known)), [w.entry.key for w in known])
        if known:
            await self._update(known)
        for write in others:
            word, keys = await self._adopt_one(write)
            outcome.counts[word] += 1
            outcome.changed.extend(keys)
        return outcome

    def _wanted_id(self, write: Write) -> str:
        return write.entry.internal_id or self._derive_id(write.entry.key, 0)

    async def _add(self, writes: Sequence[Write], ids: Sequence[str]) -> set[str]:
        """The external ids of those that are new in every respect."""
        rows = await self._connection.fetch(self._statements.adopt_new, *self._brought(writes, ids))
        return {of_text(row[0]) for row in rows}

    async def _update(self, writes: Sequence[Write]) -> None:
        ids = [self._wanted_id(write) for write in writes]
        await self._connection.execute(self._statements.adopt_known, *self._brought(writes, ids))

    async def _parted(self, writes: Sequence[Write]) -> tuple[list[Write], list[Write]]:
        """Those whose row is there and keeps its id, and the others."""
        if not writes:
            return [], []
        external = self._statements.external
        rows = await self._connection.fetch(
            f"SELECT {external}, id::text FROM {self._statements.table} WHERE {external} = ANY ($1::text[])",  # noqa: S608
            [text_of(write.entry.key.id) for write in writes],
        )
        ids = {of_text(row[0]): row[1] for row in rows}
        known: list[Write] = []
        others: list[Write] = []
        for write in writes:
            row_id = ids.get(write.entry.key.id)
            keeps = row_id is not None and write.entry.internal_id in {None, row_id}
            (known if keeps else others).append(write)
        return known, others

    async def _adopt_one(self, write: Write) -> tuple[str, list[Key]]:
        entry, statements = write.entry, self._statements
        external_id = text_of(entry.key.id)
        found = await self._connection.fetch(statements.adopt_look, entry.internal_id, external_id)
        rows = [_Row(row[0], row[1], row[2], tuple(row[3:])) for row in found]
        named = next((row for row in rows if row.internal_id == entry.internal_id), None)
        known = next((row for row in rows if row.external_id == external_id), None)
        if known is not None:
            return await self._into_known(write, known, named)
        if named is not None:
            await self._connection.execute(statements.rename, named.internal_id, external_id)
            await self._update([write])
            return "renamed", [entry.key, self._key(named)]
        ids = [entry.internal_id] if entry.internal_id else None
        ids = ids or await free_ids(self._connection, statements, [external_id], self._derive_id)
        await self._add([write], ids)
        return "added", []

    async def _into_known(self, write: Write, known: _Row, named: _Row | None) -> tuple[str, list[Key]]:
        """Update the row of the external id; one that has the internal id already gives it away, with what is ours."""
        entry, statements = write.entry, self._statements
        word = "updated"
        changed = [entry.key]
        if entry.internal_id not in {None, known.internal_id}:
            word = "replaced"
            if named is not None:
                # To whoever knows the internal id, that row is the one that goes on, under another external id.
                word = "renamed"
                changed.append(self._key(named))
                await self._connection.execute(statements.evict, [named.internal_id])
                # Local attributes belong to the internal id, and so does not having any.
                local: Mapping[str, Column] = dict(zip(statements.locals, named.local, strict=True))
                version = max(named.version, entry.version)
                write = write._replace(entry=replace(entry, local={**local, **entry.local}, version=version))
            await self._connection.execute(statements.renumber, known.internal_id, entry.internal_id)
        await self._update([write])
        return word, changed

    def _key(self, row: _Row) -> Key:
        return Key(self._statements.resource, of_text(row.external_id))

    def _brought(self, writes: Sequence[Write], ids: Sequence[str]) -> list[list[Any]]:
        entries = [write.entry for write in writes]
        brought = parameters_of(writes, ids, self._statements.columns)
        brought.append([entry.version for entry in entries])
        for name in self._statements.locals:
            brought.append([name in entry.local for entry in entries])
            brought.append([stored_value(entry.local.get(name)) for entry in entries])
        return brought


def _are_apart(writes: Sequence[Write]) -> bool:
    """Whether no two of them are about one external or internal id."""
    external = {write.entry.key.id for write in writes}
    internal = [write.entry.internal_id for write in writes if write.entry.internal_id is not None]
    return len(external) == len(writes) and len(set(internal)) == len(internal)
