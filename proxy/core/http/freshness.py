"""May an answer of the upstream be stored, and for how long is it fresh (RFC 9111 sections 3, 4.2 and 5.2.2).

The origin's explicit word wins over the operator's ttl, which is what a silent origin gets; `origin: ignore` turns
that round. A CDN-Cache-Control stands for Cache-Control and Expires (RFC 9213).

| the answer says | it is |
|---|---|
| `no-store`, `private`, `Vary: *` | not stored |
| `must-understand` | stored even with `no-store` if we know its status, and else not (5.2.2.3) |
| Set-Cookie, Vary with a field that is no part of the key | not stored, but where the rules have it otherwise |
| `private="a"`, `no-cache="a"` | stored without the field (5.2.2.4, 5.2.2.7) |
| it answers a request with credentials | stored with `public`, `s-maxage` or `must-revalidate` alone (3.5) |
| `no-cache` | stored if it can be revalidated, which it is each time (5.2.2.4) |
| `s-maxage`, else `max-age`, else Expires | fresh for so long, less its age by Date and Age (4.2.1, 4.2.3) |
| none of these, and it has not `public`, nor a status such as 200 or 404 | not stored (3) |
| none of these, and the operator a `ttl` | fresh for `ttl`, less jitter, counted from receipt |
| none of these, nor the operator a `ttl` | fresh for a tenth of the time it has not changed, less its age (4.2.2) |
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
from proxy.core.http.directives import delta_seconds, qualified
from proxy.core.http.fields import RawField, members, values
from proxy.core.http.status import HEURISTIC, is_storable
from proxy.core.http.targeted import response_directives
from proxy.core.http.validation import has_validator
from proxy.core.http.vary import nominated

# The coding is fixed by the fill, and CORS does not change the bytes of an item.
_HARMLESS_VARY = frozenset({b"accept-encoding", b"origin"})
_NO_STALE = frozenset({b"must-revalidate", b"proxy-revalidate", b"s-maxage"})
_SHAREABLE = frozenset({b"public", b"s-maxage", b"must-revalidate"})
# What says which requests an answer is for, and for how long.
_DECISIVE = frozenset({b"age", b"cache-control", b"cdn-cache-control", b"date", b"expires", b"vary"})
# Section 4.2.2: what has not changed for so long will not change for a tenth of that; for a day at most, since nobody
# has promised anything.
_HEURISTIC_PART, _HEURISTIC_MOST = 0.1, 86_400.0


class Rules(Struct, frozen=True):
    """What the operator says of a resource's freshness, as far as it concerns storing. Seconds."""

    ttl: float
    """What a silent origin's answers get; 0: heuristic freshness."""
    jitter: float = 0.0
    """The part of `ttl` that chance may take off, so that what was filled at one time does not expire at one time.
    What came in one answer does, and is fetched again in one call."""
    origin: Literal["honour", "ignore"] = "honour"
    key_fields: frozenset[bytes] = frozenset()
    """Request fields, lower case, whose values are part of the key."""
    varies: bool = False
    """The store selects by Vary, so that an answer may vary with any field."""
    keeps_cookies_out: bool = False
    """An answer that sets a cookie may be stored without it, if it states its lifetime: it is not one that just nobody
    has thought about."""


class Freshness(Struct, frozen=True):
    """How an answer that may be stored may be used. The members are those of an Entry, in seconds."""

    lifetime: float
    initial_age: float = 0.0
    stale_while_revalidate: float | None = None
    stale_if_error: float | None = None
    must_revalidate: bool = False
    shareable: bool = False
    omitted: frozenset[bytes] = frozenset()
    """Names of fields, lower case, that must not be stored with it (sections 5.2.2.4 and 5.2.2.7)."""


class _Answer(Struct, frozen=True):
    """An answer, read as far as its freshness is concerned. Epoch seconds."""

    fields: tuple[RawField, ...]
    directives: Mapping[bytes, bytes | None]
    status: int
    requested_at: float
    received_at: float
    stated: float | None
    """The lifetime that the origin states, in seconds."""
    is_validatable: bool

    def has(self, names: Collection[bytes]) -> bool:
        """Whether any of these directives stands there."""
        return any(name in self.directives for name in names)


def assess(
    fields: Iterable[RawField],
    rules: Rules,
    *,
    status: int = 200,
    is_authorized: bool = False,
    requested_at: float,
    received_at: float,
    rng: Callable[[], float],
) -> Freshness | None:
    """How an answer with this status and these fields may be used, or None if it must not be stored.

    `is_authorized`: it answers a request with a credential, but is to be stored for everybody. The times (epoch
    seconds) are of the request that went out and of the answer that came; `rng` gives a number in [0, 1), and jitter
    only ever shortens.
    """
    from_ttl = rules.ttl * (1.0 - rules.jitter * rng())
    fields = tuple(fields)
    if rules.origin == "ignore":
        is_reusable = not (rules.varies and nominated(fields) is None)
        return Freshness(from_ttl) if is_reusable and status in HEURISTIC and not is_authorized else None
    directives, is_targeted = response_directives(fields)
    omitted = _omitted(directives)
    answer = _Answer(
        fields,
        directives,
        status,
        requested_at,
        received_at,
        stated=_stated(fields, directives, received_at, by_expires=not is_targeted),
        is_validatable=has_validator(field for field in fields if field[0].lower() not in omitted),
    )
    if not _may_be_stored(answer, rules, is_authorized=is_authorized):
        return None
    fresh = (
        _confirmed_each_time(answer) if _is_whole(directives, b"no-cache") else _used(answer, rules, from_ttl)
    )
    return fresh and replace(fresh, shareable=answer.has(_SHAREABLE), omitted=omitted)


def _may_be_stored(answer: _Answer, rules: Rules, *, is_authorized: bool) -> bool:
    """Section 3."""
    directives = answer.directives
    must_understand = b"must-understand" in directives
    if not is_storable(answer.status, must_understand=must_understand):
        return False
    # Section 5.2.2.3: the `no-store` beside a `must-understand` is for those who do not know it.
    if (b"no-store" in directives and not must_understand) or _is_whole(directives, b"private"):
        return False
    if is_authorized and not answer.has(_SHAREABLE):
        return False
    if answer.stated is None and answer.status not in HEURISTIC and b"public" not in directives:
        return False
    return not (_sets_cookie(answer, rules) or _varies_beyond(answer.fields, rules))


def _sets_cookie(answer: _Answer, rules: Rules) -> bool:
    """Whether a cookie keeps an answer out (section 7.3)."""
    is_kept_out = rules.keeps_cookies_out and answer.stated is not None
    return not is_kept_out and bool(values(answer.fields, b"set-cookie"))


def _varies_beyond(fields: tuple[RawField, ...], rules: Rules) -> bool:
    """Whether an answer varies with what the store does not select by (section 4.1)."""
    return nominated(fields) is None if rules.varies else _varies(fields, rules.key_fields)


def _confirmed_each_time(answer: _Answer) -> Freshness | None:
    """Section 5.2.2.4: not even used stale, or when the upstream fails."""
    if not answer.is_validatable:
        return None
    return Freshness(0.0, _initial_age(answer), 0.0, 0.0, must_revalidate=True)


def _used(answer: _Answer, rules: Rules, from_ttl: float) -> Freshness | None:
    directives, stated = answer.directives, answer.stated
    no_stale = answer.has(_NO_STALE)
    lifetime, age = stated, 0.0
    if stated is not None or rules.ttl <= 0 or rules.varies:
        age = _initial_age(answer)
    if lifetime is None:
        # Of a response that is shown as it is, what is so old when it comes says so, and has its `ttl` all the same.
        lifetime = from_ttl + age if rules.ttl > 0 else _heuristic(answer)
    # It could not be used even once; what is stated may yet be used stale, as far as the operator has it so.
    if lifetime <= age and not answer.is_validatable and (no_stale or stated is None):
        return None
    return Freshness(
        lifetime=lifetime,
        initial_age=age,
        stale_while_revalidate=_window(
            directives, b"stale-while-revalidate", None if stated is None and rules.ttl > 0 else 0.0
        ),
        stale_if_error=_window(directives, b"stale-if-error", None),
        must_revalidate=no_stale,
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


def withheld(fields: Iterable[RawField], rules: Rules) -> frozenset[bytes]:
    """Names of fields, lower case, that an answer with these says must not be stored (sections 5.2.2.4 and 5.2.2.7)."""
    return frozenset() if rules.origin == "ignore" else _omitted(response_directives(tuple(fields))[0])


def is_for_one_caller(fields: Iterable[RawField], key_fields: Collection[bytes] = ()) -> bool:
    """Whether an answer sets a cookie, or varies with a field that a fill does not carry (sections 4.1 and 7.3)."""
    fields = tuple(fields)
    return bool(values(fields, b"set-cookie")) or _varies(fields, key_fields)


def _varies(fields: tuple[RawField, ...], key_fields: Collection[bytes]) -> bool:
    """Whether an answer varies with more than these fields, and harmless ones."""
    names = nominated(fields)
    return names is None or not _HARMLESS_VARY.union(key_fields).issuperset(names)


def _omitted(directives: Mapping[bytes, bytes | None]) -> frozenset[bytes]:
    """The fields that `no-cache` and `private` are about, where they name any."""
    named = [_qualified(directives.get(name)) for name in (b"no-cache", b"private")]
    return frozenset().union(*(names for names in named if names))


def _qualified(argument: bytes | None) -> frozenset[bytes] | None:
    """The fields that a directive names; None, too, if there is one without which the answer is another one to us."""
    names = qualified(argument)
    return None if names is None or names & _DECISIVE else names


def _is_whole(directives: Mapping[bytes, bytes | None], name: bytes) -> bool:
    """Whether a directive stands there that is about the whole answer."""
    return name in directives and _qualified(directives[name]) is None


def _stated(
    fields: tuple[RawField, ...],
    directives: Mapping[bytes, bytes | None],
    received_at: float,
    *,
    by_expires: bool,
) -> float | None:
    """The lifetime that the origin states (section 4.2.1), or None."""
    for name in (b"s-maxage", b"max-age"):
        if name in directives:
            return float(delta_seconds(directives[name]))
    expires = values(fields, b"expires") if by_expires else []
    if not expires:
        return None
    # Section 5.3: an invalid one is over, `0` in particular; of two that differ neither can be believed.
    until = parse_date(expires[0], now=received_at) if len(set(expires)) == 1 else None
    return 0.0 if until is None else max(0.0, until - _date(fields, received_at))


def _heuristic(answer: _Answer) -> float:
    """A guess for an origin that states nothing (section 4.2.2); 0 if it does not say when it last changed anything."""
    modified = values(answer.fields, b"last-modified")
    at = parse_date(modified[0], now=answer.received_at) if len(modified) == 1 else None
    if at is None:
        return 0.0
    unchanged = max(0.0, _date(answer.fields, answer.received_at) - at)
    return min(unchanged * _HEURISTIC_PART, _HEURISTIC_MOST)


def _date(fields: tuple[RawField, ...], received_at: float) -> float:
    """When the answer was made; a missing or invalid Date is the time of receipt (RFC 9110 section 6.6.1)."""
    found = values(fields, b"date")
    made_at = parse_date(found[0], now=received_at) if found else None
    return received_at if made_at is None else made_at


def _initial_age(answer: _Answer) -> float:
    """The corrected initial age (section 4.2.3)."""
    apparent = max(0.0, answer.received_at - _date(answer.fields, answer.received_at))
    stated = [
        member.strip(b" \t") for value in values(answer.fields, b"age")[:1] for member in members(value)[:1]
    ]
    # Section 5.1: the first of a list counts, and what is no number is ignored.
    age_value = float(delta_seconds(stated[0])) if stated else 0.0
    delay = max(0.0, answer.received_at - answer.requested_at)
    return max(apparent, age_value + delay)


def _window(directives: Mapping[bytes, bytes | None], name: bytes, silent: float | None) -> float | None:
    """How long after its lifetime an answer may be used stale (RFC 5861 sections 3 and 4)."""
    return float(delta_seconds(directives[name])) if name in directives else silent
