"""Values of rows, whatever the database: local attributes, fields and columns as a person reads them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from store.entry import AT_LEAST, NO_LOCALS, Column, RawHeaders

HELD, INVALIDATED, PRUNED = 0, 1, 2
"""Values of the column `invalidated`: the row has its item; it lost it to an invalidation; it lost it to
eviction, and stays only for its ids and local attributes."""

INTERNAL_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A lower-case UUID."""

AT_LEAST_KNOWN: Final = (
    f"CASE WHEN source_version LIKE '{AT_LEAST}%' THEN source_version ELSE '{AT_LEAST}' || source_version END"
)
"""SQL: what is known of the owner's version of a row of which a representation comes that names none."""

_SPLITS: Final = re.compile(rb"[\r\n\0]")
"""What would make more than one line of a field. Fields come without it, and are sent as they stand here."""


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


def column_text(value: Column) -> str | None:
    """Text whatever it is: an integer may be larger than a database's, and a person reads both alike."""
    if value is None:
        return None
    text = ("false", "true")[value] if isinstance(value, bool) else str(value)
    return text.encode(errors="backslashreplace").decode()
