"""Parts of a representation: asked for, got and put together (RFC 9110 section 14; RFC 9111 sections 3.3 and 3.4).

Bytes alone, and one range at a time: a request for several is answered with the whole, as any server may do (section
14.2).
"""

import re
from collections.abc import Iterable

from msgspec import Struct

from proxy.core.http.dates import fixed_date
from proxy.core.http.fields import RawField, members, values

_CONTENT_RANGE = re.compile(rb"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", re.IGNORECASE)
_UNIT = re.compile(rb"bytes=", re.IGNORECASE)
_RANGE = re.compile(rb"(\d*)-(\d*)")
_STRONG_ETAG = re.compile(rb'"[\x21\x23-\x7e\x80-\xff]*"')
_MAX_DIGITS = 15
_BEYOND = 10**_MAX_DIGITS
"""No representation has so many bytes."""


class Part(Struct, frozen=True):
    """A part of a representation: its bytes from `first` to `last`, both included, counted from 0."""

    first: int
    last: int
    complete: int | None
    """How many bytes the whole has; None: unknown."""

    @property
    def length(self) -> int:
        """Its number of bytes."""
        return self.last - self.first + 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all there is."""
        return self.length == self.complete

    def contains(self, other: "Part") -> bool:
        """Whether another part of the same representation lies within it."""
        return self.first <= other.first and other.last <= self.last

    def render(self) -> bytes:
        """The value of Content-Range."""
        complete = b"*" if self.complete is None else b"%d" % self.complete
        return b"bytes %d-%d/%b" % (self.first, self.last, complete)


class Requested(Struct, frozen=True):
    """The one range that a request names: `first` to `last`; up to the end if `last` is None; if `first` is None, the
    `last` bytes of the whole."""

    first: int | None
    last: int | None

    def within(self, length: int) -> Part | None:
        """What it means of a representation of `length` bytes; None: nothing that there is (section 15.5.17)."""
        if self.first is None:
            first, last = max(0, length - (self.last or 0)), length - 1
        else:
            first, last = self.first, length - 1 if self.last is None else min(self.last, length - 1)
        return Part(first, last, length) if first <= last else None


def content_range(fields: Iterable[RawField]) -> Part | None:
    """The part that a 206 brings (RFC 9110 section 14.4); None if that can't be told beyond doubt, or if it brings
    several."""
    fields = tuple(fields)
    found = values(fields, b"content-range")
    told = _CONTENT_RANGE.fullmatch(found[0].strip(b" \t")) if len(found) == 1 else None
    if told is None or any(_is_multipart(value) for value in values(fields, b"content-type")):
        return None
    first, last = int(told[1]), int(told[2])
    complete = None if told[3] == b"*" else int(told[3])
    if first > last or (complete is not None and last >= complete):
        return None
    return Part(first, last, complete)


def _is_multipart(content_type: bytes) -> bool:
    return content_type.strip(b" \t").lower().startswith(b"multipart/byteranges")


def requested(fields: Iterable[RawField]) -> Requested | None:
    """The range that a GET asks for (RFC 9110 section 14.1.2). None: none, several, of another unit or malformed; then
    Range is ignored (section 14.2)."""
    found = values(fields, b"range")
    unit = _UNIT.match(found[0].strip(b" \t")) if len(found) == 1 else None
    if unit is None:
        return None
    specs = members(unit.string[unit.end() :])
    spec = _RANGE.fullmatch(specs[0].strip(b" \t")) if len(specs) == 1 else None
    if spec is None:
        return None
    first, last = _number(spec[1]), _number(spec[2])
    if first is None:
        return None if last is None else Requested(None, last)
    return Requested(first, last) if last is None or _ordered(spec[1], spec[2]) else None


def _ordered(first: bytes, last: bytes) -> bool:
    """Whether one number of any length is not above the other."""
    one, two = first.lstrip(b"0"), last.lstrip(b"0")
    return (len(one), one) <= (len(two), two)


def _number(digits: bytes) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MAX_DIGITS else _BEYOND


def if_range_holds(request_fields: Iterable[RawField], stored_fields: Iterable[RawField]) -> bool:
    """Whether Range counts (RFC 9110 section 13.1.5): there is no If-Range, or it names what is stored, strongly."""
    wanted = values(request_fields, b"if-range")
    if not wanted:
        return True
    if len(wanted) > 1:
        return False
    stored_fields = tuple(stored_fields)
    value = wanted[0].strip(b" \t")
    if value.startswith((b'"', b"W/")):
        return value == strong_etag(stored_fields)
    return value in values(stored_fields, b"last-modified")[:1] and _is_strong_date(value, stored_fields)


def strong_etag(fields: Iterable[RawField]) -> bytes | None:
    """The entity tag of an answer, if it has just one, and a strong one (RFC 9110 section 8.8.3)."""
    found = values(fields, b"etag")
    return found[0] if len(found) == 1 and _STRONG_ETAG.fullmatch(found[0]) else None


def _is_strong_date(value: bytes, stored: tuple[RawField, ...]) -> bool:
    """Section 8.8.2.2: what was last modified a second or more before it was sent has not changed since within that
    second. A date of an obsolete form is not looked into."""
    sent = values(stored, b"date")
    modified_at, sent_at = fixed_date(value), fixed_date(sent[0].strip(b" \t")) if sent else None
    return modified_at is not None and sent_at is not None and sent_at - modified_at >= 1


def combined(
    held_part: Part,
    held_body: bytes,
    held_fields: Iterable[RawField],
    part: Part,
    body: bytes,
    fields: Iterable[RawField],
) -> tuple[Part, bytes] | None:
    """Two parts put together (RFC 9111 section 3.4; RFC 9110 section 15.3.7.3): if they have the same strong entity tag
    and the same complete length, and touch or overlap. Where they overlap, the newer bytes go, those of `part`.

    None: they can't be, or a body is not of the length that its part says.
    """
    etag = strong_etag(fields)
    if etag is None or etag != strong_etag(held_fields) or held_part.complete != part.complete:
        return None
    if (len(held_body), len(body)) != (held_part.length, part.length):
        return None
    if part.first > held_part.last + 1 or held_part.first > part.last + 1:
        return None
    before = held_body[: max(0, part.first - held_part.first)]
    after = held_body[max(0, part.last + 1 - held_part.first) :]
    whole = Part(min(held_part.first, part.first), max(held_part.last, part.last), part.complete)
    return whole, before + body + after


def missing(part: Part) -> bytes | None:
    """The value of the Range that would make a part whole: what follows a beginning, or what comes before an end. None
    where one range is not enough, where nothing is missing, and where nobody knows how much is."""
    if part.complete is None or part.is_whole:
        return None
    if part.first == 0:
        return b"bytes=%d-" % (part.last + 1)
    return b"bytes=0-%d" % (part.first - 1) if part.last == part.complete - 1 else None
