"""CDN-Cache-Control instead of Cache-Control."""

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.http.directives import delta_seconds
from proxy.core.http.fields import RawField
from proxy.core.http.targeted import response_directives

PLAIN: RawField = (b"Cache-Control", b"max-age=1")
OF_PLAIN = {b"max-age": b"1"}


def targeted(*lines: bytes) -> tuple[dict[bytes, bytes | None], bool]:
    directives, is_targeted = response_directives([PLAIN, *((b"cdn-cache-CONTROL", line) for line in lines)])
    return dict(directives), is_targeted


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        (b"max-age=60", {b"max-age": b"60"}),
        (b" max-age=60,  no-store ", {b"max-age": b"60", b"no-store": None}),
        (b"max-age=0", {b"max-age": b"0"}),
        (b"s-maxage=5, stale-while-revalidate=6, stale-if-error=7", {
            b"s-maxage": b"5", b"stale-while-revalidate": b"6", b"stale-if-error": b"7",
        }),
        (b"must-revalidate=?1", {b"must-revalidate": None}),
        (b'no-cache="a, b"', {b"no-cache": b"a, b"}),
        (b'private="X-A"', {b"private": b"X-A"}),
        (b"max-age=60;a=b;c, private;d", {b"max-age": b"60", b"private": None}),
        (b"max-age=1, max-age=60", {b"max-age": b"60"}),
    ],
)  # fmt: skip
def test_a_targeted_field_stands_for_cache_control(
    value: bytes, directives: dict[bytes, bytes | None]
) -> None:
    """RFC 9213 sections 2.1 and 2.2; RFC 9651 section 3.2: parameters say nothing, the last of a key counts."""
    assert targeted(value) == (directives, True)


def test_what_is_not_for_us_is_not_there() -> None:
    """RFC 9213 section 2.1: no-store=?0 does not forbid anything. The field is there all the same."""
    assert targeted(b"no-store=?0, max-age=60") == ({b"max-age": b"60"}, True)
    assert targeted(b"no-store=?0") == ({}, True)


def test_directives_that_nobody_knows_do_no_harm() -> None:
    """RFC 9111 section 5.2.3."""
    for unknown in (b"a", b"a=b", b'a="b"', b"a=1.5", b"a=-1", b"a=(1 2)", b"a=:YQ==:", b"a=@1"):
        directives, is_targeted = targeted(unknown + b", max-age=60")
        assert (directives[b"max-age"], is_targeted) == (b"60", True)


def test_lines_are_one_field() -> None:
    """RFC 9651 section 4.2."""
    assert targeted(b"max-age=60", b"private") == ({b"max-age": b"60", b"private": None}, True)
    assert targeted(b"max-age=60", b"Private") == (OF_PLAIN, False)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"MaX-aGe=60",
        b"max-age=60,",
        b",max-age=60",
        b"max-age =60",
        b"max-age= 60",
        b"max-age=60 no-store",
        b"&, max-age=60",
        b"max-age=60, x=\xff",
        b'max-age=60, x="',
        b"max-age=9999999999999999",
    ],
)
def test_what_is_no_dictionary_is_ignored(value: bytes) -> None:
    """RFC 9213 section 2.1: or empty. What it says beside its mistake is not heard either."""
    assert targeted(value) == (OF_PLAIN, False)


@pytest.mark.parametrize("name", [b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"])
@pytest.mark.parametrize(
    "argument", [b"", b"=-1", b"=1.0", b'="1"', b"=a", b"=(1)", b"=:AQ==:", b"=?1", b"=@1"]
)
def test_seconds_are_an_integer(name: bytes, argument: bytes) -> None:
    """RFC 9213 section 2.1. Anything else is a time that is over, and none that Cache-Control has instead."""
    directives, is_targeted = targeted(b"private, " + name + argument)
    assert (set(directives), is_targeted) == ({b"private", name}, True)
    assert delta_seconds(directives[name]) == 0


@pytest.mark.parametrize(
    "name", [b"no-store", b"private", b"no-cache", b"must-revalidate", b"proxy-revalidate"]
)
@pytest.mark.parametrize("argument", [b"=1", b"=a", b"=1.5", b"=()", b'=("a")', b"=:YQ==:", b"=@1"])
def test_what_forbids_does_so_whatever_its_value(name: bytes, argument: bytes) -> None:
    """RFC 9213 section 2.1: as if it stood there bare."""
    assert targeted(b"max-age=60, " + name + argument) == ({b"max-age": b"60", name: None}, True)


@pytest.mark.parametrize("argument", [b"=1", b"=a", b"=1.5", b"=()", b"=?0"])
def test_what_allows_does_not_with_a_value_that_it_can_not_have(argument: bytes) -> None:
    """RFC 9213 section 2.1."""
    directives, is_targeted = targeted(b"max-age=60, public" + argument)
    assert is_targeted
    assert b"public" not in directives


def test_without_the_field_cache_control_counts() -> None:
    assert response_directives(iter([PLAIN])) == (OF_PLAIN, False)
    assert response_directives([]) == ({}, False)


@given(st.binary(max_size=30) | st.text('max-ge=s0159?."\\,;:()*@% \t', max_size=20).map(str.encode))
@example(b"a=@99999999999999")
@example(b'a=%"%ff"')
def test_any_bytes_can_be_read(value: bytes) -> None:
    directives, is_targeted = targeted(value)
    assert is_targeted or directives == OF_PLAIN


def test_nobody_waits_for_what_few_need() -> None:
    """An answer without the field costs no import."""
    program = (
        "import sys; from proxy.core.http.targeted import response_directives as read; "
        "read([(b'Cache-Control', b'no-store')]); assert 'http_sf' not in sys.modules; "
        "read([(b'CDN-Cache-Control', b'no-store')]); assert 'http_sf' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
