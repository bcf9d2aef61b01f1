"""Key fields: which requests share a representation."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.fields import RawField
from proxy.core.http.vary import variant

KEY = frozenset({b"x-tenant", b"x-zone"})
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"X-Tenant", b"x-tenant", b"X-Zone", b"Accept"]), st.binary(max_size=3)),
    max_size=4,
)


def selecting(fields: list[RawField]) -> list[tuple[bytes, list[bytes]]]:
    """What two requests must have in common to share: per key field its values, in order."""
    return [(name, [value for key, value in fields if key.lower() == name]) for name in sorted(KEY)]


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
