"""Whether an answer may be stored, and for how long it is fresh."""

import math
from typing import NamedTuple

from fuzz import headers, structured
from fuzz.targets.http_date import obvious as date_of
from fuzz.targets.vary import obvious as varying_with
from proxy.core.http.fields import RawField
from proxy.core.http.freshness import Freshness, Rules, assess

TOKENS = headers.TOKENS
_REQUESTED, _RECEIVED = 1_767_225_599.0, 1_767_225_600.5
_ENTITY = Rules(ttl=100.0, jitter=0.1, key_fields=frozenset({b"tenant"}))
_DECISIVE = frozenset({b"age", b"cache-control", b"cdn-cache-control", b"date", b"expires", b"vary"})
"""Fields without which an answer can't be told from one that may be used otherwise."""
_OPAQUE = Rules(ttl=0.0, varies=True, keeps_cookies_out=True)


class Case(NamedTuple):
    """What the answer is to, and how it came."""

    rules: Rules
    status: int
    is_authorized: bool = False
    is_known: bool = True
    """Whether a document that we know defines the status."""
    is_heuristic: bool = False
    """Whether the status is one of those that may be used though nobody says for how long."""


CASES = (
    Case(_ENTITY, 200, is_heuristic=True),
    Case(_ENTITY, 404, is_authorized=True, is_heuristic=True),
    Case(_OPAQUE, 200, is_heuristic=True),
    Case(_OPAQUE, 206, is_authorized=True, is_heuristic=True),
    Case(_OPAQUE, 299, is_known=False),
    Case(Rules(ttl=100.0, jitter=0.1, varies=True, keeps_cookies_out=True), 503),
)


class _Said(NamedTuple):
    """What the directives that count say."""

    arguments: dict[bytes, bytes | None]
    whole: frozenset[bytes]
    """Which of `no-cache` and `private` are about the whole answer."""
    omitted: frozenset[bytes]
    is_targeted: bool

    def has(self, *names: bytes) -> bool:
        return any(name in self.arguments for name in names)

    def seconds(self, name: bytes, otherwise: float | None) -> float | None:
        return headers.seconds(self.arguments[name]) if name in self.arguments else otherwise


def fuzz_one(data: bytes) -> None:
    """Compare with the rules taken one by one; a prohibition holds beside anything, and an Age never makes younger."""
    fields = headers.fields_of(data)
    for case in CASES:
        found = _assess(fields, case)
        assert found == obvious(fields, case)
        if found is not None:
            _check_bounds(found)
    _check_more_fields(fields)
    ignored = Rules(ttl=100.0, origin="ignore")
    assert _assess(fields, Case(ignored, 200)) == Freshness(100.0)
    assert (
        _assess([*fields, (b"Vary", b"a, *")], Case(Rules(ttl=100.0, origin="ignore", varies=True), 200))
        is None
    )


def obvious(fields: list[RawField], case: Case) -> Freshness | None:
    """What the rules come to, one after the other."""
    rules, said = case.rules, _said(fields)
    can_validate = {b"etag", b"last-modified"} & {name.lower() for name, _ in fields} - said.omitted
    stated = _stated(fields, said)
    if _is_forbidden(fields, case, said, is_stated=stated is not None):
        return None
    age = _age(fields)
    shareable = said.has(b"public", b"s-maxage", b"must-revalidate")
    if b"no-cache" in said.whole:
        found = Freshness(0.0, age, 0.0, 0.0, must_revalidate=True, shareable=shareable, omitted=said.omitted)
        return found if can_validate else None
    never_stale = said.has(b"must-revalidate", b"proxy-revalidate", b"s-maxage")
    by_operator = stated is None and rules.ttl > 0
    if by_operator:
        # An entity is as old as its receipt; an opaque response says how old it came, and has the ttl on top.
        age = age if rules.varies else 0.0
        lifetime = 95.0 + age
    else:
        lifetime = _heuristic(fields) if stated is None else stated
        is_stale_at_most = stated is not None and not never_stale
        if lifetime <= age and not can_validate and not is_stale_at_most:
            return None
    return Freshness(
        lifetime,
        age,
        said.seconds(b"stale-while-revalidate", None if by_operator else 0.0),
        said.seconds(b"stale-if-error", None),
        must_revalidate=never_stale,
        shareable=shareable,
        omitted=said.omitted,
    )


def _is_forbidden(fields: list[RawField], case: Case, said: _Said, *, is_stated: bool) -> bool:
    """Whether any rule of RFC 9111 section 3 has it so, or one of ours."""
    rules = case.rules
    varying = varying_with(fields)
    keeps_cookies_out = rules.keeps_cookies_out and is_stated
    return (
        (said.has(b"no-store") and not said.has(b"must-understand"))
        or (said.has(b"must-understand") and not case.is_known)
        or b"private" in said.whole
        or (case.is_authorized and not said.has(b"public", b"s-maxage", b"must-revalidate"))
        or not (is_stated or case.is_heuristic or said.has(b"public"))
        or (bool(_values(fields, b"set-cookie")) and not keeps_cookies_out)
        or varying is None
        or (not rules.varies and bool(set(varying) - {b"accept-encoding", b"origin"} - rules.key_fields))
    )


def _check_bounds(found: Freshness) -> None:
    assert 0 <= found.lifetime < math.inf
    assert 0 <= found.initial_age < math.inf
    for window in (found.stale_while_revalidate, found.stale_if_error):
        assert window is None or 0 <= window <= 2**31


def _check_more_fields(fields: list[RawField]) -> None:
    """What one more field does, wherever it stands."""
    entity, opaque = CASES[0], CASES[2]
    here, at = _said(fields), len(fields) // 2
    for case, field in (
        (entity, (b"Set-Cookie", b"a=b")),
        (entity, (b"Vary", b"*")),
        (opaque, (b"Vary", b"a, *")),
    ):
        assert _assess([*fields[:at], field, *fields[at:]], case) is None
    if not here.is_targeted:
        stricter = _assess([*fields, (b"Cache-Control", b"must-revalidate")], opaque)
        assert stricter is None or stricter.must_revalidate
        assert _assess([(b"Cache-Control", b"private"), *fields], opaque) is None
        confirmed = _assess([*fields, (b"cache-control", b"no-cache")], opaque)
        assert confirmed is None or (confirmed.lifetime == 0 and confirmed.must_revalidate)
        if not here.has(b"must-understand"):
            assert _assess([*fields, (b"Cache-Control", b"no-store")], opaque) is None
    older = _assess([(b"Age", b"1000"), *fields], opaque)
    assert older is None or older.initial_age >= 1000


def _assess(fields: list[RawField], case: Case) -> Freshness | None:
    return assess(
        fields,
        case.rules,
        status=case.status,
        is_authorized=case.is_authorized,
        requested_at=_REQUESTED,
        received_at=_RECEIVED,
        rng=lambda: 0.5,
    )


def _said(fields: list[RawField]) -> _Said:
    targeted = structured.targeted(fields)
    if targeted is None:
        said = headers.directives(fields, b"cache-control")
    else:
        said = {name: [argument] for name, argument in targeted.items()}
    of_fields = {name: headers.named(said[name]) for name in (b"no-cache", b"private") if name in said}
    for name, names in of_fields.items():
        if names is not None and names & _DECISIVE:
            of_fields[name] = None
    return _Said(
        {name: headers.argument(arguments) for name, arguments in said.items()},
        frozenset(name for name, names in of_fields.items() if names is None),
        frozenset().union(*(names for names in of_fields.values() if names is not None)),
        targeted is not None,
    )


def _values(fields: list[RawField], name: bytes) -> list[bytes]:
    return [value for field, value in fields if field.lower() == name]


def _stated(fields: list[RawField], said: _Said) -> float | None:
    for name in (b"s-maxage", b"max-age"):
        if said.has(name):
            return said.seconds(name, None)
    expires = _values(fields, b"expires")
    if not expires or said.is_targeted:
        return None
    until = date_of(expires[0], _RECEIVED) if len(set(expires)) == 1 else None
    return 0.0 if until is None else max(0.0, until - _date(fields))


def _heuristic(fields: list[RawField]) -> float:
    """A tenth of the time since it was last modified, a day at most (section 4.2.2)."""
    modified = _values(fields, b"last-modified")
    at = date_of(modified[0], _RECEIVED) if len(modified) == 1 else None
    return 0.0 if at is None else min(max(0.0, 0.1 * (_date(fields) - at)), 24 * 3600.0)


def _date(fields: list[RawField]) -> float:
    dates = _values(fields, b"date")
    made = date_of(dates[0], _RECEIVED) if dates else None
    return _RECEIVED if made is None else made


def _age(fields: list[RawField]) -> float:
    ages = _values(fields, b"age")[:1]
    stated = [
        headers.seconds(member.strip(b" \t")) for value in ages for member in headers.list_members(value)[:1]
    ]
    return max(0.0, _RECEIVED - _date(fields), (stated or [0])[0] + _RECEIVED - _REQUESTED)
