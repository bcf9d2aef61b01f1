"""What stands in the columns of a row: entries to values and back."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from store.entry import NO_LOCALS, Column, Entry, Key, RawHeaders, Write
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

INTERNAL_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A lower-case UUID."""

_SPLITS: Final = re.compile(rb"[\r\n\0]")
"""What would make more than one line of a field. Fields come without it, and are sent as they stand here."""

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
        values[f"c{place}"] = _column_text(write.columns.get(name))
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


def local_of(names: Sequence[str], values: Sequence[Column]) -> Mapping[str, Column]:
    """Those that are set."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None} or NO_LOCALS


def headers_text(headers: RawHeaders) -> str | None:
    """As JSON, for a person to read; their bytes come back exactly."""
    if not headers:
        return None
    return json.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers])


def headers_of(text: str | None) -> RawHeaders:
    """What `headers_text` was made of. Raises ValueError for what would not be one line of a head."""
    if text is None:
        return ()
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(text))
    if any(_SPLITS.search(part) for field in headers for part in field):
        raise ValueError("a field was written here that no answer can have")
    return headers


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
