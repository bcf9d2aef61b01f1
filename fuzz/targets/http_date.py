"""HTTP dates and Retry-After."""

from datetime import UTC, datetime

from proxy.core.http.dates import parse_date
from proxy.core.http.retry_after import MAX_SECONDS, retry_after

TOKENS = (
    b"Thu, 01 Jan 2026 00:00:00 GMT", b"Thursday, 01-Jan-26 00:00:00 GMT", b"Thu Jan  1 00:00:00 2026", b" GMT",
    b":60 ", b"Mon", b"Tuesday", b"Feb", b"29", b"Dec", b"31", b"0000", b"9999", b"23:59:60", b"-70 ", b"-99 ", b"120",
    b"+", b"_", b"thu, 01 jan 2026 00:00:00 gmt", b"SUNDAY", b"mAR",
)  # fmt: skip
_NOW = 1_767_225_600.0
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def fuzz_one(data: bytes) -> None:
    """Compare with a reading by cutting at fixed places; the case of a letter says nothing."""
    assert parse_date(data, now=_NOW) == obvious(data, _NOW)
    assert parse_date(data.swapcase(), now=_NOW) == parse_date(data, now=_NOW)
    wish = retry_after([(b"Retry-After", data)], now=_NOW)
    bare = data.strip(b" \t")
    if bare and not set(bare) - set(b"0123456789"):
        assert wish == min(int(bare[-4000:]) if len(bare) > 4000 else int(bare), MAX_SECONDS)
    else:
        until = obvious(data, _NOW)
        assert wish == (None if until is None else min(max(0.0, until - _NOW), MAX_SECONDS))


def obvious(value: bytes, now: float) -> float | None:
    """Epoch seconds of a date in one of the three forms of RFC 9110 section 5.6.7, in any case, or None."""
    try:
        text = value.strip(b" \t").lower().decode("ascii")
    except UnicodeDecodeError:
        return None
    day_name, comma, rest = text.partition(", ")
    if comma and len(rest) == 24 and day_name in {day[:3] for day in _DAYS}:  # 01 Jan 2026 00:00:00 GMT
        parts = (rest[7:11], rest[3:6], rest[:2], rest[12:20])
        return _of(parts, rest == f"{parts[2]} {parts[1]} {parts[0]} {parts[3]} gmt", now)
    if comma and len(rest) == 22 and day_name in _DAYS:  # 01-Jan-26 00:00:00 GMT
        parts = (rest[7:9], rest[3:6], rest[:2], rest[10:18])
        return _of(parts, rest == f"{parts[2]}-{parts[1]}-{parts[0]} {parts[3]} gmt", now)
    if len(text) == 24 and text[:3] in {day[:3] for day in _DAYS}:  # Thu Jan  1 00:00:00 2026
        parts = (text[20:], text[4:7], text[8:10], text[11:19])
        well = text[3:] == f" {parts[1]} {parts[2]} {parts[3]} {parts[0]}"
        return _of(
            (parts[0], parts[1], parts[2].replace(" ", "0", 1), parts[3]), well and parts[2][1] != " ", now
        )
    return None


def _of(parts: tuple[str, str, str, str], well_formed: bool, now: float) -> float | None:  # noqa: FBT001 - the caller's word
    year, month, day, time = parts
    hour, minute, second = time[:2], time[3:5], time[6:]
    if not well_formed or month not in _MONTHS or time != f"{hour}:{minute}:{second}":
        return None
    if not all(part.isdigit() for part in (year, day, hour, minute, second)) or int(second) > 60:
        return None
    number = int(year)
    # To a clock without leap seconds one is the last second of its minute.
    rest = (_MONTHS.index(month) + 1, int(day), int(hour), int(minute), min(int(second), 59))
    try:
        return datetime(
            _century(number, rest, now) if len(year) == 2 else number, *rest, tzinfo=UTC
        ).timestamp()
    except ValueError:
        return None


def _century(digits: int, rest: tuple[int, int, int, int, int], now: float) -> int:
    """The latest year with these digits that is not more than 50 years ahead."""
    today = datetime.fromtimestamp(now, UTC)
    year = today.year // 100 * 100 + 100 + digits
    while (year, *rest) > (today.year + 50, *today.timetuple()[1:6]):
        year -= 100
    return year
