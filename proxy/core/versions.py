"""Versions that owners give their entities: which of two is newer, as far as that can be told.

| kind | what it is |
|---|---|
| integer | decimal digits without a leading zero, and without a sign or with `-`: `0`, `12`, `-3` |
| time | as RFC 3339 section 5.6 writes it, with its offset and any number of digits of a second |
| opaque | any other text: an ETag, `007`, `1.2.3`; a leap second, too, for Python's calendar has none |
"""

import re
from datetime import datetime
from typing import Final, Literal

from store.entry import AT_LEAST

Order = Literal["next", "newer", "same", "older", "unknown"]
"""`next`: nothing is known to be between the two. `newer`: something is missing between them. `unknown`: they differ,
and nobody can say which is the newer."""

MAX_CHARACTERS: Final = 256
"""Of a version."""

_TOO_LARGE: Final = 10**MAX_CHARACTERS
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,255}")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)

_Instant = tuple[int, str]
"""Seconds in UTC, counted from the day before year 1, and the digits behind the point without zeros at the end: as
such texts sort, so do the fractions."""


def as_version(value: object) -> str | None:
    """The version that a JSON value names, a text of 1 to 256 characters; None if it can't be one.

    An integer is its decimal digits. What not every store can hold as text, NUL and lone surrogates, is no version; nor
    is what begins as the store marks one.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LARGE:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CHARACTERS or "\0" in value:
        return None
    if value.startswith(AT_LEAST):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def compare(theirs: str, ours: str) -> Order:
    """What `theirs` is to `ours`. Of two times the later is `next`, for what is between them can't be seen. The kinds
    do not compare with each other, and of opaque versions it is known only whether they are equal."""
    if _INTEGER.fullmatch(theirs) and _INTEGER.fullmatch(ours):
        ahead = int(theirs) - int(ours)
        if ahead > 0:
            return "next" if ahead == 1 else "newer"
        return "older" if ahead else "same"
    at, since = _instant(theirs), _instant(ours)
    if at is not None and since is not None:
        if at > since:
            return "next"
        return "older" if at < since else "same"
    return "same" if theirs == ours else "unknown"


def _instant(text: str) -> _Instant | None:
    """The moment that a text names, exactly; None if it names none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, sign, hours, minutes = found.groups("0")
    try:
        read = datetime.fromisoformat(f"{day}T{time}+00:00")
    except ValueError:
        return None
    # By hand: an offset can lead out of the years 1 to 9999, where a datetime can't follow.
    offset = (int(hours) * 60 + int(minutes)) * 60
    seconds = ((read.toordinal() * 24 + read.hour) * 60 + read.minute) * 60 + read.second
    return seconds + (offset if sign == "-" else -offset), fraction.rstrip("0")
