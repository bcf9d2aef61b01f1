"""What the store's tests are made of."""

from collections.abc import Callable
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from store.base import TableSpec
from store.entry import Column, Entry, Key, RawHeaders, Write
from store.postgres.pool import Pool
from store.postgres.store import PostgresStore
from store.sqlite import SqliteStore
from store.sqlite_opening import Opening

USERS = TableSpec("user", ("name", "email"), (("department_id", "TEXT"), ("is_field_worker", "INTEGER")))
BUSINESSES = TableSpec("business", ("name",))
TABLES = (USERS, BUSINESSES)
NOW = 1_700_000_000.0
LARGE = 1 << 30


def user(identity: str) -> Key:
    return Key("user", identity)


def derive(key: Key, attempt: int) -> str:
    return str(uuid5(NAMESPACE_URL, f"{key.resource}:{key.id}#{attempt}"))


def entry(
    key: Key,
    item: bytes | None = b'{"id":"a"}',
    *,
    received_at: float = NOW,
    lifetime: float = 60.0,
    initial_age: float = 0.0,
    headers: RawHeaders = (),
    source_version: str | None = None,
    last_synced_at: float = NOW,
    absent: bool = False,
) -> Entry:
    return Entry(
        key=key,
        item=item,
        received_at=received_at,
        lifetime=lifetime,
        initial_age=initial_age,
        headers=headers,
        source_version=source_version,
        last_synced_at=last_synced_at,
        absent=absent,
    )


def write(identity: str, item: bytes = b'{"id":"a"}', *, synced: float = NOW, **columns: Column) -> Write:
    return Write(entry(user(identity), item, last_synced_at=synced), dict(columns))


def ignore(_operation: str, _seconds: float, _ok: bool) -> None:
    """An `on_operation` for tests that don't look at it."""


def opening(
    path: Path,
    *,
    clock: Callable[[], float] = lambda: NOW,
    on_operation: Callable[[str, float, bool], None] = ignore,
) -> Opening:
    return Opening(
        path=path,
        tables=TABLES,
        max_bytes=LARGE,
        derive_id=derive,
        on_operation=on_operation,
        clock=clock,
    )


async def open_store(
    path: Path,
    *,
    tables: tuple[TableSpec, ...] = TABLES,
    max_bytes: int = LARGE,
    derive_id: Callable[[Key, int], str] = derive,
    on_operation: Callable[[str, float, bool], None] = ignore,
) -> SqliteStore:
    return await SqliteStore.open(
        path, tables, max_bytes=max_bytes, derive_id=derive_id, on_operation=on_operation
    )


async def open_shared(
    url: str,
    *,
    tables: tuple[TableSpec, ...] = TABLES,
    max_bytes: int = LARGE,
    derive_id: Callable[[Key, int], str] = derive,
    on_operation: Callable[[str, float, bool], None] = ignore,
) -> PostgresStore:
    """One replica's store on a database that others may have, too."""
    pool = Pool(url, connections=4, prepared=True)
    store = PostgresStore(pool, tables, max_bytes=max_bytes, derive_id=derive_id, on_operation=on_operation)
    await store.open()
    return store
