"""What the rules of freshness make of an answer, for tests."""

from email.utils import formatdate
from typing import Any, Literal

from proxy.core.http.fields import RawField
from proxy.core.http.freshness import Freshness, Rules, assess

TTL = 100.0
NOW = 1_700_000_000.0


def assessed(
    *fields: RawField,
    status: int = 200,
    is_authorized: bool = False,
    requested_at: float = NOW,
    drawn: float = 0.0,
    **rules: Any,
) -> Freshness | None:
    return assess(
        iter(fields),
        Rules(**{"ttl": TTL, **rules}),
        status=status,
        is_authorized=is_authorized,
        requested_at=requested_at,
        received_at=NOW,
        rng=lambda: drawn,
    )


def lifetime_of(
    *fields: RawField,
    origin: Literal["honour", "ignore"] = "honour",
    jitter: float = 0.0,
    drawn: float = 0.0,
) -> float | None:
    found = assessed(*fields, origin=origin, jitter=jitter, drawn=drawn)
    return None if found is None else found.lifetime


def date(seconds: float, name: bytes = b"Date") -> RawField:
    return name, formatdate(NOW + seconds, usegmt=True).encode()


def expires(seconds: float) -> RawField:
    return date(seconds, b"Expires")
