"""An upstream's bulk answer: its items with their ids, and put together again."""

from config.json_pointer import Pointer
from fuzz import plain_json
from proxy.core.bulk import (
    AnswerShape,
    Item,
    NotAssemblable,
    NotUnderstood,
    TooComplex,
    is_implausible_absence,
    is_valid_id,
    take_requested,
)

TOKENS = (
    b'{"users":[', b'{"id":"', b'"}', b'],"count":', b'"count"', b'"id"', b'"users"', b"\\u0069d", b"\\ud800", b"1e999",
    b"123456789012345678901234567890", b"-0", b"null", b"{", b"}", b"[", b"]", b",", b":", b" ",
)  # fmt: skip
_SHAPE = AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id"))
_BARE = AnswerShape(items="users", count=None, id_pointer=Pointer.parse("/id"))
_DEEP = 100
"""Nesting below which no parser may give up."""
_MANY = 64
"""Members up to which none may."""


def fuzz_one(data: bytes) -> None:
    """Compare with the standard library's reading; what is understood is put together to the same."""
    try:
        found = _SHAPE.parse(data)
    except TooComplex:
        assert plain_json.depth(data) > _DEEP or data.count(b":") > _MANY
    except NotAssemblable as wide:
        assert _verdict(data) == "wide"
        if wide.items is not None:
            _check_items(data, wide.items)
    except NotUnderstood:
        assert _verdict(data) == "not ours"
    else:
        assert _verdict(data) == "ours"
        _check_items(data, found)
        _check_assembled(found)
        _check_taken(found)


def _listed(data: bytes) -> list[object]:
    envelope = plain_json.read(data)
    assert isinstance(envelope, plain_json.Members)
    users = envelope.last()["users"]
    assert isinstance(users, list)
    return users


def _check_items(data: bytes, items: list[Item]) -> None:
    listed = _listed(data)
    assert len(items) == len(listed)
    assert plain_json.is_slices_of([item.raw for item in items], data)
    for item, document in zip(items, listed, strict=True):
        assert plain_json.read(item.raw) == document
        assert isinstance(document, plain_json.Members)
        assert item.id == _id(document)
        assert item.document.keys() == document.last().keys()


def _check_assembled(items: list[Item]) -> None:
    for shape in (_SHAPE, _BARE):
        again = shape.parse(shape.assemble(item.raw for item in items))
        assert [(item.id, item.raw) for item in again] == [
            (item.id, item.raw.strip(b" \t\r\n")) for item in items
        ]


def _check_taken(items: list[Item]) -> None:
    ids = [item.id for item in items]
    asked = set(ids[::2])
    taken, repeated = take_requested(items, asked)
    assert taken.keys() == asked
    assert all(taken[one] is items[ids.index(one)] for one in asked)
    assert repeated == {one for one in asked if ids.count(one) > 1}
    assert not is_implausible_absence(held=len(asked), missing=0)


def _verdict(data: bytes) -> str:
    """`ours`, `wide` (to be passed on) or `not ours`, by the obvious reading."""
    try:
        envelope = plain_json.read(data)
    except (ValueError, RecursionError):
        return "not ours"
    if not isinstance(envelope, plain_json.Members):
        return "not ours"
    members = envelope.last()
    if len(members) != len(envelope):
        return "wide"
    users = members.get("users")
    if not isinstance(users, list) or isinstance(users, plain_json.Members):
        return "not ours"
    if any(not isinstance(user, plain_json.Members) or _id(user) is None for user in users):
        return "not ours"
    count = members.get("count", plain_json.Number(len(users)))
    counts = isinstance(count, plain_json.Number) and float(count) == len(users)
    return "ours" if counts and not members.keys() - {"users", "count"} else "wide"


def _id(user: plain_json.Members) -> str | None:
    value = user.last().get("id")
    if plain_json.is_integer(value):
        return "0" if value == "-0" else str(value)
    if isinstance(value, plain_json.Number):
        return None
    return value if isinstance(value, str) and is_valid_id(value) else None
