"""What an unsafe request makes invalid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.fields import RawField
from proxy.core.http.invalidation import targets

ORIGINS = frozenset({b"http://o.example", b"https://s.example:8443"})


def named(value: bytes, target: bytes = b"/a/b?c=d") -> list[bytes]:
    """What is invalid beside the target."""
    return targets(target, [(b"Location", value)], origins=ORIGINS)[1:]


@pytest.mark.parametrize(
    ("target", "own"),
    [
        (b"/a", b"/a"),
        (b"/a/../B%2f?c=d&e", b"/a/../B%2f?c=d&e"),
        (b"//a", b"//a"),
        (b"/a?", b"/a?"),
        (b"http://anywhere/a?b", b"/a?b"),
        (b"HTTP://anywhere", b"/"),
        (b"/a#b", b"/a"),
    ],
)
def test_the_target_itself_is_invalid_as_it_is_spelled(target: bytes, own: bytes) -> None:
    """RFC 9111 section 4.4."""
    assert targets(target, [], origins=ORIGINS) == [own]


@pytest.mark.parametrize("target", [b"*", b"a", b"", b"ftp://o.example/a"])
def test_what_is_no_target_names_nothing(target: bytes) -> None:
    assert targets(target, [(b"Location", b"/a")], origins=ORIGINS) == []


def test_location_and_content_location_are_invalid_too() -> None:
    """RFC 9111 section 4.4."""
    fields: list[RawField] = [
        (b"content-location", b"/c"),
        (b"LOCATION", b" /l "),
        (b"Content-Location", b"/c2"),
        (b"X-Location", b"/x"),
        (b"Location", b"/a"),
    ]
    assert targets(b"/a", iter(fields), origins=ORIGINS) == [b"/a", b"/l", b"/c", b"/c2"]


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        (b"/x", b"/x"),
        (b"/x?y", b"/x?y"),
        (b"/x?", b"/x?"),
        (b"/x#f?g", b"/x"),
        (b"x", b"/a/x"),
        (b"x/", b"/a/x/"),
        (b"./x", b"/a/x"),
        (b"../x", b"/x"),
        (b"../../x", b"/x"),
        (b"..", b"/"),
        (b".", b"/a/"),
        (b"/x/./y/../z", b"/x/z"),
        (b"/x/..", b"/"),
        (b"/x//y", b"/x//y"),
        (b"/x/...", b"/x/..."),
        (b"?y", b"/a/b?y"),
        (b"/%7Ex", b"/%7Ex"),
        (b"/x|y", b"/x|y"),
        (b"http://o.example/x", b"/x"),
        (b"http://o.example", b"/"),
        (b"http://o.example?y", b"/?y"),
        (b"HTTP://O.Example:80/X", b"/X"),
        (b"http://o.example:/x", b"/x"),
        (b"http://o.example/x/../y", b"/y"),
        (b"https://s.example:8443/x", b"/x"),
        (b"//o.example/x", b"/x"),
        (b"//s.example:8443/x", b"/x"),
    ],
)
def test_a_reference_is_resolved_against_the_target(reference: bytes, meant: bytes) -> None:
    """RFC 3986 section 5.2."""
    assert named(reference) == [meant]


@pytest.mark.parametrize("reference", [b"", b"#f"])
def test_what_names_the_target_itself_names_nothing_more(reference: bytes) -> None:
    """RFC 3986 section 4.4."""
    assert named(reference) == []


def test_a_target_without_a_query_lends_none() -> None:
    assert named(b"?y", b"/a/b") == [b"/a/b?y"]
    assert named(b"x", b"http://h") == [b"/x"]


@pytest.mark.parametrize(
    "reference",
    [
        b"http://other.example/x",
        b"//other.example/x",
        b"https://o.example/x",
        b"http://o.example:8080/x",
        b"http://o.example:443/x",
        b"http://s.example:8443/x",
        b"http://u@o.example/x",
        b"http://o.example.other/x",
        b"ftp://o.example/x",
        b"http:/x",
        b"http:x",
        b"mailto:a@o.example",
        b"javascript:x",
    ],
)
def test_nobody_makes_invalid_what_is_of_another_origin(reference: bytes) -> None:
    """RFC 9111 section 4.4: else an origin could empty the cache of another."""
    assert named(reference) == []


@pytest.mark.parametrize(
    "reference", [b"/x y", b"/x\r\n", b"/x\0", b"/\x7f", b"/x\ty", b"http://o.example /x"]
)
def test_what_is_no_reference_names_nothing(reference: bytes) -> None:
    assert named(reference) == []


@given(st.binary(max_size=20) | st.text("/.?#:ax", max_size=12).map(str.encode))
def test_any_bytes_name_a_target_or_nothing(value: bytes) -> None:
    for found in named(value):
        assert found.startswith(b"/")
        assert not set(found) & set(b" \r\n\0#")
        assert not {b".", b".."} & set(found.partition(b"?")[0].split(b"/"))
