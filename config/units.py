"""Durations and sizes as people write them: `250ms`, `24h`, `64KiB`.

| unit | is |
|---|---|
| ms, s, m, h, d | milliseconds to days of 24 hours; a plain number is seconds |
| B, KiB, MiB, GiB, TiB | bytes, powers of 1024; a plain whole number is bytes |
| kB, MB, GB, TB | bytes, powers of 1000 |
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
# Lengths are bounded in the pattern: Decimal would happily take a megabyte of digits. A float in full takes 1,100.
_DURATION: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,1200})?) ?(ms|s|m|h|d)?")
_MAX_SECONDS: Final = 36_500 * 86_400.0
"""A century: nobody means more, and sums of a few of them stay exact to the microsecond."""

_BYTES: Final = {
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_SIZE: Final = re.compile(r"([0-9]{1,20}) ?([kmgt]?i?b)?", re.IGNORECASE)
_MAX_BYTES: Final = 1 << 60
_PRINTED_SIZES: Final = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

_DURATION_HELP: Final = "must be a duration such as 250ms, 10s, 5m, 24h or 30d"
_SIZE_HELP: Final = "must be a size such as 64KiB, 8MiB or 1GiB, or a whole number of bytes"


def parse_duration(value: object) -> float:
    """Seconds of a duration: text with a unit, or a number of seconds. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(_DURATION_HELP)  # noqa: TRY004 - pydantic turns only this into an error of the field
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(_DURATION_HELP)
        exact = Decimal(match[1]) * _SECONDS[match[2] or "s"]
    else:
        exact = Decimal(value)  # takes an int of any length and nan; both are refused below
    if not 0 <= exact <= _MAX_SECONDS if exact.is_finite() else True:
        raise ValueError(f"{_DURATION_HELP}, between 0 and 36500d")
    return float(exact)


def format_duration(seconds: float) -> str:
    """The canonical text of a duration; `parse_duration` gives the same seconds again.

    Days are used from two days on and minutes from two minutes on: 24h and 60s are what people write.
    """
    if seconds == int(seconds):
        whole = int(seconds)
        for unit, length, least in (("d", 86400, 2 * 86400), ("h", 3600, 3600), ("m", 60, 120)):
            if whole >= least and whole % length == 0:
                return f"{whole // length}{unit}"
        return f"{whole}s"
    milliseconds = round(seconds * 1000)
    if milliseconds / 1000 == seconds:
        return f"{milliseconds}ms"
    return f"{Decimal(repr(seconds)):f}s"


def parse_size(value: object) -> int:
    """Bytes of a size: text with a unit, or a whole number of bytes. Raises ValueError."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        unit = match and (match[2] or "B").lower()
        if match is None or unit not in _BYTES:
            raise ValueError(_SIZE_HELP)
        value = int(match[1]) * _BYTES[unit]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(_SIZE_HELP)  # noqa: TRY004 - pydantic turns only this into an error of the field
    if not 0 <= value <= _MAX_BYTES:
        raise ValueError(f"{_SIZE_HELP}, between 0 and {format_size(_MAX_BYTES)}")
    return value


def format_size(size: int) -> str:
    """The canonical text of a size; `parse_size` gives the same bytes again."""
    for unit, length in _PRINTED_SIZES:
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return f"{size}B"


def _positive_duration(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0, such as 1s")
    return seconds


def _positive_size(size: int) -> int:
    if size <= 0:
        raise ValueError("must be more than 0, such as 8MiB")
    return size


@dataclass(frozen=True, slots=True)
class Kind:
    """Metadata of a field type: what the reference page calls it."""

    name: str


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    Kind("duration"),
]
"""Seconds, 0 or more; prints as text in JSON mode."""

PositiveDuration = Annotated[Duration, AfterValidator(_positive_duration)]
"""Seconds, more than 0."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    Kind("size"),
]
"""Bytes, 0 or more; prints as text in JSON mode."""

PositiveSize = Annotated[Size, AfterValidator(_positive_size)]
"""Bytes, more than 0."""
