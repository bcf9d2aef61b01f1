"""What stands in the columns of a row: entries to values and back."""

from collections.abc import Sequence
from typing import Any, Final

from store.entry import Column, Entry, Key, Write
from store.row_values import INTERNAL_ID, column_text, headers_of, headers_text, local_of
from store.times import epoch, rfc3339

REFRESHED: Final = (
    "last_synced_at", "received_at", "lifetime", "initial_age", "source_version", "headers", "item",
    "stale_while_revalidate", "stale_if_error", "must_revalidate", "shareable",
)  # fmt: skip
"""What each write sets besides the configured columns; local attributes are not among it."""

READ: Final = (
    "id, last_synced_at, received_at, lifetime, initial_age, version, source_version, headers, CAST(item AS BLOB),"
    " stale_while_revalidate, stale_if_error, must_revalidate, shareable"
)
"""What `entry_of` wants to have selected behind the external id; local attributes follow it."""

_TYPES: Final = [str, str, str, float, float, float, int]
"""What a row begins with, all that is calculated with or compared; SQLite itself would keep anything."""

_BEFORE_LOCALS = 14
"""The external id and `READ`."""


def values_of(write: Write, columns: Sequence[str]) -> dict[str, Column | bytes]:
    """Values by the names that statements have for them: c0, c1, ... are the configured columns.

    Raises ValueError and OverflowError for a time that no calendar has.
    """
    entry = write.entry
    values: dict[str, Column | bytes] = {
        "external_id": entry.key.id,
        "last_synced_at": rfc3339(entry.last_synced_at),
        "received_at": entry.received_at,
        "lifetime": entry.lifetime,
        "initial_age": entry.initial_age,
        "source_version": entry.source_version,
        "headers": headers_text(entry.headers),
        "item": _readable(entry.item),
        "stale_while_revalidate": entry.stale_while_revalidate,
        "stale_if_error": entry.stale_if_error,
        "must_revalidate": entry.must_revalidate,
        "shareable": entry.shareable,
    }
    for place, name in enumerate(columns):
        values[f"c{place}"] = column_text(write.columns.get(name))
    return values


def entry_of(resource: str, row: tuple[Any, ...], locals_: Sequence[str]) -> Entry:
    """The entry of a row as the database has it. Raises ValueError for what a person or a fault has made of it."""
    if list(map(type, row[: len(_TYPES)])) != _TYPES or not INTERNAL_ID.fullmatch(row[1]):
        raise ValueError("a row has values that were never put there")
    return Entry(
        key=Key(resource, row[0]),
        item=row[9],
        received_at=row[3],
        lifetime=row[4],
        initial_age=row[5],
        stale_while_revalidate=row[10],
        stale_if_error=row[11],
        must_revalidate=bool(row[12]),
        shareable=bool(row[13]),
        headers=headers_of(row[8]),
        internal_id=row[1],
        local=local_of(locals_, row[_BEFORE_LOCALS:]),
        version=row[6],
        source_version=row[7],
        last_synced_at=epoch(row[2]),
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
