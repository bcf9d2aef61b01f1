"""Whether an answer may be stored, and for how long it is fresh."""

import math

from fuzz import headers
from fuzz.targets.http_date import obvious as date_of
from proxy.core.http.fields import RawField
from proxy.core.http.freshness import Freshness, Rules, assess
from proxy.core.http.validation import has_validator

TOKENS = headers.TOKENS
_RULES = Rules(ttl=100.0, jitter=0.1, key_fields=frozenset({b"tenant"}))
_REQUESTED, _RECEIVED = 1_767_225_599.0, 1_767_225_600.5
_FORBIDDING = (
    (b"Cache-Control", b"no-store"),
    (b"Cache-Control", b"private"),
    (b"cache-control", b"no-cache"),
    (b"Set-Cookie", b"a=b"),
    (b"Vary", b"*"),
)


def fuzz_one(data: bytes) -> None:
    """Compare with the rules taken one by one; a prohibition holds beside anything, and an Age never makes younger."""
    fields = headers.fields_of(data)
    found = _assess(fields)
    assert (found is not None) == _is_storable(fields)
    field = _FORBIDDING[len(data) % len(_FORBIDDING)]  # all of them for each input would be slow
    assert _assess([*fields, field]) is None
    assert _assess([field, *fields]) is None
    ignored = Rules(ttl=100.0, origin="ignore")
    assert assess(
        fields, ignored, requested_at=_REQUESTED, received_at=_RECEIVED, rng=lambda: 0.5
    ) == Freshness(100.0)
    if found is None:
        return
    stated = _stated(fields)
    assert found.lifetime == (95.0 if stated is None else stated)
    assert 0 <= found.lifetime < math.inf
    assert 0 <= found.initial_age < math.inf
    assert stated is not None or found.initial_age == 0
    for window in (found.stale_while_revalidate, found.stale_if_error):
        assert window is None or 0 <= window <= 2**31
    older = _assess([(b"Age", b"1000"), *fields])
    assert older is None or older.initial_age >= (1000 if stated is not None else 0)
    stricter = _assess([*fields, (b"Cache-Control", b"must-revalidate")])
    assert stricter is None or stricter.must_revalidate


def _assess(fields: list[RawField]) -> Freshness | None:
    return assess(fields, _RULES, requested_at=_REQUESTED, received_at=_RECEIVED, rng=lambda: 0.5)


def _values(fields: list[RawField], name: bytes) -> list[bytes]:
    return [value for field, value in fields if field.lower() == name]


def _stated(fields: list[RawField]) -> float | None:
    said = headers.directives(fields, b"cache-control")
    for name in (b"s-maxage", b"max-age"):
        if name in said:
            return headers.seconds(said[name])
    expires = _values(fields, b"expires")
    if not expires:
        return None
    until = date_of(expires[0], _RECEIVED) if len(set(expires)) == 1 else None
    return 0.0 if until is None else max(0.0, until - _date(fields))


def _date(fields: list[RawField]) -> float:
    dates = _values(fields, b"date")
    made = date_of(dates[0], _RECEIVED) if dates else None
    return _RECEIVED if made is None else made


def _age(fields: list[RawField]) -> float:
    ages = _values(fields, b"age")[:1]
    stated = [
        headers.seconds(member.strip(b" \t")) for value in ages for member in headers.list_members(value)[:1]
    ]
    return max(_RECEIVED - _date(fields), (stated or [0])[0] + _RECEIVED - _REQUESTED)


def _is_storable(fields: list[RawField]) -> bool:
    said = headers.directives(fields, b"cache-control")
    varying = {one.strip(b" \t").lower() for value in _values(fields, b"vary") for one in value.split(b",")}
    if said.keys() & {b"no-store", b"private", b"no-cache"} or _values(fields, b"set-cookie"):
        return False
    if varying - {b"", b"accept-encoding", b"origin", b"tenant"}:
        return False
    stated = _stated(fields)
    never_stale = said.keys() & {b"must-revalidate", b"proxy-revalidate", b"s-maxage"}
    return not (never_stale and stated is not None and stated <= _age(fields) and not has_validator(fields))
