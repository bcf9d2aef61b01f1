"""Durations and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1s", 1.0),
        ("10s", 10.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("24h", 86400.0),
        ("30d", 2592000.0),
        ("1.5h", 5400.0),
        (" 2 s ", 2.0),
        ("0", 0.0),
        (0, 0.0),
        (7, 7.0),
        (0.5, 0.5),
        ("36500d", 3153600000.0),
    ],
)
def test_a_duration_is_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "", "s", "1 week", "1w", "-1s", "+1s", "1e3s", "nan", "inf", "1h30m", "٣s", "36501d", "9" * 21, "1.s", -1, -0.1,
        float("nan"), float("inf"), 1e300, 10**400, True, None, [], "1s\n2s",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match="such as 250ms"):
        parse_duration(value)


@pytest.mark.parametrize(
    "text", ["250ms", "1s", "75s", "60s", "5m", "1h", "24h", "2d", "180d", "0s", "90s", "2m"]
)
def test_the_canonical_duration_is_what_people_write(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@given(st.floats(min_value=0, max_value=3_153_600_000))
def test_a_duration_survives_printing(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("64KiB", 65536),
        ("8MiB", 8388608),
        ("1GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("1kB", 1000),
        ("8MB", 8_000_000),
        ("1gb", 10**9),
        ("1 TB", 10**12),
        ("100", 100),
        (100, 100),
        (0, 0),
    ],
)
def test_a_size_is_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value",
    ["", "MiB", "1.5GiB", "-1", "1M", "1Mi", "1iB", "9" * 20 + "TiB", "9" * 30, -1, 1.0, True, None, 1 << 61],
)
def test_what_is_no_size_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match="such as 64KiB"):
        parse_size(value)


@given(st.integers(min_value=0, max_value=1 << 60))
def test_a_size_survives_printing(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_the_canonical_size() -> None:
    assert [format_size(size) for size in (0, 100, 1024, 65536, 8 << 20, 1 << 30, 3 << 40)] == [
        "0B", "100B", "1KiB", "64KiB", "8MiB", "1GiB", "3TiB",
    ]  # fmt: skip
