"""HTTP-date, strictly (RFC 9110 section 5.6.7): a date that is not one of the three forms is no date at all.

But for the case of its letters, which a cache does not look at (RFC 9111 section 4.2).
"""

import re
from datetime import UTC, datetime
from functools import lru_cache

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        _DAY + rb", (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + rb" GMT",
        _LONG_DAY + rb", (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + rb" GMT",
        _DAY + rb" " + _MONTH + rb" (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})",
    )
)
_CENTURY, _HALF = 100, 50
_LEAP_SECOND = 60


def parse_date(value: bytes, *, now: float) -> float | None:
    """Epoch seconds of a date, or None. `now` (epoch seconds) tells the century of a two-digit year.

    The day must have a name, but a wrong one is not held against the date: it says nothing that the date does not.
    """
    value = value.strip(b" \t")
    fixed = fixed_date(value)
    if fixed is not None:
        return fixed
    for form in _FORMS:
        found = form.fullmatch(value)
        if found is not None:
            return _seconds(found, now)
    return None


@lru_cache(maxsize=16)  # many answers in a row have the same
def fixed_date(value: bytes) -> float | None:
    """Epoch seconds of a date of the usual form, which needs no century; None of any other."""
    found = _FORMS[0].fullmatch(value)
    return None if found is None else _seconds(found, 0.0)


def _seconds(found: re.Match[bytes], now: float) -> float | None:
    day, hour, minute, second = (int(found[name]) for name in ("day", "hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > _LEAP_SECOND:  # noqa: PLR2004
        return None
    # A leap second is the last second of its minute to a clock that has none.
    rest = (_MONTHS.index(found["month"].capitalize()) + 1, day, hour, minute, min(second, _LEAP_SECOND - 1))
    year = int(found["year"])
    if len(found["year"]) == 2:  # noqa: PLR2004 - the form of RFC 850
        year = _full_year(year, rest, now)
    try:
        return datetime(year, *rest, tzinfo=UTC).timestamp()
    except ValueError:  # no such day
        return None


def _full_year(year: int, rest: tuple[int, int, int, int, int], now: float) -> int:
    """What looks more than 50 years ahead is the most recent past year with those digits."""
    today = datetime.fromtimestamp(now, UTC)
    latest = today.year + _HALF
    full = latest - (latest - year) % _CENTURY
    return full - _CENTURY if full == latest and rest > today.timetuple()[1:6] else full
