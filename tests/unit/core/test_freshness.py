"""Which answers may be stored, and for how long they may be used."""

import pytest

from proxy.core.http.fields import RawField
from proxy.core.http.freshness import Freshness, is_for_one_caller
from tests.unit.core.assessed import NOW, TTL, assessed, date, expires, lifetime_of


def test_a_silent_origin_gets_the_ttl_of_the_operator() -> None:
    assert lifetime_of() == TTL
    assert lifetime_of((b"Content-Type", b"application/json"), (b"Cache-Control", b"public")) == TTL


@pytest.mark.parametrize(
    "value",
    [
        b"no-store",
        b"NO-STORE",
        b"private",
        b"no-cache",
        b'private=""',
        b'private="x a"',
        b'private="x-a", private',
        b"max-age=60, no-store",
        b"private, s-maxage=60",
        b"no-cache, max-age=60",
    ],
)
def test_a_forbidding_directive_keeps_an_answer_out(value: bytes) -> None:
    """RFC 9111 sections 3 and 5.2.2."""
    assert lifetime_of((b"Cache-Control", value)) is None
    assert lifetime_of((b"Cache-Control", b"max-age=60"), (b"cache-control", value)) is None


@pytest.mark.parametrize("value", [b"a=b", b"", b"a=b; Max-Age=60"])
@pytest.mark.parametrize("name", [b"Set-Cookie", b"set-cookie"])
def test_an_answer_that_sets_a_cookie_is_kept_out(name: bytes, value: bytes) -> None:
    """RFC 9111 section 7.3: it is somebody's own."""
    assert lifetime_of((name, value)) is None
    assert lifetime_of((b"Cache-Control", b"public, max-age=60"), (name, value)) is None


@pytest.mark.parametrize(
    "value", [b"Accept-Encoding", b"origin", b"Origin, ACCEPT-ENCODING", b" , origin", b""]
)
def test_a_harmless_vary_keeps_nothing_out(value: bytes) -> None:
    """RFC 9111 section 4.1."""
    assert lifetime_of((b"Vary", value)) == TTL


@pytest.mark.parametrize(
    "lines",
    [[b"*"], [b"Accept"], [b"Cookie"], [b"Origin, Accept-Language"], [b"Origin", b"X-A"], [b"origin, *"]],
)
def test_any_other_vary_keeps_an_answer_out(lines: list[bytes]) -> None:
    """RFC 9111 section 4.1."""
    fields: list[RawField] = [(b"vary", line) for line in lines]
    assert lifetime_of(*fields) is None
    assert lifetime_of((b"Cache-Control", b"max-age=60"), *fields) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"max-age=60", 60.0),
        (b'max-age="60"', 60.0),
        (b"s-maxage=30", 30.0),
        (b"max-age=60, s-maxage=30", 30.0),
        (b"s-maxage=90, max-age=60", 90.0),
        (b"max-age=0, s-maxage=30", 30.0),
        (b"max-age=99999999999999999999", float(2**31)),
        (b"max-age=1, max-age=2", 1.0),
        (b"must-revalidate, max-age=60", 60.0),
    ],
)
def test_the_lifetime_that_an_origin_states_wins(value: bytes, seconds: float) -> None:
    """RFC 9111 section 4.2.1."""
    assert lifetime_of((b"Cache-Control", value)) == seconds


@pytest.mark.parametrize(
    "value", [b"max-age=0", b"max-age=-1", b"max-age=1.5", b"max-age", b"max-age=x", b"max-age=0, public"]
)
def test_an_answer_that_is_over_already_is_stale_at_once(value: bytes) -> None:
    """RFC 9111 section 4.2.1: what is invalid counts as stale. It may be stored, for when the upstream fails."""
    assert lifetime_of((b"Cache-Control", value)) == 0.0


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 100.0), (0.5, 95.0), (1.0, 90.0)])
def test_jitter_shortens_the_ttl(drawn: float, seconds: float) -> None:
    assert lifetime_of(jitter=0.1, drawn=drawn) == seconds
    assert lifetime_of(jitter=0.1, drawn=drawn, origin="ignore") == seconds


def test_jitter_leaves_the_word_of_the_origin_alone() -> None:
    assert lifetime_of((b"Cache-Control", b"max-age=60"), jitter=0.5, drawn=0.9) == 60.0


@pytest.mark.parametrize(
    "field",
    [
        (b"Cache-Control", b"no-store"),
        (b"Cache-Control", b"private, max-age=1"),
        (b"Cache-Control", b"max-age=7"),
        (b"Cache-Control", b"s-maxage=0"),
        (b"Expires", b"0"),
        (b"Age", b"1000"),
        (b"Set-Cookie", b"a=b"),
        (b"Vary", b"*"),
    ],
)
def test_the_operator_can_have_the_origin_ignored(field: RawField) -> None:
    assert assessed(field, origin="ignore") == Freshness(TTL)


@pytest.mark.parametrize("seconds", [0.0, 60.0, 86400.0])
def test_expires_counts_from_date(seconds: float) -> None:
    """RFC 9111 section 4.2.1."""
    assert lifetime_of(date(-5.0), expires(seconds - 5.0)) == seconds
    assert lifetime_of(expires(seconds)) == seconds  # without a Date from receipt


def test_max_age_comes_before_expires() -> None:
    """RFC 9111 section 5.3."""
    assert lifetime_of((b"Cache-Control", b"max-age=7"), expires(60.0), date(0.0)) == 7.0


@pytest.mark.parametrize("value", [b"0", b"-1", b"", b"now", b"Thu, 01 Jan 1970 00:00:00 UTC", b"2030-01-01"])
def test_an_expires_that_is_no_date_is_over(value: bytes) -> None:
    """RFC 9111 section 5.3."""
    assert lifetime_of((b"Expires", value), date(0.0)) == 0.0


def test_of_two_expires_neither_is_believed() -> None:
    """RFC 9111 section 5.3; both alike are one."""
    assert lifetime_of(expires(60.0), expires(90.0)) == 0.0
    assert lifetime_of(expires(60.0), expires(60.0)) == 60.0


def test_an_expires_before_its_date_is_over() -> None:
    assert lifetime_of(expires(-60.0), date(0.0)) == 0.0


@pytest.mark.parametrize(
    ("fields", "delay", "age"),
    [
        ([], 0.0, 0.0),
        ([(b"Age", b"10")], 0.0, 10.0),
        ([(b"Age", b"10")], 2.5, 12.5),
        ([date(-30.0)], 2.5, 30.0),
        ([date(-30.0), (b"Age", b"29")], 2.5, 31.5),
        ([date(30.0)], 0.0, 0.0),
        ([date(30.0), (b"Age", b"3")], 0.0, 3.0),
        ([(b"Date", b"yesterday"), (b"Age", b"3")], 0.0, 3.0),
        ([(b"Age", b"7, 100")], 0.0, 7.0),
        ([(b"Age", b" 7 , 100")], 0.0, 7.0),
        ([(b"Age", b"7"), (b"Age", b"100")], 0.0, 7.0),
        ([(b"Age", b"-7")], 1.0, 1.0),
        ([(b"Age", b"1.5")], 0.0, 0.0),
        ([(b"Age", b"")], 0.0, 0.0),
    ],
)
def test_the_age_that_an_answer_comes_with(fields: list[RawField], delay: float, age: float) -> None:
    """RFC 9111 sections 4.2.3 and 5.1."""
    found = assessed((b"Cache-Control", b"max-age=60"), *fields, requested_at=NOW - delay)
    assert found is not None
    assert found.initial_age == age
    by_expires = assessed(expires(600.0), *fields, requested_at=NOW - delay)
    assert by_expires is not None
    assert by_expires.initial_age == age


def test_a_lifetime_from_the_ttl_counts_from_receipt() -> None:
    found = assessed(date(-30.0), (b"Age", b"50"), requested_at=NOW - 3.0)
    assert found == Freshness(TTL)


@pytest.mark.parametrize("value", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=60"])
def test_some_answers_are_never_used_stale(value: bytes) -> None:
    """RFC 9111 sections 5.2.2.2, 5.2.2.8 and 5.2.2.10."""
    found = assessed((b"Cache-Control", value))
    assert found is not None
    assert found.must_revalidate
    plain = assessed((b"Cache-Control", b"max-age=60"))
    assert plain is not None
    assert not plain.must_revalidate


@pytest.mark.parametrize(
    "value",
    [
        b"max-age=0, must-revalidate",
        b"s-maxage=0",
        b"s-maxage=0, max-age=60",
        b"s-maxage",
        b"max-age=0, proxy-revalidate",
    ],
)
def test_what_could_not_be_used_even_once_is_not_stored(value: bytes) -> None:
    """RFC 9111 section 5.2.2.2; with a validator it can be revalidated (section 4.3)."""
    assert assessed((b"Cache-Control", value)) is None
    assert assessed((b"Cache-Control", value), (b"ETag", b'"a"')) is not None
    assert assessed((b"Cache-Control", value), date(-60.0, b"Last-Modified")) is not None
    assert assessed((b"Cache-Control", b"max-age=60, must-revalidate"), (b"Age", b"60")) is None
    assert assessed((b"Cache-Control", b"max-age=60, must-revalidate"), (b"Age", b"59")) is not None


@pytest.mark.parametrize(
    ("value", "while_revalidate", "if_error"),
    [
        (b"", None, None),
        (b"public", None, None),
        (b"max-age=60", 0.0, None),
        (b"max-age=60, stale-while-revalidate=5", 5.0, None),
        (b"max-age=60, stale-if-error=7", 0.0, 7.0),
        (b"stale-while-revalidate=5, stale-if-error=7", 5.0, 7.0),
        (b"max-age=60, stale-while-revalidate=x", 0.0, None),
        (b"max-age=60, stale-if-error", 0.0, 0.0),
    ],
)
def test_how_long_an_answer_may_be_used_stale(
    value: bytes, while_revalidate: float | None, if_error: float | None
) -> None:
    """RFC 5861 sections 3 and 4. None is the operator's own limit."""
    found = assessed((b"Cache-Control", value))
    assert found is not None
    assert (found.stale_while_revalidate, found.stale_if_error) == (while_revalidate, if_error)


@pytest.mark.parametrize(
    ("value", "shareable"),
    [
        (b"public", True),
        (b"s-maxage=60", True),
        (b"must-revalidate", True),
        (b"max-age=60", False),
        (b"proxy-revalidate", False),
        (b"", False),
    ],
)
def test_which_answers_a_request_with_a_credential_may_get(value: bytes, *, shareable: bool) -> None:
    """RFC 9111 section 3.5."""
    found = assessed((b"Cache-Control", value))
    assert found is not None
    assert found.shareable is shareable


def test_an_answer_that_varies_with_the_key_alone_is_stored() -> None:
    """RFC 9111 section 4.1."""
    varying = (b"Vary", b"X-Tenant, Origin")
    assert assessed(varying) is None
    assert assessed(varying, key_fields=frozenset({b"x-tenant"})) is not None
    assert is_for_one_caller([varying])
    assert not is_for_one_caller([varying], {b"x-tenant"})
