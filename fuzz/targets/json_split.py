"""JSON taken apart: members and elements are the very bytes that stood there."""

from collections.abc import Callable

from fuzz import plain_json
from proxy.core import json_split

TOKENS = (
    b'{"a":',
    b'"a"',
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b",",
    b"\\ud800",
    b"1e999",
    b"-0",
    b"NaN",
    b"true",
    b"null",
)
_DEEP = 100
"""Nesting below which no parser may give up."""


def fuzz_one(data: bytes) -> None:
    """Compare with the standard library's reading of the whole."""
    try:
        whole: object = plain_json.read(data)
    except ValueError:
        whole = ValueError
    except RecursionError:
        whole = RecursionError
    is_object = isinstance(whole, plain_json.Members)
    members = _outcome(json_split.members, data)
    elements = _outcome(json_split.elements, data)
    if whole is RecursionError or RecursionError in {type(members), type(elements)}:
        assert plain_json.depth(data) > _DEEP
        return
    if is_object:
        assert isinstance(members, list)
        assert [(name, plain_json.read(raw)) for name, raw in members] == whole
        assert plain_json.is_slices_of([raw for _, raw in members], data) or _has_names_between(members, data)
    else:
        assert isinstance(members, ValueError)
    if isinstance(whole, list) and not is_object:
        assert isinstance(elements, list)
        assert [plain_json.read(raw) for raw in elements] == whole
        assert plain_json.is_slices_of(elements, data)
    else:
        assert isinstance(elements, ValueError)


def _outcome(split: Callable[[bytes], object], data: bytes) -> object:
    try:
        return split(data)
    except (ValueError, RecursionError) as error:
        return error


def _has_names_between(members: list[tuple[str, bytes]], data: bytes) -> bool:
    """Whether the values stand in the body one after the other."""
    at = 0
    for _, raw in members:
        assert raw == raw.strip(b" \t\r\n")
        found = data.find(raw, at)
        if found < 0:
            return False
        at = found + len(raw)
    return True
