"""Key fields: which requests share a representation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.fields import RawField
from proxy.core.http.vary import variant

KEY = frozenset({b"x-tenant", b"x-zone"})
SECRET = b"a secret of 16 or"
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"X-Tenant", b"x-tenant", b"X-Zone", b"Accept"]), st.binary(max_size=3)),
    max_size=4,
)


def selecting(fields: list[RawField]) -> list[tuple[bytes, list[bytes]]]:
    """What two requests must have in common to share: per key field its values, in order."""
    return [(name, [value for key, value in fields if key.lower() == name]) for name in sorted(KEY)]


@settings(deadline=None)
@given(FIELDS, FIELDS)
def test_two_requests_share_exactly_when_their_key_fields_are_alike(
    one: list[RawField], two: list[RawField]
) -> None:
    """RFC 9111 section 4.1."""
    assert (variant(one, KEY) == variant(two, KEY)) is (selecting(one) == selecting(two))


def test_a_request_without_key_fields_has_no_variant() -> None:
    assert variant([(b"Accept", b"x")], KEY) == ""
    assert variant([], KEY) == ""


def test_a_value_does_not_show() -> None:
    assert "secret" not in variant([(b"X-Tenant", b"secret")], KEY)
    assert len(variant([(b"X-Tenant", b"s" * 10_000)], KEY)) == 48


@settings(deadline=None)
@given(FIELDS, FIELDS)
def test_a_keyed_digest_tells_the_same_apart(one: list[RawField], two: list[RawField]) -> None:
    """Whoever has none of the fields is told from everybody who has, empty values included."""
    digests = [variant(fields, KEY, secret=SECRET, even_of_none=True) for fields in (one, two)]
    assert all(digests)
    assert (digests[0] == digests[1]) is (selecting(one) == selecting(two))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([(b"x-tenant", b"a")], [(b"x-tenant", b"a"), (b"x-tenant", b"a")]),
        ([(b"x-tenant", b"a"), (b"x-tenant", b"b")], [(b"x-tenant", b"b"), (b"x-tenant", b"a")]),
        ([(b"x-tenant", b"a"), (b"x-tenant", b"b")], [(b"x-tenant", b"a, b")]),
        ([(b"x-tenant", b"a")], [(b"x-tenant", b"A")]),
        ([(b"x-tenant", b"a")], [(b"x-zone", b"a")]),
        ([(b"x-tenant", b"")], [(b"x-zone", b"")]),
        ([(b"x-tenant", b"")], []),
        ([(b"x-tenant", b"a b")], [(b"x-tenant", b"a  b")]),
        ([(b"x-tenant", b"\xe9")], [(b"x-tenant", b"\xc3\xa9")]),
        ([(b"x-tenant", b"a1:b6:x-zone1:c")], [(b"x-tenant", b"a1:b"), (b"x-zone", b"c")]),
    ],
)
def test_what_an_upstream_could_tell_apart_is_apart(one: list[RawField], two: list[RawField]) -> None:
    """No two of these may be read as one, whatever stands in their values."""
    digests = {variant(fields, KEY, secret=SECRET, even_of_none=True) for fields in (one, two)}
    assert len(digests) == 2


def test_nobody_without_the_secret_can_try_values() -> None:
    fields = [(b"x-tenant", b"a")]
    digests = {variant(fields, KEY, secret=secret) for secret in (b"", SECRET, SECRET + b"2")}
    assert len(digests) == 3
    assert variant([], KEY, secret=SECRET) == ""
    assert variant([], KEY, secret=SECRET, even_of_none=True) != variant([], KEY, even_of_none=True)
