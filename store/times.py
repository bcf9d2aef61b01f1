"""Times as text: RFC 3339 in UTC, to the millisecond."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Epoch seconds for a person to read; the texts sort as the times do. Raises ValueError, OverflowError."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def epoch(text: str) -> float:
    """Epoch seconds of an RFC 3339 time with its offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset, such as Z")
    return moment.timestamp()
