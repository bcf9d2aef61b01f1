"""Which of two versions is newer, as far as that can be told."""

import pytest

from proxy.core.versions import Order, as_version, compare

OPPOSITE: dict[Order, set[Order]] = {
    "next": {"older"},
    "newer": {"older"},
    "same": {"same"},
    "older": {"next", "newer"},
    "unknown": {"unknown"},
}


@pytest.mark.parametrize(
    ("theirs", "ours", "order"),
    [
        # integers
        ("8", "7", "next"),
        ("9", "7", "newer"),
        ("7", "7", "same"),
        ("6", "7", "older"),
        ("10", "9", "next"),  # as texts, the other way round
        ("0", "-1", "next"),
        ("1", "-1", "newer"),
        ("-2", "-1", "older"),
        ("1" + "0" * 255, "9" * 255, "next"),
        ("9" * 256, "9" * 255 + "8", "next"),
        # opaque, though they look like integers
        ("007", "6", "unknown"),
        ("007", "007", "same"),
        ("007", "7", "unknown"),
        ("-0", "0", "unknown"),
        ("+8", "7", "unknown"),
        (" 8", "7", "unknown"),
        ("8\n", "7", "unknown"),
        ("8.0", "7", "unknown"),
        ("٨", "7", "unknown"),
        # times
        ("2026-01-02T03:04:06Z", "2026-01-02T03:04:05Z", "next"),
        ("2027-01-02T03:04:05Z", "2026-01-02T03:04:05Z", "next"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", "same"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000+00:00", "same"),
        ("2026-01-02T03:04:05Z", "2026-01-02T08:49:05+05:45", "same"),
        ("2026-01-01T22:04:05-05:00", "2026-01-02T03:04:05-00:00", "same"),
        ("2026-01-02t03:04:05z", "2026-01-02 03:04:05Z", "same"),
        ("2026-01-02T03:04:05+01:00", "2026-01-02T03:04:05Z", "older"),
        ("2026-01-02T03:04:05-01:00", "2026-01-02T03:04:05Z", "next"),
        ("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05Z", "next"),
        ("2026-01-02T03:04:05.10Z", "2026-01-02T03:04:05.1Z", "same"),
        ("2026-01-02T03:04:05.09Z", "2026-01-02T03:04:05.1Z", "older"),
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456788Z", "next"),
        ("2026-01-02T03:04:05.1234560000001Z", "2026-01-02T03:04:05.123456Z", "next"),
        ("1970-01-01T00:00:00Z", "1969-12-31T23:59:59.9Z", "next"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z", "older"),
        ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59Z", "next"),
        ("2024-02-29T00:00:00Z", "2024-02-28T23:59:59Z", "next"),
        # opaque, though they look like times
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z", "unknown"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z", "same"),
        ("2026-02-29T00:00:00Z", "2026-02-28T00:00:00Z", "unknown"),
        ("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "unknown"),
        ("2026-01-02T24:00:00Z", "2026-01-02T00:00:00Z", "unknown"),
        ("2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05Z", "unknown"),
        ("2026-01-02T03:04:05+01:60", "2026-01-02T03:04:05Z", "unknown"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:04", "unknown"),
        ("2026-01-02T03:04Z", "2026-01-02T03:03Z", "unknown"),
        ("2026-01-02T03:04:05.Z", "2026-01-02T03:04:05Z", "unknown"),
        ("2026-01-02T03:04:05Z\n", "2026-01-02T03:04:05Z", "unknown"),
        ("2026-01-03", "2026-01-02", "unknown"),
        ("20260102T030405Z", "20260102T030404Z", "unknown"),
        # opaque
        ('"abc"', '"abc"', "same"),
        ('"abd"', '"abc"', "unknown"),
        ('W/"abc"', '"abc"', "unknown"),
        ("é", "e\u0301", "unknown"),
        # of different kinds
        ("8", "2026-01-02T03:04:05Z", "unknown"),
        ("8", '"7"', "unknown"),
        ("2026-01-02T03:04:05Z", '"7"', "unknown"),
    ],
)
def test_the_order_of_two_versions(theirs: str, ours: str, order: Order) -> None:
    assert compare(theirs, ours) == order
    assert compare(ours, theirs) in OPPOSITE[order]


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (7, "7"),
        (0, "0"),
        (-7, "-7"),
        (10**255, "1" + "0" * 255),
        (10**256 - 1, "9" * 256),
        (10**256, None),
        (-(10**254), "-1" + "0" * 254),
        (-(10**255), None),  # with its sign, 257 characters
        ("7", "7"),
        ("007", "007"),
        (" ", " "),
        ("é" * 256, "é" * 256),
        ("x" * 257, None),
        ("", None),
        ("a\0", None),
        ("~7", None),
        ("\ud800", None),
        (True, None),
        (False, None),
        (None, None),
        (7.0, None),
        ([], None),
        (["7"], None),
        ({}, None),
    ],
)
def test_the_version_that_a_value_names(value: object, version: str | None) -> None:
    assert as_version(value) == version


def test_what_python_would_not_turn_into_text_or_back_is_no_integer() -> None:
    assert as_version(10**5_000) is None
    assert compare("1" * 5_000, "7") == "unknown"
