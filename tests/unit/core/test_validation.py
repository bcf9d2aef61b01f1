"""Validators: what the upstream is asked, what a 304 changes, what a client's own copy is worth."""

from email.utils import formatdate

import pytest

from proxy.core.http.fields import RawField
from proxy.core.http.validation import (
    CONDITIONAL,
    after_head,
    conditions,
    freshened,
    has_validator,
    is_about,
    is_conditional,
    is_for_the_origin,
    is_not_modified,
    of_not_modified,
    without_conditions,
    without_validators,
)

NOW = 1_700_000_000.0


def at(seconds: float) -> bytes:
    return formatdate(NOW + seconds, usegmt=True).encode()


def not_modified(request: list[RawField], stored: list[RawField], received: float = 0.0) -> bool:
    return is_not_modified(request, stored, received_at=NOW + received, now=NOW)


@pytest.mark.parametrize("name", [b"ETag", b"etag", b"Last-Modified"])
def test_what_can_be_validated(name: bytes) -> None:
    assert has_validator([(b"X", b"y"), (name, b"z")])
    assert not has_validator([(b"X", b"y")])


def test_what_is_stored_gives_the_conditions_of_the_next_request() -> None:
    """RFC 9111 section 4.3.1."""
    stored = [(b"ETag", b'W/"a"'), (b"X", b"y"), (b"last-modified", at(-60))]
    assert conditions(stored) == [(b"If-None-Match", b'W/"a"'), (b"If-Modified-Since", at(-60))]
    assert conditions([(b"X", b"y")]) == []


@pytest.mark.parametrize(
    ("stored", "received", "same"),
    [
        ([(b"ETag", b'"a"')], [(b"etag", b'"a"')], True),
        ([(b"ETag", b'"a"')], [(b"ETag", b'"b"')], False),
        ([(b"ETag", b'W/"a"')], [(b"ETag", b'"a"')], False),
        ([(b"ETag", b'"a"')], [(b"ETag", b'W/"a"')], True),
        ([(b"ETag", b'W/"a"')], [(b"ETag", b'W/"a"')], True),
        ([(b"ETag", b'W/"a"')], [(b"ETag", b'W/"b"')], False),
        ([(b"Last-Modified", at(0))], [(b"ETag", b'"b"')], False),
        ([(b"Last-Modified", at(0))], [(b"ETag", b'W/"b"')], False),
        (
            [(b"ETag", b'"a"'), (b"Last-Modified", at(0))],
            [(b"ETag", b'"a"'), (b"Last-Modified", at(9))],
            True,
        ),
        ([(b"Last-Modified", at(0))], [(b"last-modified", at(0))], True),
        ([(b"Last-Modified", at(0))], [(b"Last-Modified", at(9))], False),
        ([(b"ETag", b'"a"'), (b"Last-Modified", at(0))], [(b"Last-Modified", at(9))], False),
        ([(b"ETag", b'"a"')], [(b"Last-Modified", at(9))], True),
        ([(b"ETag", b'"a"')], [], True),
        ([], [], True),
    ],
)
def test_a_304_is_about_what_has_its_validator(
    stored: list[RawField], received: list[RawField], *, same: bool
) -> None:
    """RFC 9111 section 4.3.4."""
    assert is_about(stored, received) is same


def test_a_304_replaces_what_it_names() -> None:
    """RFC 9111 sections 3.1 and 3.2: but for the fields of the body that we have, of the connection, and cookies."""
    stored = [
        (b"Content-Type", b"application/json"),
        (b"Content-Encoding", b"br"),
        (b"ETag", b'"a"'),
        (b"X-Kept", b"1"),
        (b"X-New", b"old"),
        (b"Date", at(-60)),
    ]
    received = [
        (b"Connection", b"x-hop"),
        (b"X-Hop", b"1"),
        (b"Content-Type", b"text/html"),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-MD5", b"x"),
        (b"Content-Range", b"bytes 0-4/9"),
        (b"Set-Cookie", b"a=b"),
        (b"x-new", b"new"),
        (b"x-new", b"newer"),
        (b"Cache-Control", b"max-age=5"),
        (b"Date", at(0)),
    ]
    assert freshened(stored, received) == (
        (b"Content-Encoding", b"br"),
        (b"ETag", b'"a"'),
        (b"X-Kept", b"1"),
        (b"Content-Type", b"text/html"),
        (b"x-new", b"new"),
        (b"x-new", b"newer"),
        (b"Cache-Control", b"max-age=5"),
        (b"Date", at(0)),
    )


def test_the_time_of_the_old_answer_does_not_outlive_a_304() -> None:
    """RFC 9111 section 4.2.3: else the new one would be as old as the first."""
    assert freshened([(b"Date", at(-60)), (b"Age", b"9")], []) == ()


@pytest.mark.parametrize(
    ("wanted", "etag", "same"),
    [
        (b'"a"', b'"a"', True),
        (b'"b"', b'"a"', False),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'"b", "a"', b'"a"', True),
        (b'"b",W/"a" ,"c"', b'"a"', True),
        (b'"x, \\"a"', b'"a"', False),
        (b'"a, b"', b'"a, b"', True),
        (b"*", b'"a"', True),
        (b"a", b'"a"', False),
        (b"", b'"a"', False),
        (b'w/"a"', b'"b"', False),
    ],
)
def test_if_none_match_is_compared_weakly(wanted: bytes, etag: bytes, *, same: bool) -> None:
    """RFC 9110 sections 8.8.3.2 and 13.1.2."""
    assert not_modified([(b"If-None-Match", wanted)], [(b"ETag", etag)]) is same


def test_if_none_match_over_several_lines_is_one_list() -> None:
    lines = [(b"If-None-Match", b'"b"'), (b"if-none-match", b'"a"')]
    assert not_modified(lines, [(b"ETag", b'"a"')])


def test_without_an_etag_only_a_star_matches() -> None:
    assert not_modified([(b"If-None-Match", b"*")], [])
    assert not not_modified([(b"If-None-Match", b'"a"')], [])


def test_if_none_match_comes_before_if_modified_since() -> None:
    """RFC 9110 section 13.1.3."""
    request = [(b"If-None-Match", b'"b"'), (b"If-Modified-Since", at(0))]
    assert not not_modified(request, [(b"ETag", b'"a"'), (b"Last-Modified", at(-60))])


@pytest.mark.parametrize(
    ("stored", "since", "same"),
    [
        ([(b"Last-Modified", at(-60))], at(-60), True),
        ([(b"Last-Modified", at(-60))], at(-30), True),
        ([(b"Last-Modified", at(-60))], at(-61), False),
        ([(b"Last-Modified", at(-10)), (b"Date", at(-60))], at(-30), False),
        ([(b"Date", at(-60))], at(-60), True),
        ([(b"Date", at(-60))], at(-61), False),
        ([], at(0), True),
        ([], at(-1), False),
        ([(b"Last-Modified", b"x"), (b"Date", at(-60))], at(-60), True),
        ([(b"Last-Modified", at(-60))], b"yesterday", False),
    ],
)
def test_if_modified_since(stored: list[RawField], since: bytes, *, same: bool) -> None:
    """RFC 9111 section 4.3.2."""
    assert not_modified([(b"If-Modified-Since", since)], stored) is same


def test_two_dates_are_none() -> None:
    lines = [(b"If-Modified-Since", at(0)), (b"If-Modified-Since", at(0))]
    assert not not_modified(lines, [(b"Last-Modified", at(-60))])


def test_a_request_without_conditions_gets_the_whole_answer() -> None:
    assert not not_modified([(b"Accept", b"*/*")], [(b"ETag", b'"a"')])


@pytest.mark.parametrize(
    ("name", "any_", "origins"),
    [
        (b"If-Match", True, True),
        (b"if-unmodified-since", True, True),
        (b"If-Range", True, False),
        (b"If-None-Match", True, False),
        (b"If-Modified-Since", True, False),
        (b"Range", False, False),
    ],
)
def test_which_conditions_are_for_whom(name: bytes, *, any_: bool, origins: bool) -> None:
    """RFC 9110 section 13.2.1."""
    assert is_conditional([(name, b"x")]) is any_
    assert is_for_the_origin([(name, b"x")]) is origins


def test_a_304_carries_what_a_cache_needs() -> None:
    """RFC 9110 section 15.4.5."""
    fields = [(b"ETag", b'"a"'), (b"Content-Type", b"x"), (b"vary", b"Origin"), (b"X-Own", b"1")]
    assert of_not_modified(fields) == [(b"ETag", b'"a"'), (b"vary", b"Origin")]


@pytest.mark.parametrize(
    ("received", "meaning"),
    [
        ([], "update"),
        ([(b"ETag", b'"a"')], "update"),
        ([(b"etag", b'"b"')], "invalidate"),
        ([(b"ETag", b'W/"a"')], "invalidate"),
        ([(b"Last-Modified", at(-60))], "update"),
        ([(b"Last-Modified", at(-59))], "invalidate"),
        ([(b"Content-Length", b"9")], "update"),
        ([(b"Content-Length", b"10")], "invalidate"),
        ([(b"Content-Length", b"x")], "invalidate"),
        ([(b"ETag", b'"a"'), (b"Content-Length", b"10")], "invalidate"),
        ([(b"ETag", b'"a"'), (b"Last-Modified", at(0))], "invalidate"),
        ([(b"X-New", b"1")], "update"),
    ],
)
def test_a_head_updates_or_invalidates(received: list[RawField], meaning: str) -> None:
    """RFC 9111 section 4.3.5."""
    stored = [(b"ETag", b'"a"'), (b"Last-Modified", at(-60))]
    assert after_head(stored, 9, iter(received)) == meaning


def test_a_head_that_has_a_validator_where_there_was_none_invalidates() -> None:
    """RFC 9111 section 4.3.5."""
    assert after_head([], 9, [(b"ETag", b'"a"')]) == "invalidate"


def test_a_request_can_be_made_one_for_the_whole() -> None:
    names = [
        b"If-Match",
        b"If-None-Match",
        b"If-Modified-Since",
        b"If-Unmodified-Since",
        b"If-Range",
        b"Range",
    ]
    fields = [(b"Accept", b"x"), *((name, b"x") for name in names), (b"X-Range", b"y")]
    assert without_conditions(iter(fields)) == [(b"Accept", b"x"), (b"X-Range", b"y")]
    assert {name.lower() for name in names} == CONDITIONAL


def test_what_is_within_an_answer_does_not_have_its_validators() -> None:
    fields = [(b"etag", b'"a"'), (b"X", b"y"), (b"Last-Modified", at(0))]
    assert without_validators(fields) == ((b"X", b"y"),)
