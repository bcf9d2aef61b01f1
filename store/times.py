"""Times to the millisecond, and as text: RFC 3339 in UTC."""

from datetime import UTC, datetime


def moment(seconds: float) -> datetime:
    """Epoch seconds as a time, to the millisecond. Raises ValueError, OverflowError."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def rfc3339(seconds: float) -> str:
    """Epoch seconds for a person to read; the texts sort as the times do. Raises ValueError, OverflowError."""
    return moment(seconds).isoformat(timespec="milliseconds")[:-6] + "Z"


def epoch(text: str) -> float:
    """Epoch seconds of an RFC 3339 time with its offset. Raises ValueError."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError("a time needs its offset, such as Z")
    return read.timestamp()
