"""What stands in the columns of a row: entries to values and back."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from store.base import TableSpec
from store.entry import Entry, Key, Write
from store.postgres.statements import REFRESHED
from store.row_values import column_text, headers_of, headers_text, local_of
from store.times import moment

READ: Final = 14
"""Columns of a row before its local attributes."""

_ESCAPE: Final = "\U0010ffff"
"""A code point that is no character, and never will be one."""


def is_text(value: str) -> bool:
    """Whether a row can have it for its id: half of a surrogate pair is no text anywhere else."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def text_of(value: str) -> str:
    """As the server can have it: a text without NUL, by which no two become one."""
    if "\0" in value or _ESCAPE in value:
        return value.replace(_ESCAPE, _ESCAPE * 2).replace("\0", f"{_ESCAPE}0")
    return value


def of_text(text: str) -> str:
    """What `text_of` was given."""
    if _ESCAPE not in text:
        return text
    return _ESCAPE.join(part.replace(f"{_ESCAPE}0", "\0") for part in text.split(_ESCAPE * 2))


def parameters_of(writes: Sequence[Write], ids: Sequence[str], columns: Sequence[str]) -> list[list[Any]]:
    """A list for each parameter of the statements that store rows, from the lease on, with these internal ids.

    Raises ValueError and OverflowError for a time that no calendar has.
    """
    entries = [entry for entry, _, _ in writes]
    own: list[list[Any]] = [[_shown(write.columns.get(name)) for write in writes] for name in columns]
    refreshed: dict[str, list[Any]] = {
        name: [getattr(entry, name) for entry in entries] for name, _ in REFRESHED
    }
    refreshed["last_synced_at"] = [moment(entry.last_synced_at) for entry in entries]
    refreshed["headers"] = [headers_text(entry.headers) for entry in entries]
    leases = [write.lease for write in writes]
    return [leases, list(ids), [text_of(entry.key.id) for entry in entries], *own, *refreshed.values()]


def _shown(value: Any) -> str | None:
    text = column_text(value)
    # For a person, who would not see a NUL either.
    return None if text is None else text.replace("\0", "\\0")


class Reader:
    """Makes entries of one resource's rows. A row that is not what was put there, or is about another entity, is left
    out, as if there were none: a person may have changed it."""

    def __init__(self, spec: TableSpec) -> None:
        self._resource = spec.resource
        self._locals = tuple(name for name, _ in spec.local_columns)
        self._identify: Callable[[bytes], str | None] | None = spec.identify
        self.left_out = 0
        """How often one was."""

    def entries(self, rows: Sequence[Sequence[Any]], *, skip: int = 0) -> list[Entry]:
        """Of all rows that have one, each behind `skip` other columns."""
        found = (self.entry(row[skip:] if skip else row) for row in rows)
        return [entry for entry in found if entry is not None]

    def entry(self, row: Sequence[Any]) -> Entry | None:
        """Of a row with the columns of the statements' `read`."""
        try:
            headers = headers_of(row[8])
        except ValueError:
            self.left_out += 1
            return None
        external_id, item = of_text(row[0]), row[9]
        if item is not None and self._identify is not None and self._identify(item) != external_id:
            self.left_out += 1
            return None
        return Entry(
            key=Key(self._resource, external_id),
            item=item,
            received_at=row[3],
            lifetime=row[4],
            initial_age=row[5],
            stale_while_revalidate=row[10],
            stale_if_error=row[11],
            must_revalidate=row[12],
            shareable=row[13],
            headers=headers,
            internal_id=row[1],
            local=local_of(self._locals, tuple(row[READ:])),
            version=row[6],
            source_version=row[7],
            last_synced_at=round(row[2], 3),
            durable=True,
        )
