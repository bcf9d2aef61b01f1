"""A patch of an item (RFC 7396): the same as on values, and what it does not name keeps its bytes.

The input is both, with a NUL between them.
"""

from fuzz import plain_json
from proxy.core import json_split
from proxy.core.bulk import TooComplex
from proxy.core.merge import NotAnObject, merge_patch

TOKENS = (
    b'{"a":', b'"a"', b"\\u0061", b"{", b"}", b"[", b"]", b":", b",", b"null", b":null", b"\0", b"}\0{", b'{"a":{}}',
    b"\\ud800", b"1e999", b"-0", b"NaN", b" ",
)  # fmt: skip
_DEEP = 100
"""Nesting below which no parser may give up."""


def fuzz_one(data: bytes) -> None:
    """Compare with section 2 of the RFC, to the letter, on what the standard library reads."""
    item, _, patch = data.partition(b"\0")
    try:
        merged = merge_patch(item, patch)
    except TooComplex:
        assert max(plain_json.depth(item), plain_json.depth(patch)) > _DEEP
        return
    except NotAnObject:
        assert not (_is_object(item) and _is_object(patch))
        return
    assert _is_object(item)
    assert _is_object(patch)
    after, changes = plain_json.read(merged), plain_json.read(patch)
    assert _plain(after) == reference(_plain(plain_json.read(item)), _plain(changes))
    assert isinstance(changes, plain_json.Members)
    named = changes.last()
    kept, left = (
        [member for member in json_split.members(body) if member[0] not in named] for body in (item, merged)
    )
    assert left == kept
    assert merge_patch(merged, patch) == merged


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(plain_json.read(body), plain_json.Members)
    except (ValueError, RecursionError):
        return False


def _plain(value: object) -> object:
    """A value in which of a repeated member the last counts, and a number is no text."""
    if isinstance(value, plain_json.Members):
        return {name: _plain(inner) for name, inner in value.last().items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return (value,) if isinstance(value, plain_json.Number) else value


def reference(target: object, patch: object) -> object:
    """MergePatch as RFC 7396 section 2 writes it down."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = reference(result.get(name), value)
    return result
