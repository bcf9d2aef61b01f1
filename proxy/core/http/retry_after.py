"""Retry-After (RFC 9110 section 10.2.3): when a server wants to be asked again."""

from collections.abc import Iterable

from proxy.core.http.dates import parse_date
from proxy.core.http.fields import RawField, values

MAX_SECONDS = 3600.0
"""A longer wish is cut: whatever is wrong there, a person will have looked at it within an hour."""


def retry_after(fields: Iterable[RawField], *, now: float) -> float | None:
    """Seconds from `now` (epoch seconds), from 0 to an hour; None without the field, or where it can't be read."""
    found = values(fields, b"retry-after")
    if not found:
        return None
    value = found[0].strip(b" \t")
    if value.isdigit():
        return min(float(value), MAX_SECONDS)
    at = parse_date(value, now=now)
    return None if at is None else min(max(0.0, at - now), MAX_SECONDS)
