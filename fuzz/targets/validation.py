"""Validators: what is asked of the upstream, and whether a client's copy is still good.

The input is two heads, the client's or the 304's and the stored one, with an empty line between them.
"""

import re

from fuzz import headers
from proxy.core.http.fields import end_to_end, values
from proxy.core.http.validation import (
    conditions,
    freshened,
    has_validator,
    is_about,
    is_conditional,
    is_for_the_origin,
    is_not_modified,
    of_not_modified,
)

TOKENS = (*headers.TOKENS, b"\n\n", b'if-none-match: "a", W/"b"', b'etag: "a"', b"if-match: ", b"if-range: ")
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
    once = freshened(stored, request)
    assert freshened(once, request) == once
    assert values(once, b"content-length") == values(stored, b"content-length")
    assert {name.lower() for name, _ in of_not_modified(stored)} <= {name.lower() for name, _ in stored}
    for name, value in end_to_end(request):
        if name.lower() in {b"etag", b"expires", b"cache-control"}:
            assert (name, value) in once
    assert is_about(stored, [*_first(stored, b"etag"), *request])
    _check_tags(values(request, b"if-none-match"), stored)
    good = is_not_modified(request, stored, received_at=_NOW, now=_NOW)
    assert not good or is_conditional(request)
    assert is_not_modified([(b"if-none-match", b"*")], stored, received_at=_NOW, now=_NOW)


def _first(stored: list[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    """The first field of that name."""
    return [(name, value) for value in values(stored, name)[:1]]


def _check_tags(wanted: list[bytes], stored: list[tuple[bytes, bytes]]) -> None:
    own = values(stored, b"etag")[:1]
    if not wanted or not all(_TAGS.fullmatch(value) for value in wanted):
        return
    listed = {tag.removeprefix(b"W/") for value in wanted for tag in re.findall(_TAG, value)}
    expected = bool(own) and own[0].removeprefix(b"W/") in listed
    request = [(b"If-None-Match", value) for value in wanted]
    assert is_not_modified(request, stored, received_at=_NOW, now=_NOW) == expected
