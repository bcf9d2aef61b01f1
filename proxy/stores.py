"""Which tables a configuration has, which ids their rows get, and the database that it names."""

from collections.abc import Mapping
from functools import partial
from typing import Protocol
from uuid import UUID, uuid5

from config.model import Config
from config.url import redact
from proxy.attributes import LOCAL_ATTRIBUTES
from proxy.core.bulk import AnswerShape, NotUnderstood, TooComplex
from proxy.core.json_lines import RowShape
from proxy.keeper import columns_of
from store.base import Store, StoreError, TableSpec
from store.entry import Entry, Key, Write
from store.sqlite import SqliteStore
from store.sqlite_read import SqliteReader


def table_specs(config: Config) -> list[TableSpec]:
    """The tables that a database has for a configuration."""
    return [
        TableSpec(
            name,
            tuple(config.resources[name].columns),
            tuple((attribute.column, attribute.sql_type) for attribute in LOCAL_ATTRIBUTES.get(name, ())),
            partial(_identify, shape.answer),
            filled_by(config, name),
        )
        for name, shape in row_shapes(config).items()
    ]


def filled_by(config: Config, resource: str) -> str:
    """In whose name the owner is asked for what all share, in a word for the database: rows that were asked for in
    another's must not be shown any more, for the owner may not have said the same."""
    one = config.resources[resource]
    if config.upstreams[one.upstream].credential_file is not None:
        return "credential_file"
    return "callers" if one.sharing == "service" else "nobody"


def row_shapes(config: Config) -> dict[str, RowShape]:
    """The resources that have rows."""
    return {
        name: RowShape(
            # Of an answer's shape only the items matter here.
            AnswerShape(items="", count=None, id_pointer=resource.id),
            partial(columns_of, resource),
            ttl=resource.freshness.ttl,
            jitter=resource.freshness.jitter,
            attributes=LOCAL_ATTRIBUTES.get(name, ()),
        )
        for name, resource in config.resources.items()
        if resource.storage == "database" and resource.id is not None
    }


def as_write(shapes: Mapping[str, RowShape], entry: Entry) -> Write | None:
    """A representation with the columns of its table; None if it can't be read here: how deep an item may go depends on
    how deep the calls are that read it."""
    if entry.item is None:
        raise ValueError("only a representation has columns")
    shape = shapes[entry.key.resource]
    try:
        return Write(entry, shape.columns(shape.answer.item(entry.item).document))
    except (NotUnderstood, TooComplex):
        return None


def _identify(answer: AnswerShape, item: bytes) -> str | None:
    try:
        return answer.item(item).id
    except (NotUnderstood, TooComplex):
        return None


def derive_id(namespace: UUID, key: Key, attempt: int) -> str:
    """UUIDv5 (RFC 9562 section 5.5) of resource and external id; a taken one is followed by the next attempt."""
    suffix = f"#{attempt}" if attempt else ""
    return str(uuid5(namespace, f"{key.resource}:{key.id}{suffix}"))


class Source(Protocol):
    """A database as an export has it."""

    @property
    def left_out(self) -> int:
        """How many rows were left out, for they were not what had been put there."""
        ...

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """`store.base.Store.page`."""
        ...

    async def count(self) -> int:
        """How many rows have a representation."""
        ...

    async def close(self) -> None:
        """Idempotent."""
        ...


async def open_for_import(config: Config) -> Store:
    """SQLite's for this process alone, PostgreSQL's beside the replicas that share it; a file that can't be opened
    stays as it is. Raises StoreError."""
    path = config.store.sqlite_path
    if path is None:
        return await _open_shared(config)
    try:
        return await SqliteStore.open(
            path,
            table_specs(config),
            max_bytes=config.store.max_bytes,
            derive_id=partial(derive_id, config.handshake.namespace),
            on_operation=lambda *_: None,
        )
    except StoreError as error:
        hint = ": stop `handshake-proxy serve` first" if "in use" in str(error) else ""
        raise StoreError(f"{path}: {error}{hint}") from None


async def open_for_export(config: Config) -> Source:
    """The database to look at, which other processes may have. Raises StoreError."""
    path = config.store.sqlite_path
    if path is None:
        from store.postgres.reader import PostgresReader  # noqa: PLC0415 - an extra, not imported for nothing

        settings = config.store
        try:
            return await PostgresReader.open(
                settings.url, table_specs(config), prepared=settings.prepared_statements
            )
        except StoreError as error:
            raise StoreError(f"{redact(settings.url)}: {error}") from None
    if not path.exists():
        raise StoreError(f"{path}: there is no database")
    try:
        return await SqliteReader.open(path, table_specs(config))
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


async def _open_shared(config: Config) -> Store:
    from store.postgres.pool import Pool  # noqa: PLC0415 - likewise
    from store.postgres.store import PostgresStore  # noqa: PLC0415

    store = PostgresStore(
        Pool(config.store.url, connections=1, prepared=config.store.prepared_statements),
        table_specs(config),
        max_bytes=config.store.max_bytes,
        derive_id=partial(derive_id, config.handshake.namespace),
        on_operation=lambda *_: None,
    )
    try:
        await store.open()
    except StoreError as error:
        raise StoreError(f"{redact(config.store.url)}: {error}") from None
    return store
