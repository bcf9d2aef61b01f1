"""Validators: asking the upstream whether a copy is still good, and telling a client that its own is.

RFC 9111 sections 3.2, 4.3.1, 4.3.2 and 4.3.4; RFC 9110 sections 8.8.3.2 and 13.
"""

import re
from collections.abc import Iterable

from proxy.core.http.dates import parse_date
from proxy.core.http.fields import RawField, end_to_end, values

# Conditions of which only the origin can say whether they hold (RFC 9110 section 13.2.1).
_ORIGINS_OWN = frozenset({b"if-match", b"if-unmodified-since", b"if-range"})
_CONDITIONAL = _ORIGINS_OWN | {b"if-none-match", b"if-modified-since"}
# They describe the body, which a 304 does not have and does not change (RFC 9111 section 3.2).
_OF_THE_BODY = frozenset({b"content-length", b"content-encoding", b"content-type", b"content-range"})
# They tell the time of an answer: those of the old one say nothing of the new one.
_OF_THE_TIME = frozenset({b"age", b"date"})
_ETAG = re.compile(rb'(?:W/)?"[^"]*"')
# What a 304 carries of the fields that the 200 would have (RFC 9110 section 15.4.5).
_WITH_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary"}
)


def has_validator(fields: Iterable[RawField]) -> bool:
    """Whether an answer can be revalidated."""
    return any(name.lower() in {b"etag", b"last-modified"} for name, _ in fields)


def is_conditional(fields: Iterable[RawField]) -> bool:
    """Whether a request has any precondition."""
    return any(name.lower() in _CONDITIONAL for name, _ in fields)


def is_for_the_origin(fields: Iterable[RawField]) -> bool:
    """Whether a request has a precondition that a cache does not evaluate (RFC 9110 section 13.2.1)."""
    return any(name.lower() in _ORIGINS_OWN for name, _ in fields)


def conditions(stored: Iterable[RawField]) -> list[RawField]:
    """The fields that ask whether what is stored with these is still good (RFC 9111 section 4.3.1)."""
    stored = tuple(stored)
    asked = [(b"If-None-Match", value) for value in values(stored, b"etag")[:1]]
    return asked + [(b"If-Modified-Since", value) for value in values(stored, b"last-modified")[:1]]


def is_about(stored: Iterable[RawField], received: Iterable[RawField]) -> bool:
    """Whether a 304 is about what is stored: its validator, if it has one, is ours (RFC 9111 section 4.3.4)."""
    ours, theirs = values(stored, b"etag")[:1], values(received, b"etag")[:1]
    return not ours or not theirs or _opaque(ours[0]) == _opaque(theirs[0])


def freshened(stored: Iterable[RawField], received: Iterable[RawField]) -> tuple[RawField, ...]:
    """The stored fields after a 304: what it names replaces what was there (RFC 9111 section 3.2)."""
    news = [field for field in end_to_end(received) if field[0].lower() not in _OF_THE_BODY]
    replaced = {name.lower() for name, _ in news} | _OF_THE_TIME
    return (*(field for field in stored if field[0].lower() not in replaced), *news)


def is_not_modified(
    request: Iterable[RawField], stored: Iterable[RawField], *, received_at: float, now: float
) -> bool:
    """Whether the client's own copy is what we would send (RFC 9111 section 4.3.2; RFC 9110 section 13.2.2).

    `received_at` stands in for a Last-Modified or Date that the stored answer does not have. Epoch seconds.
    """
    request, stored = tuple(request), tuple(stored)
    wanted = values(request, b"if-none-match")
    if wanted:
        etag = values(stored, b"etag")
        listed = [found for value in wanted for found in _ETAG.findall(value)]
        return b"*" in wanted or (bool(etag) and _opaque(etag[0]) in map(_opaque, listed))
    since = values(request, b"if-modified-since")
    if len(since) != 1:
        return False
    until = parse_date(since[0], now=now)
    return until is not None and _modified_at(stored, received_at, now) <= until


def of_not_modified(fields: Iterable[RawField]) -> list[RawField]:
    """Those of a 200's fields that its 304 carries."""
    return [field for field in fields if field[0].lower() in _WITH_NOT_MODIFIED]


def _opaque(etag: bytes) -> bytes:
    """Weak comparison leaves the weakness out (RFC 9110 section 8.8.3.2)."""
    return etag.removeprefix(b"W/")


def _modified_at(stored: tuple[RawField, ...], received_at: float, now: float) -> float:
    for name in (b"last-modified", b"date"):
        for value in values(stored, name)[:1]:
            found = parse_date(value, now=now)
            if found is not None:
                return found
    return received_at
