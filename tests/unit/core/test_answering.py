"""How a stored answer meets a request."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.answering import Answered, answered
from proxy.core.http.fields import RawField

NOW = 1_700_000_000.0
BODY = b"0123456789"
STORED: list[RawField] = [
    (b"Content-Type", b"text/plain"),
    (b"ETag", b'"a"'),
    (b"Last-Modified", formatdate(NOW - 60, usegmt=True).encode()),
    (b"Date", formatdate(NOW - 9, usegmt=True).encode()),
    (b"Cache-Control", b"max-age=60"),
    (b"Content-MD5", b"x"),
    (b"Content-Digest", b"y"),
    (b"Repr-Digest", b"z"),
]
WITHOUT_DIGESTS = [field for field in STORED if field[0] not in {b"Content-MD5", b"Content-Digest"}]
PART = [*STORED, (b"Content-Range", b"bytes 3-6/10")]
SINCE = (b"If-Modified-Since", formatdate(NOW - 30, usegmt=True).encode())


def answer(
    *request: RawField,
    method: str = "GET",
    status: int = 200,
    stored: list[RawField] = STORED,
    body: bytes = BODY,
) -> Answered | None:
    return answered(
        method, iter(request), status=status, stored=iter(stored), body=body, received_at=NOW - 9, now=NOW
    )


def told(found: Answered | None, name: bytes) -> list[bytes]:
    assert found is not None
    return [value for key, value in found.fields if key == name]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 301, 404, 500, 599])
def test_a_plain_request_gets_what_is_stored(method: str, status: int) -> None:
    assert answer(method=method, status=status) == (status, STORED, BODY)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", [(b"If-None-Match", b'W/"a"'), (b"If-None-Match", b"*"), SINCE])
def test_a_copy_that_is_good_is_confirmed(method: str, condition: RawField) -> None:
    """RFC 9111 section 4.3.2; RFC 9110 section 15.4.5."""
    found = answer(condition, (b"Range", b"bytes=0-1"), method=method)
    assert found is not None
    assert (found.status, found.body) == (304, b"")
    assert {name for name, _ in found.fields} == {b"ETag", b"Last-Modified", b"Date", b"Cache-Control"}


@pytest.mark.parametrize(
    ("status", "confirmed"),
    [(200, 304), (203, 304), (300, 300), (301, 301), (404, 404), (412, 412), (500, 500)],
)
def test_only_of_a_success_there_is_a_copy_to_confirm(status: int, confirmed: int) -> None:
    """RFC 9110 section 13.2.1."""
    found = answer((b"If-None-Match", b'"a"'), SINCE, status=status)
    assert found is not None
    assert found.status == confirmed


def test_a_condition_that_does_not_hold_lets_the_range_count() -> None:
    """RFC 9110 section 13.2.2."""
    found = answer((b"If-None-Match", b'"b"'), SINCE, (b"Range", b"bytes=0-1"))
    assert found is not None
    assert (found.status, found.body) == (206, b"01")


@pytest.mark.parametrize(
    ("value", "body", "part"),
    [
        (b"bytes=0-3", b"0123", b"bytes 0-3/10"),
        (b"bytes=7-", b"789", b"bytes 7-9/10"),
        (b"bytes=-2", b"89", b"bytes 8-9/10"),
        (b"bytes=5-100", b"56789", b"bytes 5-9/10"),
        (b"bytes=0-", BODY, b"bytes 0-9/10"),
    ],
)
def test_a_part_is_cut_out_of_the_whole(value: bytes, body: bytes, part: bytes) -> None:
    """RFC 9110 sections 14.2 and 15.3.7; RFC 9530 section 2: a digest of the content is of the whole one."""
    assert answer((b"Range", value)) == (206, [*WITHOUT_DIGESTS, (b"Content-Range", part)], body)


@pytest.mark.parametrize("value", [b"bytes=10-", b"bytes=10-12", b"bytes=-0"])
def test_a_range_beyond_the_end_is_told_where_that_is(value: bytes) -> None:
    """RFC 9110 section 15.5.17. Nothing goes with it by which it would be stored."""
    dates = [field for field in STORED if field[0] == b"Date"]
    assert answer((b"Range", value)) == (416, [*dates, (b"Content-Range", b"bytes */10")], b"")


@pytest.mark.parametrize("value", [b"bytes=0-1,3-4", b"bytes=4-3", b"items=0-1", b"bytes=x"])
def test_a_range_that_we_do_not_know_is_ignored(value: bytes) -> None:
    """RFC 9110 section 14.2."""
    assert answer((b"Range", value)) == (200, STORED, BODY)


def test_ranges_are_of_a_get_and_of_a_200() -> None:
    """RFC 9110 section 14.2."""
    wanted = (b"Range", b"bytes=0-1")
    assert answer(wanted, method="HEAD") == (200, STORED, BODY)
    for status in (203, 301, 404, 500):
        assert answer(wanted, status=status) == (status, STORED, BODY)


@pytest.mark.parametrize(("if_range", "status"), [(b'"a"', 206), (b'"b"', 200), (b'W/"a"', 200)])
def test_a_range_counts_if_its_condition_holds(if_range: bytes, status: int) -> None:
    """RFC 9110 section 13.1.5."""
    found = answer((b"Range", b"bytes=0-1"), (b"If-Range", if_range))
    assert found is not None
    assert found.status == status
    beyond = answer((b"Range", b"bytes=99-"), (b"If-Range", if_range))
    assert beyond is not None
    assert beyond.status == (416 if status == 206 else 200)


@pytest.mark.parametrize(
    ("value", "body", "part"),
    [
        (b"bytes=3-6", b"3456", b"bytes 3-6/10"),
        (b"bytes=4-5", b"45", b"bytes 4-5/10"),
        (b"bytes=6-6", b"6", b"bytes 6-6/10"),
    ],
)
def test_a_stored_part_answers_what_lies_within_it(value: bytes, body: bytes, part: bytes) -> None:
    """RFC 9111 section 3.3."""
    found = answer((b"Range", value), status=206, stored=PART, body=b"3456")
    assert found == (206, [*WITHOUT_DIGESTS, (b"Content-Range", part)], body)


@pytest.mark.parametrize(
    "value", [b"bytes=2-5", b"bytes=3-7", b"bytes=5-", b"bytes=-4", b"bytes=10-", b"bytes=3-4,6-6"]
)
def test_a_stored_part_answers_nothing_beyond_it(value: bytes) -> None:
    """RFC 9111 section 3.3."""
    assert answer((b"Range", value), status=206, stored=PART, body=b"3456") is None


@pytest.mark.parametrize("value", [b"bytes=5-", b"bytes=-5"])
def test_a_stored_end_answers_what_asks_for_the_end(value: bytes) -> None:
    """RFC 9111 section 3.3."""
    end = [*STORED, (b"Content-Range", b"bytes 4-9/10")]
    found = answer((b"Range", value), status=206, stored=end, body=b"456789")
    assert told(found, b"Content-Range") == [b"bytes 5-9/10"]


def test_where_the_end_is_not_known_nothing_counts_from_it() -> None:
    """RFC 9110 section 14.4."""
    part = [*STORED, (b"Content-Range", b"bytes 3-6/*")]
    for value in (b"bytes=5-", b"bytes=-1", b"bytes=3-7"):
        assert answer((b"Range", value), status=206, stored=part, body=b"3456") is None
    found = answer((b"Range", b"bytes=4-6"), status=206, stored=part, body=b"3456")
    assert told(found, b"Content-Range") == [b"bytes 4-6/*"]


@pytest.mark.parametrize(
    ("method", "request_", "body"),
    [
        ("GET", [], b"3456"),
        ("GET", [(b"Range", b"bytes=x")], b"3456"),
        ("GET", [(b"Range", b"bytes=4-5"), (b"If-Range", b'"b"')], b"3456"),
        ("GET", [(b"Range", b"bytes=4-5")], b"345"),
        ("HEAD", [], b"3456"),
        ("HEAD", [(b"Range", b"bytes=4-5")], b"3456"),
        ("HEAD", [(b"If-None-Match", b'"a"')], b"3456"),
    ],
)
def test_a_stored_part_is_not_the_whole(method: str, request_: list[RawField], body: bytes) -> None:
    """RFC 9111 section 3.3; nor of any use if it is not as long as it says."""
    assert answer(*request_, method=method, status=206, stored=PART, body=body) is None


def test_a_part_that_does_not_say_which_is_of_no_use() -> None:
    """RFC 9110 section 14.4."""
    assert answer((b"Range", b"bytes=0-3"), status=206, stored=STORED, body=b"3456") is None


def test_a_stored_part_confirms_a_copy() -> None:
    """RFC 9111 section 4.3.2."""
    found = answer((b"If-None-Match", b'"a"'), status=206, stored=PART, body=b"3456")
    assert found is not None
    assert (found.status, found.body) == (304, b"")


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 9), st.integers(0, 9))
def test_a_part_says_the_same_as_the_whole(one: int, other: int, first: int, last: int) -> None:
    """RFC 9111 section 3.3."""
    wanted = (b"Range", b"bytes=%d-%d" % (min(one, other), max(one, other)))
    first, last = min(first, last), max(first, last)
    part = [*STORED, (b"Content-Range", b"bytes %d-%d/10" % (first, last))]
    found = answer(wanted, status=206, stored=part, body=BODY[first : last + 1])
    assert found is None or found == answer(wanted)
