"""Which answers may be stored, and for how long they are fresh."""

from typing import Literal

import pytest

from proxy.core.http.fields import RawField
from proxy.core.http.freshness import lifetime

TTL = 100.0


def lifetime_of(
    *fields: RawField,
    origin: Literal["honour", "ignore"] = "honour",
    ttl: float = TTL,
    jitter: float = 0.0,
    drawn: float = 0.0,
) -> float | None:
    return lifetime(iter(fields), ttl=ttl, jitter=jitter, origin=origin, rng=lambda: drawn)


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
        b'private="x-a"',
        b'no-cache="x-a"',
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
    "value",
    [
        b"max-age=0",
        b"s-maxage=0",
        b"s-maxage=0, max-age=60",
        b"max-age=-1",
        b"max-age=1.5",
        b"max-age",
        b"max-age=x",
        b"s-maxage",
    ],
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
        (b"Set-Cookie", b"a=b"),
        (b"Vary", b"*"),
    ],
)
def test_the_operator_can_have_the_origin_ignored(field: RawField) -> None:
    assert lifetime_of(field, origin="ignore") == TTL
