"""Key fields: which requests share a representation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.fields import RawField
from proxy.core.http.vary import nominated, selecting, variant

KEY = frozenset({b"x-tenant", b"x-zone"})
SECRET = b"a secret of 16 or"
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"X-Tenant", b"x-tenant", b"X-Zone", b"Accept"]), st.binary(max_size=3)),
    max_size=4,
)


def of_key(fields: list[RawField]) -> list[tuple[bytes, list[bytes]]]:
    """What two requests must have in common to share: per key field its values, in order."""
    return [(name, [value for key, value in fields if key.lower() == name]) for name in sorted(KEY)]


@settings(deadline=None)
@given(FIELDS, FIELDS)
def test_two_requests_share_exactly_when_their_key_fields_are_alike(
    one: list[RawField], two: list[RawField]
) -> None:
    """RFC 9111 section 4.1."""
    assert (variant(one, KEY) == variant(two, KEY)) is (of_key(one) == of_key(two))


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
    assert (digests[0] == digests[1]) is (of_key(one) == of_key(two))


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


# The origin's Vary


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], ()),
        ([b""], ()),
        ([b"Accept"], (b"accept",)),
        ([b"X-B, x-a , ,X-b"], (b"x-a", b"x-b")),
        ([b"X-B", b"X-A"], (b"x-a", b"x-b")),
        ([b"*"], None),
        ([b"Accept, *"], None),
        ([b"*, Accept"], None),
        ([b"Accept", b" * "], None),
        ([b"Accept", b",*,"], None),
        ([b"X-*"], (b"x-*",)),
    ],
)
def test_an_answer_nominates_fields(lines: list[bytes], names: tuple[bytes, ...] | None) -> None:
    """RFC 9110 section 12.5.5: with a star anywhere there is no telling."""
    assert nominated([(b"X", b"*"), *((b"vary", line) for line in lines)]) == names


def test_what_varies_with_nothing_has_one_representation() -> None:
    assert selecting([(b"Accept", b"x")], ()) == ""
    assert selecting([], (b"accept",)) != ""


def alike(name: bytes, one: list[bytes], two: list[bytes]) -> bool:
    digests = {selecting([(name, line) for line in lines], (name.lower(),)) for lines in (one, two)}
    return len(digests) == 1


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        (b"X-A", [b"1, 2"], [b"1,2"]),
        (b"X-A", [b"1, 2"], [b" 1\t, , 2 ,"]),
        (b"X-A", [b"1, 2"], [b"1", b"2"]),
        (b"X-A", [b""], [b" , "]),
        (b"X-A", [b'"1, 2",3'], [b'"1, 2" , 3']),
        (b"Accept-Language", [b"en-GB, DE"], [b"EN-gb,de"]),
        (b"Accept-Encoding", [b"GZIP;Q=0.5"], [b"gzip;q=0.5"]),
        (b"Accept-Charset", [b"UTF-8"], [b"utf-8"]),
        (b"Accept", [b"Text/HTML;q=1, */*"], [b"text/html;q=1,*/*"]),
    ],
)
def test_values_that_mean_the_same_match(name: bytes, one: list[bytes], two: list[bytes]) -> None:
    """RFC 9111 section 4.1."""
    assert alike(name, one, two)


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        (b"X-A", [b"1"], [b"2"]),
        (b"X-A", [b"1"], []),
        (b"X-A", [b""], []),
        (b"X-A", [b"a"], [b"A"]),
        (b"X-A", [b"1, 2"], [b"2, 1"]),
        (b"X-A", [b"1"], [b"1, 1"]),
        (b"X-A", [b"1 2"], [b"1  2"]),
        (b"X-A", [b"1 2"], [b"1, 2"]),
        (b"X-A", [b'"1,2"'], [b'"1, 2"']),
        (b"X-A", [b"1,1:2"], [b"1", b"11:2"]),
        (b"Accept-Language", [b"en, de"], [b"de, en"]),
        (b"Accept", [b"text/html;profile=A"], [b"text/html;profile=a"]),
        (b"Authorization", [b"Basic YQ=="], [b"Basic yq=="]),
    ],
)
def test_values_that_may_differ_do_not_match(name: bytes, one: list[bytes], two: list[bytes]) -> None:
    """RFC 9111 section 4.1: origins tell them apart, or could."""
    assert not alike(name, one, two)


NAMED = (b"x-tenant", b"x-zone")
CLEAN = st.lists(
    st.tuples(
        st.sampled_from([b"X-Tenant", b"x-tenant", b"x-zone"]), st.sampled_from([b"a", b"b", b"1:a", b"ab"])
    ),
    max_size=3,
)


@settings(deadline=None)
@given(CLEAN, CLEAN)
def test_requests_match_exactly_if_every_nominated_field_does(
    one: list[RawField], two: list[RawField]
) -> None:
    """RFC 9111 section 4.1: all of them."""

    def lists(fields: list[RawField]) -> list[list[bytes]]:
        return [[value for key, value in fields if key.lower() == name] for name in NAMED]

    assert (selecting(one, NAMED) == selecting(two, NAMED)) is (lists(one) == lists(two))


def test_a_value_can_not_stand_in_for_another_field() -> None:
    """RFC 9111 section 4.1."""
    swapped = {selecting([(b"x-tenant", b"a")], NAMED), selecting([(b"x-zone", b"a")], NAMED)}
    assert len(swapped) == 2
    assert "secret" not in selecting([(b"x-zone", b"secret")], NAMED)
