"""Validators: asking the upstream whether a copy is still good, and telling a client that its own is.

RFC 9111 sections 3.2 and 4.3; RFC 9110 sections 8.8.3.2 and 13.
"""

import re
from collections.abc import Iterable
from typing import Literal

from proxy.core.http.dates import parse_date
from proxy.core.http.fields import RawField, end_to_end, values

# Conditions of which only the origin can say whether they hold (RFC 9110 section 13.2.1).
_ORIGINS_OWN = frozenset({b"if-match", b"if-unmodified-since"})
_CONDITIONAL = _ORIGINS_OWN | {b"if-none-match", b"if-modified-since", b"if-range"}
CONDITIONAL = _CONDITIONAL | {b"range"}
"""Request fields, in lower case, that ask for less than the whole answer."""
# They describe the body, which a 304 does not have and does not change (RFC 9111 section 3.2); or are never stored.
_NOT_UPDATED = frozenset(
    {b"content-length", b"content-encoding", b"content-md5", b"content-range", b"set-cookie"}
)
# They tell the time of an answer: those of the old one say nothing of the new one.
_OF_THE_TIME = frozenset({b"age", b"date"})
_WEAK = b"W/"
_VALIDATORS = frozenset({b"etag", b"last-modified"})
_ETAG = re.compile(rb'(?:W/)?"[^"]*"')
# What a 304 carries of the fields that the 200 would have (RFC 9110 section 15.4.5).
WITH_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary"}
)


def has_validator(fields: Iterable[RawField]) -> bool:
    """Whether an answer can be revalidated."""
    return any(name.lower() in _VALIDATORS for name, _ in fields)


def without_validators(fields: Iterable[RawField]) -> tuple[RawField, ...]:
    """An answer's fields as those of something within it, that can't be asked for alone."""
    return tuple(field for field in fields if field[0].lower() not in _VALIDATORS)


def is_conditional(fields: Iterable[RawField]) -> bool:
    """Whether a request has any precondition."""
    return any(name.lower() in _CONDITIONAL for name, _ in fields)


def is_for_the_origin(fields: Iterable[RawField]) -> bool:
    """Whether a request has a precondition that a cache does not evaluate (RFC 9110 section 13.2.1)."""
    return any(name.lower() in _ORIGINS_OWN for name, _ in fields)


def without_conditions(fields: Iterable[RawField]) -> list[RawField]:
    """A request's fields as they ask for the whole answer, whatever the client has of it."""
    return [field for field in fields if field[0].lower() not in CONDITIONAL]


def conditions(stored: Iterable[RawField]) -> list[RawField]:
    """The fields that ask whether what is stored with these is still good (RFC 9111 section 4.3.1)."""
    stored = tuple(stored)
    asked = [(b"If-None-Match", value) for value in values(stored, b"etag")[:1]]
    return asked + [(b"If-Modified-Since", value) for value in values(stored, b"last-modified")[:1]]


def is_about(stored: Iterable[RawField], received: Iterable[RawField]) -> bool:
    """Whether a 304 is about what is stored (RFC 9111 section 4.3.4): its validator, if it has one, is ours.

    A strong entity tag must be the very same; of a Last-Modified that is so where we have one.
    """
    stored, received = tuple(stored), tuple(received)
    theirs = values(received, b"etag")[:1]
    if theirs:
        ours = values(stored, b"etag")[:1]
        is_weak = theirs[0].startswith(_WEAK)
        return ours == theirs or (is_weak and bool(ours) and _opaque(ours[0]) == _opaque(theirs[0]))
    modified, held = (values(fields, b"last-modified")[:1] for fields in (received, stored))
    return not modified or not held or modified == held


def freshened(stored: Iterable[RawField], received: Iterable[RawField]) -> tuple[RawField, ...]:
    """The stored fields after a 304, or after a 200 to a HEAD: what it names replaces what was there (RFC 9111 section
    3.2)."""
    news = [field for field in end_to_end(received) if field[0].lower() not in _NOT_UPDATED]
    replaced = {name.lower() for name, _ in news} | _OF_THE_TIME
    return (*(field for field in stored if field[0].lower() not in replaced), *news)


def after_head(
    stored: Iterable[RawField], length: int | None, received: Iterable[RawField]
) -> Literal["update", "invalidate"]:
    """What a 200 to a HEAD means for what is stored, of a body of `length` bytes if that is known (RFC 9111 section
    4.3.5): where it has another validator or length it is about something newer."""
    stored, received = tuple(stored), tuple(received)
    told = [(values(received, name)[:1], values(stored, name)[:1]) for name in (b"etag", b"last-modified")]
    if length is not None:
        told.append((values(received, b"content-length")[:1], [b"%d" % length]))
    return "update" if all(not theirs or theirs == ours for theirs, ours in told) else "invalidate"


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
    return [field for field in fields if field[0].lower() in WITH_NOT_MODIFIED]


def _opaque(etag: bytes) -> bytes:
    """Weak comparison leaves the weakness out (RFC 9110 section 8.8.3.2)."""
    return etag.removeprefix(_WEAK)


def _modified_at(stored: tuple[RawField, ...], received_at: float, now: float) -> float:
    for name in (b"last-modified", b"date"):
        for value in values(stored, name)[:1]:
            found = parse_date(value, now=now)
            if found is not None:
                return found
    return received_at
