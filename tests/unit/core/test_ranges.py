"""Parts of a representation."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.fields import RawField
from proxy.core.http.ranges import (
    Part,
    Requested,
    combined,
    content_range,
    if_range_holds,
    missing,
    requested,
    strong_etag,
)

NOW = 1_700_000_000.0
BODY = bytes(range(20))
TAGGED: list[RawField] = [(b"ETag", b'"a"')]


def at(seconds: float) -> bytes:
    return formatdate(NOW + seconds, usegmt=True).encode()


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"bytes 0-4/10", Part(0, 4, 10)),
        (b"bytes 5-9/10", Part(5, 9, 10)),
        (b"bytes 0-0/1", Part(0, 0, 1)),
        (b" Bytes 2-3/* ", Part(2, 3, None)),
        (b"bytes 0-4/999999999999999", Part(0, 4, 999_999_999_999_999)),
    ],
)
def test_a_206_says_which_part_it_brings(value: bytes, part: Part) -> None:
    """RFC 9110 section 14.4."""
    found = content_range([(b"Content-Type", b"x"), (b"content-range", value)])
    assert found == part
    assert part.length == part.last - part.first + 1
    assert part.render().lower() == value.strip().lower()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b"bytes 0-4/10", b"bytes 0-4/10"],
        [b"bytes 0-4"],
        [b"bytes */10"],
        [b"bytes=0-4/10"],
        [b"bytes  0-4/10"],
        [b"bytes 0 - 4/10"],
        [b"bytes -4/10"],
        [b"bytes 0-/10"],
        [b"bytes 4-3/10"],
        [b"bytes 0-10/10"],
        [b"bytes 0-4/4"],
        [b"bytes 0-4/+10"],
        [b"bytes 0-4/1000000000000000"],
        [b"bytes 0-\xb2/10"],
        [b"items 0-4/10"],
        [b"bytes 0-4/10, bytes 5-9/10"],
    ],
)
def test_what_does_not_say_it_beyond_doubt_is_no_part(lines: list[bytes]) -> None:
    """RFC 9110 section 14.4: it must not be put together with anything."""
    assert content_range([(b"Content-Range", line) for line in lines]) is None


def test_several_parts_are_not_taken_apart() -> None:
    """RFC 9110 section 14.6."""
    fields = [(b"Content-Type", b" Multipart/Byteranges; boundary=x"), (b"Content-Range", b"bytes 0-4/10")]
    assert content_range(fields) is None


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"bytes=0-4", Requested(0, 4)),
        (b"Bytes=5-", Requested(5, None)),
        (b"bytes=-5", Requested(None, 5)),
        (b"bytes=-0", Requested(None, 0)),
        (b"\tbytes=3-3 ", Requested(3, 3)),
        (b"bytes=-" + b"9" * 15, Requested(None, 10**15 - 1)),
        (b"bytes=007-08", Requested(7, 8)),
        (b"bytes= ,5-9 , ", Requested(5, 9)),
        (b"bytes=0-" + b"9" * 5000, Requested(0, 10**15)),
    ],
)
def test_a_request_may_name_a_range(value: bytes, wanted: Requested) -> None:
    """RFC 9110 section 14.1.2."""
    assert requested([(b"range", value)]) == wanted


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b"bytes"],
        [b"bytes="],
        [b"bytes=-"],
        [b"bytes=4-3"],
        [b"bytes=0-1,3-4"],
        [b"bytes=0-1,x"],
        [b"bytes=0-1", b"bytes=0-1"],
        [b"items=0-1"],
        [b"bytes 0-1"],
        [b"bytes =0-1"],
        [b"bytes=0 - 1"],
        [b"bytes=a-b"],
        [b"bytes=--1"],
        [b"bytes=\xb2-3"],
    ],
)
def test_any_other_range_is_as_if_it_were_not_there(lines: list[bytes]) -> None:
    """RFC 9110 section 14.2."""
    assert requested([(b"Range", line) for line in lines]) is None


@pytest.mark.parametrize(
    ("wanted", "length", "part"),
    [
        (Requested(0, 4), 10, Part(0, 4, 10)),
        (Requested(9, 9), 10, Part(9, 9, 10)),
        (Requested(5, 20), 10, Part(5, 9, 10)),
        (Requested(5, None), 10, Part(5, 9, 10)),
        (Requested(None, 3), 10, Part(7, 9, 10)),
        (Requested(None, 30), 10, Part(0, 9, 10)),
        (Requested(10, 12), 10, None),
        (Requested(10, None), 10, None),
        (Requested(None, 0), 10, None),
        (Requested(0, 0), 0, None),
        (Requested(0, None), 0, None),
        (Requested(None, 5), 0, None),
    ],
)
def test_a_range_means_what_there_is_of_it(wanted: Requested, length: int, part: Part | None) -> None:
    """RFC 9110 sections 14.1.2 and 15.5.17."""
    assert wanted.within(length) == part


@pytest.mark.parametrize(
    ("if_range", "stored", "holds"),
    [
        ([], [], True),
        ([b'"a"'], [(b"ETag", b'"a"')], True),
        ([b' "a" '], [(b"ETag", b'"a"')], True),
        ([b'"b"'], [(b"ETag", b'"a"')], False),
        ([b'W/"a"'], [(b"ETag", b'W/"a"')], False),
        ([b'"a"'], [(b"ETag", b'W/"a"')], False),
        ([b'"a"'], [], False),
        ([b'"a"', b'"a"'], [(b"ETag", b'"a"')], False),
        ([b"*"], [(b"ETag", b"*")], False),
        ([at(-60)], [(b"Last-Modified", at(-60)), (b"Date", at(-59))], True),
        ([at(-60)], [(b"Last-Modified", at(-60)), (b"Date", b" " + at(-59))], True),
        ([at(-60)], [(b"Last-Modified", at(-60)), (b"Date", at(-60))], False),
        ([at(-60)], [(b"Last-Modified", at(-60))], False),
        ([at(-60)], [(b"Last-Modified", at(-60)), (b"Date", b"x")], False),
        ([at(-50)], [(b"Last-Modified", at(-60)), (b"Date", at(0))], False),
        ([at(-70)], [(b"Last-Modified", at(-60)), (b"Date", at(0))], False),
        ([b"x"], [(b"Last-Modified", b"x"), (b"Date", at(0))], False),
        ([at(-60)], [(b"Date", at(0))], False),
        ([b""], [], False),
    ],
)
def test_if_range_is_compared_strongly(if_range: list[bytes], stored: list[RawField], *, holds: bool) -> None:
    """RFC 9110 sections 13.1.5 and 8.8.2.2."""
    request = [(b"Range", b"bytes=0-1"), *((b"if-range", line) for line in if_range)]
    assert if_range_holds(iter(request), iter(stored)) is holds


@pytest.mark.parametrize(
    ("lines", "etag"),
    [
        ([], None),
        ([b'"a"'], b'"a"'),
        ([b'""'], b'""'),
        ([b'W/"a"'], None),
        ([b"a"], None),
        ([b'"a'], None),
        ([b'"a", "b"'], None),
        ([b'"a"', b'"a"'], None),
    ],
)
def test_which_tag_is_strong(lines: list[bytes], etag: bytes | None) -> None:
    """RFC 9110 section 8.8.3."""
    assert strong_etag([(b"ETag", line) for line in lines]) == etag


def put_together(
    held: Part, part: Part, held_fields: list[RawField] = TAGGED, fields: list[RawField] = TAGGED
) -> tuple[Part, bytes] | None:
    """Of the held one the bytes are their places in the whole, of the newer one 100 more."""
    return combined(held, cut(held), held_fields, part, newer(part), fields)


def cut(part: Part) -> bytes:
    return BODY[part.first : part.last + 1]


def newer(part: Part) -> bytes:
    return bytes(byte + 100 for byte in cut(part))


@pytest.mark.parametrize(
    ("held", "part", "whole", "body"),
    [
        (Part(0, 4, 10), Part(5, 9, 10), Part(0, 9, 10), b"\0\1\2\3\4ijklm"),
        (Part(5, 9, 10), Part(0, 4, 10), Part(0, 9, 10), b"defgh\5\6\7\x08\x09"),
        (Part(0, 4, 10), Part(3, 6, 10), Part(0, 6, 10), b"\0\1\2ghij"),
        (Part(3, 6, 10), Part(0, 4, 10), Part(0, 6, 10), b"defgh\5\6"),
        (Part(0, 6, 10), Part(2, 4, 10), Part(0, 6, 10), b"\0\1fgh\5\6"),
        (Part(2, 4, 10), Part(0, 6, 10), Part(0, 6, 10), b"defghij"),
        (Part(2, 4, 10), Part(2, 4, 10), Part(2, 4, 10), b"fgh"),
        (Part(0, 1, None), Part(2, 3, None), Part(0, 3, None), b"\0\1fg"),
    ],
)
def test_parts_that_touch_or_overlap_are_put_together(
    held: Part, part: Part, whole: Part, body: bytes
) -> None:
    """RFC 9111 section 3.4: where they overlap the newer one goes."""
    assert put_together(held, part) == (whole, body)


@pytest.mark.parametrize(
    ("held", "part"),
    [
        (Part(0, 4, 10), Part(6, 9, 10)),
        (Part(6, 9, 10), Part(0, 4, 10)),
        (Part(0, 4, 10), Part(5, 9, 11)),
        (Part(0, 4, None), Part(5, 9, 10)),
        (Part(0, 4, 10), Part(5, 9, None)),
    ],
)
def test_parts_with_a_gap_or_of_other_wholes_are_not(held: Part, part: Part) -> None:
    """RFC 9111 section 3.4."""
    assert put_together(held, part) is None


@pytest.mark.parametrize("tag", [None, b'W/"a"', b"a"])
def test_parts_are_not_put_together_without_a_strong_tag(tag: bytes | None) -> None:
    """RFC 9110 section 15.3.7.3: a date is not strong enough."""
    weak = [(b"Last-Modified", at(-60)), *([] if tag is None else [(b"ETag", tag)])]
    assert put_together(Part(0, 4, 10), Part(5, 9, 10), weak, weak) is None
    assert put_together(Part(0, 4, 10), Part(5, 9, 10), weak) is None
    assert put_together(Part(0, 4, 10), Part(5, 9, 10), fields=weak) is None


def test_parts_of_two_versions_are_not_put_together() -> None:
    """RFC 9111 section 3.4."""
    assert put_together(Part(0, 4, 10), Part(5, 9, 10), fields=[(b"ETag", b'"b"')]) is None


def test_a_body_that_is_not_of_its_length_is_not_put_together() -> None:
    """RFC 9112 section 8: what came short must not be taken for whole."""
    held, part = Part(0, 4, 10), Part(5, 9, 10)
    for held_body, body in ((b"abcd", b"fghij"), (b"abcde", b"fghi"), (b"abcdef", b"fghij"), (b"abcde", b"")):
        assert combined(held, held_body, TAGGED, part, body, TAGGED) is None


PARTS = st.tuples(st.integers(0, 19), st.integers(0, 19)).map(lambda ends: Part(min(ends), max(ends), 20))


@given(PARTS, PARTS)
def test_what_is_put_together_has_every_byte_in_its_place(held: Part, part: Part) -> None:
    """RFC 9111 section 3.4."""
    covered = set(range(held.first, held.last + 1)) | set(range(part.first, part.last + 1))
    is_one_piece = len(covered) == max(covered) - min(covered) + 1
    found = combined(held, cut(held), TAGGED, part, cut(part), TAGGED)
    if not is_one_piece:
        assert found is None
        return
    assert found is not None
    whole, body = found
    assert (whole.first, whole.last) == (min(covered), max(covered))
    assert body == cut(whole)
    assert whole.is_whole is (body == BODY)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (Part(0, 4, 10), b"bytes=5-"),
        (Part(0, 8, 10), b"bytes=9-"),
        (Part(5, 9, 10), b"bytes=0-4"),
        (Part(1, 9, 10), b"bytes=0-0"),
        (Part(0, 9, 10), None),
        (Part(2, 4, 10), None),
        (Part(0, 4, None), None),
        (Part(5, 9, None), None),
    ],
)
def test_what_would_make_a_part_whole(part: Part, value: bytes | None) -> None:
    """RFC 9111 section 3.3."""
    assert missing(part) == value


@given(PARTS, PARTS)
def test_a_part_contains_another_if_it_has_all_of_its_bytes(one: Part, other: Part) -> None:
    bytes_of = [set(range(part.first, part.last + 1)) for part in (one, other)]
    assert one.contains(other) is (bytes_of[0] >= bytes_of[1])


@given(PARTS)
def test_what_is_missing_makes_it_whole(part: Part) -> None:
    value = missing(part)
    wanted = requested([(b"Range", value)]) if value else None
    rest = wanted.within(20) if wanted else None
    if rest is None:
        assert part.is_whole or (part.first > 0 and part.last < 19)
    else:
        assert combined(part, cut(part), TAGGED, rest, cut(rest), TAGGED) == (Part(0, 19, 20), BODY)


@given(st.binary(max_size=20) | st.text("bytes=- ,0159/*", max_size=14).map(str.encode), st.integers(0, 30))
def test_any_bytes_are_a_range_or_none(value: bytes, length: int) -> None:
    wanted = requested([(b"Range", value)])
    part = wanted.within(length) if wanted else None
    if part is not None:
        assert 0 <= part.first <= part.last < length
        assert content_range([(b"Content-Range", part.render())]) == part
    brought = content_range([(b"Content-Range", b"bytes " + value)])
    assert brought is None or brought.length > 0
