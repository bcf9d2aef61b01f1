"""What was served, held against what the upstream has."""

import pytest
from msgspec.structs import replace

from proxy.core.auditing import Verdict, compare, is_same
from store.entry import AT_LEAST, Entry, Key

EIGHT = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""
SERVED = Entry(key=Key("user", "1"), item=b'{"v":1}', received_at=EIGHT, lifetime=100.0)
CHANGED = replace(SERVED, item=b'{"v":2}', received_at=EIGHT + 60)
GONE = replace(CHANGED, item=None, absent=True)


def test_the_same_is_current() -> None:
    assert compare(SERVED, replace(SERVED, received_at=EIGHT + 60), EIGHT + 50) == Verdict("current")


@pytest.mark.parametrize("item", [None, b'{"why":"none"}'])
def test_what_is_gone_was_out_of_date_for_its_age_at_the_most(item: bytes | None) -> None:
    assert compare(SERVED, replace(GONE, item=item), EIGHT + 50) == Verdict("gone", at_most=50.0)


def test_what_has_changed_was_out_of_date_for_its_age_at_the_most() -> None:
    assert compare(SERVED, CHANGED, EIGHT + 50) == Verdict("outdated", at_most=50.0)
    aged = replace(SERVED, initial_age=7.0)
    assert compare(aged, CHANGED, EIGHT + 50) == Verdict("outdated", at_most=57.0)


@pytest.mark.parametrize(
    ("version", "at_least"),
    [
        ("2027-01-15T08:00:20Z", 30.0),
        ("2027-01-15T10:00:20.5+02:00", 29.5),
        ("2027-01-15T08:00:20.500000001Z", 29.5),
        ("2027-01-15T08:00:51Z", 0.0),  # changed since it was served, or by a clock that is ahead
        ("2027-01-15T07:00:00Z", 50.0),  # by a clock that is behind
        ("2027-01-15T08:00:20", None),  # of no place
        (AT_LEAST + "2027-01-15T08:00:20Z", None),
        ("1800000020", None),
        ('"etag"', None),
        ("", None),
        (None, None),
    ],
)
def test_a_version_that_is_a_time_says_for_how_long_at_least(
    version: str | None, at_least: float | None
) -> None:
    found = replace(CHANGED, source_version=version)
    assert compare(SERVED, found, EIGHT + 50) == Verdict("outdated", at_least, 50.0)


@pytest.mark.parametrize(
    ("served", "found", "result"),
    [
        ("7", "6", "current"),  # it was not out of date: the upstream's answer is
        (AT_LEAST + "7", "6", "current"),
        ("7", "7", "outdated"),
        ("7", "8", "outdated"),
        ("7", '"etag"', "outdated"),
        ("7", None, "outdated"),
        (None, "6", "outdated"),
    ],
)
def test_a_copy_of_a_later_version_is_current(served: str | None, found: str | None, result: str) -> None:
    verdict = compare(
        replace(SERVED, source_version=served), replace(CHANGED, source_version=found), EIGHT + 50
    )
    assert verdict.result == result


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1,"b":[1,2]}', b'{ "b": [1, 2], "a": 1 }', True),
        (b'{"a":"\xc3\xa9"}', b'{"a":"\\u00e9"}', True),
        (b'{"a":"\\ud800"}', b'{ "a": "\\ud800" }', True),
        (b'{"b":[1,2]}', b'{"b":[2,1]}', False),
        (b'{"a":1}', b'{"a":true}', False),
        (b'{"a":1}', b'{"a":"1"}', False),
        (b'{"a":null}', b"{}", False),
        (b'{"a":1}', b'{"a":', False),
        (b"[" * 100_000, b"[" * 100_001, False),
    ],
)
def test_items_are_the_same_by_value(one: bytes, other: bytes, same: bool) -> None:
    assert is_same(one, other) is same
    assert is_same(other, one) is same
    assert is_same(one, one)
