"""Which kinds of answers may be stored, and how: by fields, status, credential, cookie, and what caches are told."""

import pytest

from proxy.core.http.fields import RawField
from proxy.core.http.freshness import Freshness
from tests.unit.core.assessed import NOW, TTL, assessed, date, expires, lifetime_of

# Fields and whole answers (sections 5.2.2.4 and 5.2.2.7)


@pytest.mark.parametrize(
    ("value", "omitted"),
    [
        (b"public", []),
        (b'private="X-A, x-b"', [b"x-a", b"x-b"]),
        (b'no-cache="X-A"', [b"x-a"]),
        (b'no-cache="X-A", private="X-B"', [b"x-a", b"x-b"]),
        (b"private=x-a", [b"x-a"]),
    ],
)
def test_fields_that_a_directive_names_are_left_out(value: bytes, omitted: list[bytes]) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: the answer is used as if the directive were not there."""
    found = assessed((b"Cache-Control", b"max-age=60"), (b"Cache-Control", value))
    assert found is not None
    assert (sorted(found.omitted), found.lifetime, found.must_revalidate) == (omitted, 60.0, False)


@pytest.mark.parametrize(
    "name", [b"Age", b"cache-control", b"CDN-Cache-Control", b"date", b"Expires", b"vary"]
)
@pytest.mark.parametrize("others", [b"", b", x-a"])
def test_a_field_that_says_whom_an_answer_is_for_is_the_whole_of_it(name: bytes, others: bytes) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: without it what is stored would be another answer."""
    tag, vary = (b"ETag", b'"1"'), (b"Vary", b"X-A")
    for varies in (False, True):
        said = [(b"Cache-Control", b'max-age=60, private="%b%b"' % (name, others)), tag]
        assert assessed(*said, *([vary] if varies else []), varies=varies) is None
    confirmed = assessed((b"Cache-Control", b'max-age=60, no-cache="%b%b"' % (name, others)), tag)
    assert confirmed is not None
    assert (confirmed.lifetime, confirmed.must_revalidate, confirmed.omitted) == (0.0, True, frozenset())
    assert assessed((b"Cache-Control", b'max-age=60, no-cache="%b%b"' % (name, others))) is None


def test_what_an_opaque_response_has_of_the_operator_is_counted_from_receipt_and_not_from_its_age() -> None:
    """RFC 9111 section 4.2.3: it is shown with the Age that it came with; its `ttl` is as long as anything's."""
    old = [(b"Age", b"1000"), date(-1500.0)]
    assert assessed(*old, varies=True) == Freshness(TTL + 1500.0, 1500.0)
    assert assessed(*old) == Freshness(TTL)
    stated = assessed(*old, (b"Cache-Control", b"max-age=1600"), varies=True)
    assert stated is not None
    assert (stated.lifetime, stated.initial_age) == (1600.0, 1500.0)


def test_a_validator_that_is_left_out_is_none() -> None:
    """RFC 9111 section 4.3.1."""
    fields = [(b"Cache-Control", b'max-age=0, must-revalidate, no-cache="ETag"'), (b"ETag", b'"a"')]
    assert assessed(*fields) is None
    assert assessed(*fields, date(-9.0, b"Last-Modified")) is not None


@pytest.mark.parametrize("value", [b"no-cache", b"no-cache, max-age=60", b'no-cache=""', b"no-cache, public"])
@pytest.mark.parametrize("ttl", [0.0, TTL])
def test_what_must_be_confirmed_each_time_is_stored_for_its_validator(value: bytes, ttl: float) -> None:
    """RFC 9111 section 5.2.2.4: never used as it is, nor stale."""
    fields = [(b"Cache-Control", value), (b"Cache-Control", b"stale-while-revalidate=9, stale-if-error=9")]
    assert assessed(*fields, ttl=ttl) is None
    found = assessed(*fields, (b"ETag", b'"a"'), ttl=ttl)
    assert found is not None
    assert (found.lifetime, found.must_revalidate) == (0.0, True)
    assert (found.stale_while_revalidate, found.stale_if_error) == (0.0, 0.0)
    assert found.shareable is (b"public" in value)


# Statuses (section 3)


@pytest.mark.parametrize("ttl", [0.0, TTL])
@pytest.mark.parametrize(
    "stated",
    [
        (b"Cache-Control", b"max-age=60"),
        (b"Cache-Control", b"s-maxage=60"),
        (b"CDN-Cache-Control", b"max-age=60"),
        expires(60.0),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 204, 206, 299, 302, 404, 499, 500, 503, 599])
def test_any_answer_that_states_its_lifetime_is_stored(status: int, stated: RawField, ttl: float) -> None:
    """RFC 9111 section 3."""
    found = assessed(stated, status=status, ttl=ttl)
    assert found is not None
    assert found.lifetime == 60.0


@pytest.mark.parametrize("status", [101, 103, 304, 999])
def test_what_is_not_final_is_not_stored(status: int) -> None:
    """RFC 9111 section 3."""
    assert assessed((b"Cache-Control", b"public, max-age=60"), status=status) is None


@pytest.mark.parametrize("modified", [date(-1000.0, b"Last-Modified")])
@pytest.mark.parametrize("ttl", [0.0, TTL])
@pytest.mark.parametrize(
    ("status", "stored"),
    [
        *((status, True) for status in (200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501)),
        *((status, False) for status in (201, 302, 303, 307, 400, 403, 500, 502, 503, 299, 599)),
    ],
)
def test_a_lifetime_is_lent_to_some_statuses_and_to_what_is_public(
    status: int, ttl: float, modified: RawField, *, stored: bool
) -> None:
    """RFC 9111 sections 3 and 4.2.2; RFC 9110 section 15.1."""
    assert (assessed(modified, status=status, ttl=ttl) is not None) is stored
    assert assessed(modified, (b"Cache-Control", b"public"), status=status, ttl=ttl) is not None
    assert (
        assessed(modified, (b"Cache-Control", b"must-revalidate"), status=status, ttl=ttl) is not None
    ) is stored


def test_a_no_store_beside_must_understand_is_for_others() -> None:
    """RFC 9111 section 5.2.2.3."""
    said = (b"Cache-Control", b"no-store, must-understand, max-age=60")
    assert lifetime_of(said) == 60.0
    assert assessed(said, status=404) is not None
    assert assessed(said, status=599) is None
    assert assessed((b"Cache-Control", b"must-understand, max-age=60"), status=299) is None
    assert assessed((b"Cache-Control", b"must-understand, private, no-store, max-age=60")) is None


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (b"max-age=60", False),
        (b"", False),
        (b"no-cache", False),
        (b"proxy-revalidate, max-age=60", False),
        (b'private="x", max-age=60', False),
        (b"public", True),
        (b"s-maxage=60", True),
        (b"must-revalidate, max-age=60", True),
        (b"no-cache, public", True),
        (b"private, public", False),
    ],
)
def test_an_answer_to_a_credential_is_stored_if_the_origin_allows_it(value: bytes, *, stored: bool) -> None:
    """RFC 9111 section 3.5."""
    fields = [(b"Cache-Control", value), (b"ETag", b'"a"')]
    assert (assessed(*fields, is_authorized=True) is not None) is stored
    assert assessed(*fields, is_authorized=True, origin="ignore") is None


# Heuristic freshness (section 4.2.2)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([date(-1000.0, b"Last-Modified")], 100.0),
        ([date(-1000.0, b"Last-Modified"), date(-500.0)], 50.0),
        ([date(-1000.0, b"Last-Modified"), (b"Date", b"x")], 100.0),
        ([date(-30 * 86400.0, b"Last-Modified")], 86400.0),
        ([date(0.0, b"Last-Modified")], 0.0),
        ([date(60.0, b"Last-Modified")], 0.0),
        ([(b"Last-Modified", b"yesterday")], 0.0),
        ([date(-1000.0, b"Last-Modified"), date(-2000.0, b"Last-Modified")], 0.0),
        ([(b"ETag", b'"a"')], 0.0),
    ],
)
def test_without_a_ttl_a_tenth_of_the_time_without_change(fields: list[RawField], seconds: float) -> None:
    """RFC 9111 section 4.2.2."""
    found = assessed(*fields, ttl=0.0)
    assert found is not None
    assert found.lifetime == seconds


def test_a_guessed_lifetime_counts_from_age_zero_and_is_not_stretched() -> None:
    """RFC 9111 section 4.2.3; RFC 5861 section 3: nobody has allowed that."""
    found = assessed(
        date(-1000.0, b"Last-Modified"), date(-10.0), (b"Age", b"30"), requested_at=NOW - 1.0, ttl=0.0
    )
    assert found == Freshness(99.0, 31.0, stale_while_revalidate=0.0)
    said = (b"Cache-Control", b"stale-while-revalidate=7")
    asked_for = assessed(date(-1000.0, b"Last-Modified"), said, ttl=0.0)
    assert asked_for is not None
    assert asked_for.stale_while_revalidate == 7.0


def test_nothing_is_guessed_beside_a_stated_lifetime() -> None:
    """RFC 9111 section 4.2.2."""
    modified = date(-1000.0, b"Last-Modified")
    assert lifetime_of((b"Cache-Control", b"max-age=x"), modified) == 0.0
    found = assessed((b"Expires", b"0"), modified, ttl=0.0)
    assert found is not None
    assert found.lifetime == 0.0


def test_an_answer_that_says_nothing_at_all_is_not_stored_without_a_ttl() -> None:
    assert assessed(ttl=0.0) is None
    assert assessed((b"Cache-Control", b"public"), ttl=0.0) is None
    assert assessed((b"Cache-Control", b"max-age=0"), ttl=0.0) is not None  # for when the upstream fails


# What a store that selects by Vary may have (section 4.1), and cookies (section 7.3)


@pytest.mark.parametrize("value", [b"Accept", b"Cookie", b"X-A, X-B", b"", b"Accept-Encoding"])
def test_a_store_that_selects_by_vary_has_any(value: bytes) -> None:
    """RFC 9111 section 4.1."""
    assert assessed((b"Vary", value), varies=True) is not None


@pytest.mark.parametrize(
    "lines", [[b"*"], [b"Accept, *"], [b"*, Accept"], [b"Accept", b"*"], [b"*", b"Accept"]]
)
@pytest.mark.parametrize("origin", ["honour", "ignore"])
def test_nobody_can_select_by_a_star(lines: list[bytes], origin: str) -> None:
    """RFC 9111 section 4.1."""
    said = (b"Cache-Control", b"public, max-age=60")
    assert assessed(said, *((b"Vary", line) for line in lines), varies=True, origin=origin) is None


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ([], False),
        ([(b"Cache-Control", b"public")], False),
        ([(b"Cache-Control", b"no-cache"), (b"ETag", b'"a"')], False),
        ([(b"CDN-Cache-Control", b"public")], False),
        ([date(-1000.0, b"Last-Modified")], False),
        ([(b"Cache-Control", b"max-age=60")], True),
        ([(b"Cache-Control", b"s-maxage=60")], True),
        ([(b"CDN-Cache-Control", b"max-age=60")], True),
        ([expires(60.0)], True),
        ([(b"Cache-Control", b"private, max-age=60")], False),
    ],
)
@pytest.mark.parametrize("ttl", [0.0, TTL])
def test_an_answer_may_be_stored_without_its_cookie(
    fields: list[RawField], ttl: float, *, stored: bool
) -> None:
    """RFC 9111 section 7.3: if its origin has thought about caches."""
    cookie = (b"Set-Cookie", b"a=b")
    assert (assessed(cookie, *fields, keeps_cookies_out=True, ttl=ttl) is not None) is stored
    assert assessed(cookie, *fields, ttl=ttl) is None


def test_a_ttl_that_stands_for_the_origins_word_is_for_some_statuses() -> None:
    """RFC 9110 section 15.1: who has the origin ignored does not want its errors."""
    assert assessed(status=404, origin="ignore") == Freshness(TTL)
    for status in (302, 401, 500, 503, 304, 599):
        assert assessed((b"Cache-Control", b"public"), status=status, origin="ignore") is None


# Targeted directives (RFC 9213)


@pytest.mark.parametrize(
    ("plain", "value", "seconds"),
    [
        (b"max-age=1", b"max-age=60", 60.0),
        (b"no-store", b"max-age=60", 60.0),
        (b"private", b"max-age=60", 60.0),
        (b"max-age=1", b"max-age=60, s-maxage=30", 30.0),
        (b"max-age=60", b"no-store", None),
        (b"max-age=60", b"private", None),
        (b"max-age=1", b"max-age=60, no-store=?0", 60.0),
        (b"max-age=1", b"MAX-AGE=60", 1.0),
        (b"max-age=1", b'max-age="60"', 0.0),
        (b"max-age=1", b"max-age=60.5", 0.0),
        (b"max-age=1", b"max-age=60, no-store=1", None),
        (b"max-age=1", b"max-age=60, private=a", None),
        (b"max-age=1", b"", 1.0),
        (b"no-store", b"max-age=60, &", None),
    ],
)
def test_what_is_said_to_caches_like_this_comes_first(
    plain: bytes, value: bytes, seconds: float | None
) -> None:
    """RFC 9213 sections 2.1 and 2.2."""
    found = assessed((b"Cache-Control", plain), (b"CDN-Cache-Control", value), expires(5.0), ttl=0.0)
    assert (found and found.lifetime) == seconds


def test_beside_a_targeted_field_expires_is_ignored() -> None:
    """RFC 9213 section 2.2."""
    assert lifetime_of((b"CDN-Cache-Control", b"public"), expires(5.0)) == TTL
    said = [(b"Cache-Control", b"must-revalidate"), (b"CDN-Cache-Control", b"max-age=60")]
    found = assessed(*said)
    assert found is not None
    assert not found.must_revalidate
