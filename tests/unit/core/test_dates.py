"""HTTP-date and Retry-After, strictly."""

from calendar import timegm
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.dates import fixed_date, parse_date
from proxy.core.http.fields import RawField
from proxy.core.http.retry_after import MAX_SECONDS, retry_after

NOW = float(timegm((2026, 6, 15, 12, 0, 0)))
SAMPLE = 784111777.0
"""The date of the RFC's own examples."""
# Two-digit years are told apart for years that have four digits on both sides.
MOMENTS = st.integers(timegm((1970, 1, 1, 0, 0, 0)), timegm((9000, 1, 1, 0, 0, 0)))


def at(year: int, month: int = 1, day: int = 1, hour: int = 0, minute: int = 0, second: int = 0) -> float:
    return float(timegm((year, month, day, hour, minute, second)))


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b" Sun, 06 Nov 1994 08:49:37 GMT\t",
    ],
)
def test_each_of_the_three_forms_is_read(value: bytes) -> None:
    """RFC 9110 section 5.6.7."""
    assert parse_date(value, now=NOW) == SAMPLE


@pytest.mark.parametrize(
    "value",
    [
        b"sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 nOV 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 gmt",
        b"SUNDAY, 06-NOV-94 08:49:37 GMT",
        b"sun nov  6 08:49:37 1994",
    ],
)
def test_a_cache_does_not_look_at_the_case_of_a_date(value: bytes) -> None:
    """RFC 9111 section 4.2."""
    assert parse_date(value, now=NOW) == SAMPLE


def test_a_fixed_date_is_of_the_usual_form_alone() -> None:
    """RFC 9110 section 5.6.7: the others need to be told what year it is, or are obsolete."""
    assert fixed_date(b"Sun, 06 Nov 1994 08:49:37 GMT") == SAMPLE
    assert fixed_date(b"Sunday, 06-Nov-94 08:49:37 GMT") is None
    assert fixed_date(b"Sun Nov  6 08:49:37 1994") is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"784111777",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 1994 08:49:37 GMT+1",
        b"Sun,06 Nov 1994 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun, 06  Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994  8:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49 GMT",
        b"Sun, 06 Nov 1994 08:49:37.0 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sunday, 06 Nov 1994 08:49:37 GMT",
        b"06 Nov 1994 08:49:37 GMT",
        b"Xyz, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT\n",
        b"Sun, 06-Nov-94 08:49:37 GMT",
        b"Sunday, 6-Nov-94 08:49:37 GMT",
        b"Sun Nov 6 08:49:37 1994",
        b"Sun Nov  6 08:49:37 1994 GMT",
        b"Sunday Nov  6 08:49:37 1994",
        b"Sun, \xd9\xa0\xd9\xa6 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_none_of_the_forms_is_no_date(value: bytes) -> None:
    assert parse_date(value, now=NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        b"Thu, 00 Feb 2024 00:00:00 GMT",
        b"Thu, 30 Feb 2024 00:00:00 GMT",
        b"Wed, 29 Feb 2023 00:00:00 GMT",
        b"Thu, 31 Apr 2024 00:00:00 GMT",
        b"Sat, 01 Jan 0000 00:00:00 GMT",
        b"Thu, 01 Feb 2024 24:00:00 GMT",
        b"Thu, 01 Feb 2024 00:60:00 GMT",
        b"Thu, 01 Feb 2024 00:00:61 GMT",
        b"Tuesday, 29-Feb-23 00:00:00 GMT",
        b"Sun Feb 30 00:00:00 2024",
        b"Sun Feb  0 00:00:00 2024",
    ],
)
def test_what_is_on_no_calendar_and_no_clock_is_no_date(value: bytes) -> None:
    assert parse_date(value, now=NOW) is None


def test_a_leap_day_is_a_day() -> None:
    assert parse_date(b"Thu, 29 Feb 2024 00:00:00 GMT", now=NOW) == at(2024, 2, 29)


def test_a_leap_second_is_the_last_of_its_minute() -> None:
    assert parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT", now=NOW) == at(2016, 12, 31, 23, 59, 59)


def test_a_wrong_name_of_the_day_is_not_held_against_the_date() -> None:
    assert parse_date(b"Mon, 06 Nov 1994 08:49:37 GMT", now=NOW) == SAMPLE


def test_a_date_before_the_epoch_is_a_date() -> None:
    assert parse_date(b"Wed, 31 Dec 1969 23:59:59 GMT", now=NOW) == -1.0


@pytest.mark.parametrize(
    ("value", "now", "expected"),
    [
        (b"Monday, 15-Jun-76 12:00:00 GMT", NOW, at(2076, 6, 15, 12)),
        (b"Monday, 15-Jun-76 12:00:01 GMT", NOW, at(1976, 6, 15, 12, 0, 1)),
        (b"Friday, 01-Jan-77 00:00:00 GMT", NOW, at(1977)),
        (b"Friday, 31-Dec-99 00:00:00 GMT", NOW, at(1999, 12, 31)),
        (b"Friday, 01-Jan-27 00:00:00 GMT", NOW, at(2027)),
        (b"Monday, 01-Jan-01 00:00:00 GMT", at(1999, 12, 31), at(2001)),
        (b"Friday, 01-Jan-10 00:00:00 GMT", at(2080), at(2110)),
    ],
)
def test_two_digits_are_a_year_at_most_fifty_years_ahead(value: bytes, now: float, expected: float) -> None:
    """RFC 9110 section 5.6.7."""
    assert parse_date(value, now=now) == expected


@given(MOMENTS)
def test_what_the_library_writes_is_read_back(moment: int) -> None:
    assert parse_date(formatdate(moment, usegmt=True).encode(), now=NOW) == moment


@given(MOMENTS, st.integers(0, 50 * 365 * 86400), st.booleans())
def test_the_older_forms_say_the_same(now: int, away: int, ahead: bool) -> None:
    moment = now + away if ahead else max(0, now - away)
    assert [parse_date(form, now=now) for form in older_forms(moment)] == [moment, moment]


def older_forms(moment: float) -> tuple[bytes, bytes]:
    """As asctime and RFC 850 write it."""
    written = datetime.fromtimestamp(moment, UTC)
    asctime = written.strftime(f"%a %b {written.day:2} %H:%M:%S ") + f"{written.year:04}"
    rfc850 = written.strftime(f"%A, %d-%b-{written.year % 100:02} %H:%M:%S GMT")
    return asctime.encode(), rfc850.encode()


@given(st.binary(max_size=40))
def test_any_bytes_are_a_date_or_none(value: bytes) -> None:
    found = parse_date(value, now=NOW)
    # Dates are among the constants of the sources, which Hypothesis tries, too. The name of the day is not looked at.
    assert found is None or without_day(value) in {
        without_day(form) for form in (formatdate(found, usegmt=True).encode(), *older_forms(found))
    }


def without_day(date: bytes) -> bytes:
    return date.partition(b" ")[2].lower()


# Retry-After


def wished(*values: bytes) -> float | None:
    fields: list[RawField] = [(b"retry-AFTER", value) for value in values]
    return retry_after([(b"Content-Length", b"9"), *fields], now=NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"120", 120.0),
        (b" 7\t", 7.0),
        (b"0" * 40 + b"7", 7.0),
        (b"3600", MAX_SECONDS),
        (b"3601", MAX_SECONDS),
        (b"9" * 5000, MAX_SECONDS),
        (b"Mon, 15 Jun 2026 12:00:30 GMT", 30.0),
        (b"Monday, 15-Jun-26 12:00:30 GMT", 30.0),
        (b"Mon, 15 Jun 2026 11:00:00 GMT", 0.0),
        (b"Tue, 16 Jun 2026 12:00:00 GMT", MAX_SECONDS),
    ],
)
def test_a_wish_is_seconds_from_now(value: bytes, seconds: float) -> None:
    """RFC 9110 section 10.2.3."""
    assert wished(value) == seconds


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.5", b"1e3", b"0x1", b"1 2", b"soon", b"\xd9\xa7"])
def test_what_is_neither_seconds_nor_a_date_is_no_wish(value: bytes) -> None:
    assert wished(value) is None


def test_without_the_field_there_is_no_wish() -> None:
    assert wished() is None


def test_the_first_of_several_is_the_wish() -> None:
    assert wished(b"5", b"50") == 5.0
