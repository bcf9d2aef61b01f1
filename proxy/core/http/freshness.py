"""May an answer of the upstream be stored, and for how long is it fresh (RFC 9111 sections 3, 4.2 and 5.2.2).

The origin's explicit word wins over the operator's ttl, which is what a silent origin gets; `origin: ignore` turns
that round.

| the answer says | it is |
|---|---|
| `no-store`, `private`, `no-cache`, Set-Cookie, Vary with a field that is no part of the key | not stored |
| `s-maxage`, else `max-age`, else Expires | fresh for so long, less its age by Date and Age (4.2.1, 4.2.3) |
| none of these | fresh for `ttl`, less jitter, counted from receipt |
| `must-revalidate`, `proxy-revalidate`, `s-maxage` | never used stale (5.2.2.2, 5.2.2.8, 5.2.2.10) |
| `stale-while-revalidate`, `stale-if-error` | usable stale for so long (RFC 5861) |
| a lifetime, and no `stale-while-revalidate` | not used while it is revalidated: the operator's goes with `ttl` |
| `public`, `s-maxage`, `must-revalidate` | an answer to requests with credentials too (3.5) |
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy.core.http.dates import parse_date
from proxy.core.http.directives import delta_seconds, parse
from proxy.core.http.fields import RawField, members, tokens, values
from proxy.core.http.validation import has_validator

# The coding is fixed by the fill, and CORS does not change the bytes of an item.
_HARMLESS_VARY = frozenset({b"accept-encoding", b"origin"})
_FORBIDDING = frozenset({b"no-store", b"private", b"no-cache"})
_NO_STALE = frozenset({b"must-revalidate", b"proxy-revalidate", b"s-maxage"})
_SHAREABLE = frozenset({b"public", b"s-maxage", b"must-revalidate"})


class Rules(Struct, frozen=True):
    """What the operator says of a resource's freshness, as far as it concerns storing. Seconds."""

    ttl: float
    jitter: float = 0.0
    """The part of `ttl` that chance may take off, so that what was filled at one time does not expire at one time.
    What came in one answer does, and is fetched again in one call."""
    origin: Literal["honour", "ignore"] = "honour"
    key_fields: frozenset[bytes] = frozenset()
    """Request fields, lower case, whose values are part of the key."""


class Freshness(Struct, frozen=True):
    """How an answer that may be stored may be used. The members are those of an Entry, in seconds."""

    lifetime: float
    initial_age: float = 0.0
    stale_while_revalidate: float | None = None
    stale_if_error: float | None = None
    must_revalidate: bool = False
    shareable: bool = False


def assess(
    fields: Iterable[RawField],
    rules: Rules,
    *,
    requested_at: float,
    received_at: float,
    rng: Callable[[], float],
) -> Freshness | None:
    """How an answer with these fields may be used, or None if it must not be stored.

    The times (epoch seconds) are of the request that went out and of the answer that came; `rng` gives a number in
    [0, 1), and jitter only ever shortens.
    """
    from_ttl = rules.ttl * (1.0 - rules.jitter * rng())
    if rules.origin == "ignore":
        return Freshness(from_ttl)
    fields = tuple(fields)
    directives = parse(fields)
    if is_for_one_caller(fields, rules.key_fields) or directives.keys() & _FORBIDDING:
        return None
    stated = _stated(fields, directives, received_at)
    age = 0.0 if stated is None else _initial_age(fields, requested_at, received_at)
    no_stale = bool(directives.keys() & _NO_STALE)
    if no_stale and stated is not None and stated <= age and not has_validator(fields):
        return None  # it could not be used even once
    return Freshness(
        lifetime=from_ttl if stated is None else stated,
        initial_age=age,
        stale_while_revalidate=_window(
            directives, b"stale-while-revalidate", None if stated is None else 0.0
        ),
        stale_if_error=_window(directives, b"stale-if-error", None),
        must_revalidate=no_stale,
        shareable=bool(directives.keys() & _SHAREABLE),
    )


def bounded(fresh: Freshness, seconds: float, *, while_revalidate: float, if_error: float) -> Freshness:
    """The same, but of no use, stale or not, `seconds` after receipt, whatever origin and operator say.

    `while_revalidate` and `if_error` are the operator's limits, in seconds: what the origin leaves open gets them.
    """
    # Counted from age zero, as a lifetime is: what is old when it comes has as long as what is new.
    end = fresh.initial_age + seconds
    lifetime = min(fresh.lifetime, end)
    revalidated, failing = fresh.stale_while_revalidate, fresh.stale_if_error
    return replace(
        fresh,
        lifetime=lifetime,
        stale_while_revalidate=min(while_revalidate if revalidated is None else revalidated, end - lifetime),
        stale_if_error=min(if_error if failing is None else failing, end - lifetime),
    )


def is_for_one_caller(fields: Iterable[RawField], key_fields: Collection[bytes] = ()) -> bool:
    """Whether an answer sets a cookie, or varies with a field that a fill does not carry (sections 4.1 and 7.3)."""
    fields = tuple(fields)
    varying = set(tokens(fields, b"vary")) - _HARMLESS_VARY - set(key_fields)
    return bool(values(fields, b"set-cookie") or varying)


def _stated(
    fields: tuple[RawField, ...], directives: Mapping[bytes, bytes | None], received_at: float
) -> float | None:
    """The lifetime that the origin states (section 4.2.1), or None."""
    for name in (b"s-maxage", b"max-age"):
        if name in directives:
            return float(delta_seconds(directives[name]))
    expires = values(fields, b"expires")
    if not expires:
        return None
    # Section 5.3: an invalid one is over, `0` in particular; of two that differ neither can be believed.
    until = parse_date(expires[0], now=received_at) if len(set(expires)) == 1 else None
    return 0.0 if until is None else max(0.0, until - _date(fields, received_at))


def _date(fields: tuple[RawField, ...], received_at: float) -> float:
    """When the answer was made; a missing or invalid Date is the time of receipt (RFC 9110 section 6.6.1)."""
    found = values(fields, b"date")
    made_at = parse_date(found[0], now=received_at) if found else None
    return received_at if made_at is None else made_at


def _initial_age(fields: tuple[RawField, ...], requested_at: float, received_at: float) -> float:
    """The corrected initial age (section 4.2.3)."""
    apparent = max(0.0, received_at - _date(fields, received_at))
    stated = [member.strip(b" \t") for value in values(fields, b"age")[:1] for member in members(value)[:1]]
    # Section 5.1: the first of a list counts, and what is no number is ignored.
    age_value = float(delta_seconds(stated[0])) if stated else 0.0
    delay = max(0.0, received_at - requested_at)
    return max(apparent, age_value + delay)


def _window(directives: Mapping[bytes, bytes | None], name: bytes, silent: float | None) -> float | None:
    """How long after its lifetime an answer may be used stale (RFC 5861 sections 3 and 4)."""
    return float(delta_seconds(directives[name])) if name in directives else silent
