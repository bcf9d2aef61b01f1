"""Properties of the HTTP rules."""

import math

from hypothesis import given
from hypothesis import strategies as st

from proxy.core import cache_status, policy
from proxy.core.http.directives import PLAIN, RequestDirectives, delta_seconds, of_request, parse, qualified
from proxy.core.http.fields import RawField, end_to_end, render, request_fields, response_fields
from proxy.core.http.freshness import Rules, assess
from proxy.core.policy import Asked, Hit, Limits, Miss, Revalidate, Stale, decide, usable_until
from store.entry import Entry, Key

NAMES = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Connection",
        b"TE",
        b"Expect",
        b"Via",
        b"X-A",
        b"x-a",
        b"X-B",
        b"Content-Length",
        b"Cookie",
    ]
)
VALUES = st.binary(max_size=8).filter(lambda value: not set(value) & set(b"\r\n\0")) | st.sampled_from(
    [b"close", b"x-a", b"X-B, close", b"host", b"content-length"]
)
FIELDS: st.SearchStrategy[list[RawField]] = st.lists(st.tuples(NAMES, VALUES), max_size=10)
SECONDS = st.floats(0, 1e7)
CACHE_CONTROL = st.lists(
    st.sampled_from(
        [
            b"max-age=60",
            b"s-maxage=5",
            b"no-store",
            b"private",
            b'private="x"',
            b"no-cache",
            b"public",
            b'"',
            b"\\",
            b"=",
        ]
    )
    | st.binary(max_size=6),
    max_size=6,
).map(b",".join)


def is_subsequence(part: list[RawField], whole: list[RawField]) -> bool:
    rest = iter(whole)
    return all(field in rest for field in part)


@given(FIELDS)
def test_end_to_end_fields_are_a_subsequence_and_stay_so(fields: list[RawField]) -> None:
    """RFC 9110 section 7.6.1."""
    kept = end_to_end(fields)
    assert is_subsequence(kept, fields)
    assert end_to_end(kept) == kept
    assert [field for field in fields if field[0].lower() in {b"host", b"content-length"}] == [
        field for field in kept if field[0].lower() in {b"host", b"content-length"}
    ]
    assert not {name.lower() for name, _ in kept} & {b"connection", b"te"}


@given(FIELDS)
def test_a_forwarded_request_names_the_upstream_and_ends_with_our_via(fields: list[RawField]) -> None:
    """RFC 9110 sections 7.2 and 7.6.3."""
    sent = request_fields(fields, host=b"up", via=b"1.1 me")
    assert sent[-1] == (b"Via", b"1.1 me")
    hosts = [value for name, value in sent if name.lower() == b"host"]
    assert hosts
    assert set(hosts) == {b"up"}
    assert b"expect" not in {name.lower() for name, _ in sent}
    assert response_fields(fields, via=b"1.1 me") == [*end_to_end(fields), (b"Via", b"1.1 me")]


@given(FIELDS)
def test_a_head_has_one_line_for_each_field(fields: list[RawField]) -> None:
    """RFC 9112 section 2.1."""
    lines = render(b"HTTP/1.1 200 OK", fields).split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert lines[-2:] == [b"", b""]
    assert [tuple(line.split(b": ", 1)) for line in lines[1:-2]] == fields


@given(CACHE_CONTROL)
def test_any_cache_control_can_be_read(value: bytes) -> None:
    """RFC 9111 section 5.2."""
    found = parse([(b"Cache-Control", value)])
    assert all(name == name.lower().strip(b" \t") for name in found)
    assert 0 <= delta_seconds(found.get(b"max-age")) <= 2**31
    of_request([(b"Cache-Control", value)])


@given(st.text(max_size=30).map(str.encode) | st.integers(min_value=0).map(lambda number: b"%d" % number))
def test_delta_seconds_is_bounded(argument: bytes) -> None:
    """RFC 9111 section 1.2.2."""
    seconds = delta_seconds(argument)
    assert 0 <= seconds <= 2**31
    if argument.isdigit() and len(argument) <= 20:
        assert seconds == min(int(argument), 2**31)


@given(SECONDS, st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_jitter_only_ever_shortens(ttl: float, jitter: float, drawn: float) -> None:
    for origin in ("honour", "ignore"):
        fields = [(b"ETag", b'"a"')]  # without a ttl there is no other use for it
        found = assess(
            fields, Rules(ttl, jitter, origin), requested_at=0.0, received_at=0.0, rng=lambda: drawn
        )
        assert found is not None
        assert ttl * (1 - jitter) - 1e-6 <= found.lifetime <= ttl


@given(CACHE_CONTROL, SECONDS, st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_an_explicit_word_of_the_origin_is_never_stretched(
    value: bytes, ttl: float, jitter: float, drawn: float
) -> None:
    """RFC 9111 sections 3, 4.2.1 and 5.2.2."""
    fields = [(b"Cache-Control", value), (b"ETag", b'"a"')]
    fresh = assess(fields, Rules(ttl, jitter), requested_at=0.0, received_at=0.0, rng=lambda: drawn)
    found = parse(fields)
    whole = {name for name in (b"private", b"no-cache") if name in found and qualified(found[name]) is None}
    if b"no-store" in found or b"private" in whole:
        assert fresh is None
        return
    assert fresh is not None
    if b"no-cache" in whole:
        assert (fresh.lifetime, fresh.must_revalidate) == (0.0, True)
        return
    for name in (b"s-maxage", b"max-age"):
        if name in found:
            assert fresh.lifetime == float(delta_seconds(found[name]))
            return
    assert fresh.lifetime <= ttl


@given(st.floats(-1e9, 1e9))
def test_the_ttl_that_is_told_is_the_floor(ttl: float) -> None:
    """RFC 9211 section 2.4."""
    told = int(cache_status.hit(ttl).rsplit(b"=", 1)[1])
    assert told == math.floor(ttl)
    assert (told < 0) == (ttl < 0)


WINDOW = st.none() | SECONDS


@given(
    SECONDS, SECONDS, st.tuples(SECONDS, SECONDS), st.tuples(WINDOW, WINDOW), st.floats(-1e7, 1e8), st.data()
)
def test_nothing_stale_is_a_hit_and_nothing_unusable_is_kept(
    lifetime: float,
    initial_age: float,
    windows: tuple[float, float],
    stated: tuple[float | None, float | None],
    elapsed: float,
    data: st.DataObject,
) -> None:
    """RFC 9111 sections 4.2.3 and 4.2.4; RFC 5861."""
    entry = Entry(
        key=Key("user", "a"),
        item=b"{}",
        received_at=0.0,
        lifetime=lifetime,
        initial_age=initial_age,
        stale_while_revalidate=stated[0],
        stale_if_error=stated[1],
        must_revalidate=data.draw(st.booleans()),
    )
    limits = Limits(*windows)
    no_cache, backing_off = data.draw(st.booleans()), data.draw(st.booleans())
    asked = Asked(RequestDirectives(no_cache=True) if no_cache else PLAIN)
    decision = decide(entry, asked, limits, elapsed, backing_off=backing_off)
    assert entry.age(elapsed) >= 0
    assert entry.ttl(elapsed) <= lifetime
    match decision:
        case Hit():
            assert not no_cache
            assert entry.ttl(elapsed) > 0
        case Stale():
            assert not entry.must_revalidate
            assert not no_cache
            assert -max(policy.windows(entry, limits)) < entry.ttl(elapsed) <= 0
            assert not (decision.refresh and backing_off)
        case Revalidate():
            assert no_cache or not entry.must_revalidate
        case _:
            assert decision == Miss("expired")
            # A clock a little behind the receipt counts as age zero, and that is too old only where nothing is ever
            # usable; one that is far behind has come to the end of freshness, wherever `end` is.
            end = usable_until(entry, limits, negative_ttl=10.0)
            window = max(policy.windows(entry, limits))
            is_over = -entry.ttl(elapsed) >= window if elapsed < -60 else elapsed >= end - 1e-3
            assert is_over or no_cache or lifetime + window == 0
