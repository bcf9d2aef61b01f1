"""The shared database: `store.shared.SharedStore` on PostgreSQL, for any number of replicas."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

from store.base import Adopted, DeriveId, Position, StoreError, StoreStats, TableSpec
from store.effects import Applied, Decide, Delivery
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.operation import OnOperation, Operation
from store.postgres import changes, deliveries, forgetting, leases, used
from store.postgres.adoption import adopt_all
from store.postgres.errors import FOREIGN_ERRORS, store_error
from store.postgres.pool import COMMAND_WITHIN, Connection, Pool
from store.postgres.reading import count_all, find, get_all, page, unsynced
from store.postgres.room import Room
from store.postgres.rows import Reader, is_text
from store.postgres.schema import prepare
from store.postgres.statements import TableStatements
from store.postgres.writing import change_row, put_all, reserve_all
from store.row_values import INTERNAL_ID
from store.shared import Claim, Cursor, News

T = TypeVar("T")

_PREPARE_WITHIN: Final = 60.0
"""Seconds for the schema: another replica may be at it, and a new index takes a while."""

_LONG: Final = 60.0
"""Seconds for what nobody waits for with a request: imports, counts, evictions."""


_PUT_IN_TIME: Final = 1_000
"""Rows that are stored within the time of one operation, with a lot to spare; more have as much more of it."""


class PostgresStore:
    """`store.shared.SharedStore` on one server, which may go and come back: `open` connects, and its owner calls it
    again while `is_there` is false. Until then every call raises StoreError.

    `on_operation(operation, seconds, ok)` is told of each get, put, invalidate, find, reserve, change, apply, erase,
    unsynced, page, adopt, note, recent, stats, prune, claim, release, lead and changes.
    """

    def __init__(
        self,
        pool: Pool,
        tables: Sequence[TableSpec],
        *,
        max_bytes: int,
        derive_id: DeriveId,
        on_operation: OnOperation,
    ) -> None:
        self._pool = pool
        self._specs = {spec.resource: spec for spec in tables}
        self._tables = {spec.resource: (TableStatements(spec), Reader(spec)) for spec in tables}
        self._derive_id = derive_id
        self._on_operation = on_operation
        self._origin = str(uuid4())
        self._room = Room(self._tables, max_bytes=max_bytes, derive_id=derive_id)
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self.forgotten: list[str] = []
        """Resources whose rows the opening has forgotten, for they were filled in another's name."""

    @property
    def is_there(self) -> bool:
        """Whether the server was there when it was last spoken to."""
        return self._pool.is_there

    @property
    def last_failure(self) -> str | None:
        """The driver's word for what failed last; for a log, since it quotes nothing."""
        return self._pool.last_failure

    @property
    def left_out(self) -> int:
        """How often a row was left out, for it was not what had been put there."""
        return sum(reader.left_out for _, reader in self._tables.values())

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises StoreError."""
        if self._is_closed:
            raise StoreError("open: the store is closed")
        making = partial(prepare, tables=list(self._specs.values()), origin=self._origin)
        self.forgotten += await self._pool.open(making, within=_PREPARE_WITHIN)

    def holds(self, resource: str) -> bool:
        """Whether the resource has a table here."""
        return resource in self._tables

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The entries that there are; an invalidated row comes back as a husk. Raises StoreError."""
        keys = [key for key in keys if self._has_row(key) and is_text(key.id)]
        return await self._read("get", partial(get_all, tables=self._tables, keys=keys)) if keys else {}

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """Store representations in one statement a resource; each as it now stands, once it is durable. The other
        replicas are told of those whose item differs from what stood there.

        Missing is what was fetched under a lease that does not stand any more: something has happened since. Raises
        StoreError, having stored none of them; ValueError for what is no representation or has no row here.
        """
        for entry, _, _ in writes:
            if entry.item is None or entry.absent or not self._has_row(entry.key):
                raise ValueError("only representations are stored, and only where there is a row for them")
        last = {write.entry.key: write for write in writes}
        if not last:
            return {}
        put = partial(put_all, self._tables, list(last.values()), self._derive_id, origin=self._origin)
        return await self._write("put", put, within=COMMAND_WITHIN * max(1.0, len(last) / _PUT_IN_TIME))

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """Forget the representations for every use, and log it for the other replicas; keep rows, ids and local
        attributes. Raises StoreError."""
        # What has no table here is in the memory of others, too.
        if keys := [key for key in keys if not key.variant and is_text(key.id)]:
            forget = partial(forgetting.invalidate, tables=self._tables, keys=keys, origin=self._origin)
            await self._write("invalidate", forget)

    async def invalidate_all(self) -> None:
        """Forget every representation for every use, and have the other replicas forget what they have in memory. Rows
        go, unless they could not be made again. Raises StoreError."""
        forget = partial(forgetting.forget_all, resources=list(self._tables), origin=self._origin)
        await self._write("invalidate", forget)
        while await self._write("invalidate", self._room.evict_some, within=_LONG):
            pass
        # Again: what was told at first may have been read anew before it was gone.
        await self._write("invalidate", forget)

    async def find(self, resource: str, internal_id: str) -> str | None:
        """The external id of the row with that internal id (lower-case UUID), if there is one. Raises StoreError."""
        if resource not in self._tables or not INTERNAL_ID.fullmatch(internal_id):
            return None
        statements, _ = self._tables[resource]
        return await self._read("find", partial(find, statements=statements, internal_id=internal_id))

    async def reserve_many(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        """Each as it stands, once that is durable; a husk, last synced `at` (epoch seconds), where there was no row.

        Raises StoreError, having made none of them; ValueError for what has no row here.
        """
        if not all(self._has_row(key) for key in keys):
            raise ValueError("ids are given only to what has a row here")
        if not keys:
            return {}

        async def work(connection: Connection) -> dict[Key, Entry]:
            await reserve_all(connection, self._tables, keys, self._derive_id, at=at)
            return await get_all(connection, self._tables, keys)

        return await self._write("reserve", work)

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        """Set local attributes by column, or the time of last sync (epoch seconds); what is not named stays. The other
        replicas are told.

        Returns the entry as it stands then, once it is durable, or None if there is no row. Raises StoreError, and
        ValueError for a column that is no local one of the resource.
        """
        statements, reader = self._tables.get(key.resource, (None, None))
        if not local.keys() <= set(statements.locals if statements else ()):
            raise ValueError("only local attributes of the resource are changed")
        if statements is None or reader is None or key.variant:
            return None
        if not local and synced_at is None:
            return (await self.get_many([key])).get(key)

        async def work(connection: Connection) -> Entry | None:
            async with connection.transaction():
                entry = await change_row(connection, statements, reader, key, local, synced_at)
                if entry is not None:
                    await changes.write(connection, [key], "changed", self._origin)
                return entry

        return await self._write("change", work)

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        """Do to an entity what a message says, and remember the message for all replicas; see `store.base.Store`.

        When a connection is lost while it is being done, the message may count as one that was delivered before.
        """
        work = partial(
            deliveries.apply,
            tables=self._tables,
            key=key,
            decide=decide,
            delivery=delivery,
            derive_id=self._derive_id,
            origin=self._origin,
        )
        return await self._write("apply", work)

    async def erase_many(self, keys: Sequence[Key]) -> None:
        """Forget the entities altogether, here and, by the log, in the memory of the other replicas. Raises StoreError.

        No query finds them once this returns. Bytes of them stay in the server's files until it has vacuumed and
        written over them, and in its log and backups: those are its operator's.
        """
        # What has no table here is in the memory of others, too.
        if keys := [key for key in keys if not key.variant and is_text(key.id)]:
            await self._write(
                "erase", partial(forgetting.erase, tables=self._tables, keys=keys, origin=self._origin)
            )

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """Up to `limit` representations that were last synced before `before` (epoch seconds), the longest unsynced
        first, from behind `after` on. Raises StoreError."""
        if resource not in self._tables:
            return []
        listing = partial(unsynced, table=self._tables[resource], before=before, after=after, limit=limit)
        return await self._read("unsynced", listing)

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """Up to `limit` rows, husks too, in the order of their internal ids, from behind that of `after` on.

        Raises StoreError.
        """
        if resource not in self._tables:
            return []
        listing = partial(page, table=self._tables[resource], after=after, limit=limit)
        return await self._read("page", listing, within=_LONG)

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        """Take rows over, in one transaction, as another store or table had them; see `store.base.Store`. The replicas
        that share the store go on meanwhile, and are told. Nothing is evicted for it, then or later, before `prune`.

        Raises StoreError, having taken none of them; ValueError for an absence, a variant, a resource that has no
        table here or a column that is no local one of it.
        """
        for entry, _, _ in writes:
            if entry.absent or not self._has_row(entry.key):
                raise ValueError(
                    "only representations and husks are taken over, where there is a row for them"
                )
            if not entry.local.keys() <= set(self._tables[entry.key.resource][0].locals):
                raise ValueError("only local attributes of the resource are set")
        if not writes:
            return Adopted()

        async def work(connection: Connection) -> Adopted:
            async with connection.transaction():
                adopted, changed = await adopt_all(connection, self._tables, writes, self._derive_id)
                await leases.void(connection, changed)
                await changes.write(connection, changed, "changed", self._origin)
                return adopted

        return await self._write("adopt", work, within=_LONG)

    async def note_used(self, uses: Sequence[tuple[Key, float]]) -> None:
        """Note when entities were last used (epoch seconds), of those that have rows: of each the latest that any
        replica has noted stays. In small transactions. No replica is told. Raises StoreError."""
        for start in range(0, len(uses), used.NOTED):
            some = uses[start : start + used.NOTED]
            known = [use for use in some if self._has_row(use[0]) and is_text(use[0].id)]
            await self._write("note", partial(used.note, tables=self._tables, uses=known))

    async def recently_used(self, limit: int) -> list[tuple[Key, float]]:
        """Up to `limit` entities and when each was last used, as noted, the most recently used first. Raises
        StoreError."""
        return await self._read(
            "recent", partial(used.recent, tables=self._tables, limit=limit), within=_LONG
        )

    async def check(self) -> None:
        """Find out whether the database can be read and written now. Raises StoreError."""
        await self._write("check", _touch)

    async def stats(self, *, at: float) -> StoreStats:
        """Sizes and counts. Of many rows the last count is given again for a while. Raises StoreError."""
        counts = await self._read("stats", partial(count_all, tables=self._tables, at=at), within=_LONG)
        return StoreStats(
            bytes=sum(count.bytes for count in counts.values()),
            entities={resource: count.held for resource, count in counts.items()},
            stale={resource: count.stale for resource, count in counts.items()},
        )

    async def prune(self, *, older_than: float) -> int:
        """Evict what was last synced before `older_than` (epoch seconds); above 90 % of the bound, also what was
        longest without, until below 80 %. Returns how many representations went; 0 if another replica is at it.

        In transactions of its own, between those of others. Raises StoreError.
        """

        async def work(connection: Connection) -> int:
            return await self._room.prune(connection, older_than=older_than)

        return await self._write("prune", work, within=_LONG)

    async def claim_many(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool = False
    ) -> dict[Key, Claim]:
        """See `store.shared.SharedStore`."""
        keys = [key for key in keys if self._has_row(key) and is_text(key.id)]
        claim = partial(
            leases.claim,
            tables=self._tables,
            keys=keys,
            token=token,
            seconds=seconds,
            is_forced=is_forced,
        )
        return await self._write("claim", claim) if keys else {}

    async def release_many(self, keys: Sequence[Key], token: int) -> None:
        """See `store.shared.SharedStore`."""
        if keys := [key for key in keys if is_text(key.id)]:
            await self._write("release", partial(leases.release, keys=keys, token=token))

    async def lead(self, role: str, token: int, *, seconds: float) -> bool:
        """See `store.shared.SharedStore`."""
        return await self._write("lead", partial(leases.lead, role=role, token=token, seconds=seconds))

    async def changes_begin(self) -> Cursor:
        """The end of the change log, as of now. Raises StoreError."""
        return await self._read("changes", changes.begin)

    async def changes_since(self, cursor: Cursor) -> News:
        """What other replicas have changed since. Raises StoreError."""
        return await self._read("changes", partial(changes.read, cursor=cursor, origin=self._origin))

    async def notify(self, channel: str) -> None:
        """Send a notification, without a word, to those who listen there. Raises StoreError."""
        await self._read("changes", partial(_notify, channel))

    async def close(self) -> None:
        """Finish what is under way, then close. Idempotent."""
        self._is_closed = True
        while self._running:
            await asyncio.wait(self._running)
        await self._pool.close()

    def _has_row(self, key: Key) -> bool:
        return key.resource in self._tables and not key.variant

    async def _read(
        self, name: str, work: Callable[[Connection], Awaitable[T]], *, within: float | None = None
    ) -> T:
        with self._operation(name):
            return await self._pool.run(work, within=within or COMMAND_WITHIN)

    async def _write(
        self, name: str, work: Callable[[Connection], Awaitable[T]], *, within: float | None = None
    ) -> T:
        """As `_read`; a caller that goes away breaks nothing off, and `close` waits for its end."""
        with self._operation(name):
            task = asyncio.create_task(
                self._pool.run(work, within=within or COMMAND_WITHIN), name="store-write"
            )
            self._running.add(task)
            task.add_done_callback(self._ended)
            return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone away

    def _operation(self, name: str) -> Operation:
        if self._is_closed:
            raise StoreError(f"{name}: the store is closed")
        return Operation(
            name,
            on_end=self._on_operation,
            on_failure=lambda _: None,
            foreign=FOREIGN_ERRORS,
            as_ours=store_error,
        )


async def _touch(connection: Connection) -> None:
    await connection.execute("UPDATE handshake_proxy.log SET pruned = pruned")


async def _notify(channel: str, connection: Connection) -> None:
    await connection.execute("SELECT pg_notify($1, '')", channel)
