"""Validators: what is asked of the upstream, and whether a client's copy is still good.

The input is two heads, the client's or the 304's and the stored one, with an empty line between them.
"""

import re

from fuzz import headers
from proxy.core.http.fields import RawField, end_to_end, values
from proxy.core.http.validation import (
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
)

TOKENS = (
    *headers.TOKENS, b"\n\n", b'if-none-match: "a", W/"b"', b'etag: "a"', b"if-match: ", b"if-range: ", b"range: x",
    b"content-type: a", b"content-encoding: b", b"content-length: 5", b"age: 7", b"connection: etag",
)  # fmt: skip
_Fields = list[RawField]
_OF_THE_BODY = (b"content-length", b"content-encoding", b"content-md5", b"content-range", b"set-cookie")
"""What a 304 does not change, though it may bear it; and a cookie, which is nobody else's."""
_ASKING_FOR_LESS = (
    *(b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"),
    b"range",
)
_NOW = 1_767_225_600.0
_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rb"[ \t]*" + _TAG + rb"(?:[ \t]*,[ \t]*" + _TAG + rb")*[ \t]*")


def fuzz_one(data: bytes) -> None:
    """A 304 applied twice changes nothing more; a copy is good for who has it; tags agree with their grammar."""
    first, _, second = data.partition(b"\n\n")
    request, stored = headers.fields_of(first), headers.fields_of(second)
    asked = conditions(stored)
    assert bool(asked) == has_validator(stored)
    assert is_conditional(asked) == bool(asked)
    assert not is_for_the_origin(asked)
    assert not is_for_the_origin(request) or is_conditional(request)
    rest = without_conditions(request)
    assert not is_conditional(rest)
    assert rest == [field for field in request if field[0].lower() not in _ASKING_FOR_LESS]
    _check_freshened(stored, request)
    _check_about(stored, request)
    _check_after_head(stored, request)
    assert {name.lower() for name, _ in of_not_modified(stored)} <= {name.lower() for name, _ in stored}
    _check_tags(values(request, b"if-none-match"), stored)
    good = is_not_modified(request, stored, received_at=_NOW, now=_NOW)
    assert not good or is_conditional(request)
    assert is_not_modified([(b"if-none-match", b"*")], stored, received_at=_NOW, now=_NOW)


def _check_freshened(stored: _Fields, received: _Fields) -> None:
    """What a 304 names replaces all that was stored of it, but for what is about a body (RFC 9111 section 3.2)."""
    once = freshened(stored, received)
    assert freshened(once, received) == once
    news = [field for field in end_to_end(received) if field[0].lower() not in _OF_THE_BODY]
    for name in {name.lower() for name, _ in (*stored, *received)}:
        told = [value for field, value in news if field.lower() == name]
        was = [] if name in {b"age", b"date"} else values(stored, name)
        assert values(once, name) == (told or was)


def _check_about(stored: _Fields, received: _Fields) -> None:
    """A strong entity tag must be ours, a weak one but for its weakness, then a date (section 4.3.4)."""
    theirs, ours = _first(received, b"etag"), _first(stored, b"etag")
    if theirs is None:
        theirs, ours = _first(received, b"last-modified"), _first(stored, b"last-modified")
        expected = theirs is None or ours in {None, theirs}
    elif theirs.startswith(b"W/"):
        expected = ours is not None and ours.removeprefix(b"W/") == theirs[2:]
    else:
        expected = ours == theirs
    assert is_about(stored, received) == expected
    assert is_about(stored, stored)


def _check_after_head(stored: _Fields, received: _Fields) -> None:
    """What a HEAD says must be what is stored, as far as it says anything (section 4.3.5)."""
    for length in (0, 5):
        held = {
            b"etag": _first(stored, b"etag"),
            b"last-modified": _first(stored, b"last-modified"),
            b"content-length": b"%d" % length,
        }
        is_same = all(_first(received, name) in {None, value} for name, value in held.items())
        assert after_head(stored, length, received) == ("update" if is_same else "invalidate")
    rest = [field for field in received if field[0].lower() != b"content-length"]
    assert after_head(stored, None, received) == after_head(stored, 5, rest)


def _first(fields: _Fields, name: bytes) -> bytes | None:
    """The first value of that name."""
    found = values(fields, name)
    return found[0] if found else None


def _check_tags(wanted: list[bytes], stored: _Fields) -> None:
    own = values(stored, b"etag")[:1]
    if not wanted or not all(_TAGS.fullmatch(value) for value in wanted):
        return
    listed = {tag.removeprefix(b"W/") for value in wanted for tag in re.findall(_TAG, value)}
    expected = bool(own) and own[0].removeprefix(b"W/") in listed
    request = [(b"If-None-Match", value) for value in wanted]
    assert is_not_modified(request, stored, received_at=_NOW, now=_NOW) == expected
