"""Properties of bulk bodies."""

import contextlib
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from config.json_pointer import Pointer
from proxy.core.bulk import (
    AnswerShape,
    Item,
    NotAssemblable,
    NotUnderstood,
    RequestShape,
    chunked,
    take_requested,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
IDS = TEXT.filter(lambda value: 0 < len(value.encode()) <= 1024)
MEMBERS = st.sampled_from(["userIds", "ids", "a.b", 'quo"te', "é"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
NEAR = st.dictionaries(
    st.sampled_from(["userIds", "UserIds", "x"]), st.lists(IDS | SCALARS, max_size=4), max_size=3
)
SPACE = st.text(" \t\r\n", max_size=3)
SHAPE = AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id"))
TOKENS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"userIds"',
        b'"\\u0075serIds"',
        b'"a"',
        b'"',
        b"1",
        b"null",
        b" ",
        b"\n",
        b"\\",
        b"\xff",
    ]
)


@given(MEMBERS, st.lists(IDS, min_size=1, max_size=50))
def test_what_is_rendered_is_parsed_again(member: str, ids: list[str]) -> None:
    shape = RequestShape(member)
    assert shape.parse(shape.render(ids)) == ids
    assert json.loads(shape.render(ids)) == {member: ids}


@given(st.lists(IDS, min_size=1, max_size=5), st.booleans(), st.none() | st.integers(0, 4), SPACE, SPACE)
def test_any_spelling_of_the_shape_is_ours(
    ids: list[str], escaped: bool, indent: int | None, before: str, after: str
) -> None:
    text = json.dumps({"userIds": ids}, ensure_ascii=escaped, indent=indent)
    assert RequestShape("userIds").parse((before + text + after).encode()) == ids


def strict(body: bytes) -> Any:
    """The document as a parser reads it that takes neither a repeated member nor a constant beyond JSON."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            raise ValueError("repeated member")
        return document

    def unknown(name: str) -> Any:
        raise ValueError(name)

    return json.loads(body.decode(), object_pairs_hook=unique, parse_constant=unknown)


def check(body: bytes) -> None:
    """What is taken for ours is exactly of our shape to any other reader; the converse holds for plain names."""
    ids = RequestShape("userIds").parse(body)
    if ids is None:
        return
    assert strict(body) == {"userIds": ids}
    assert ids
    assert all(0 < len(value.encode()) <= 1024 for value in ids)


@given(DOCUMENTS | NEAR, st.none() | st.integers(0, 4))
@example({"userIds": ["a"]}, None)
def test_a_document_is_ours_exactly_if_it_has_the_shape(document: Any, indent: int | None) -> None:
    body = json.dumps(document, indent=indent).encode()
    check(body)
    listed = document.get("userIds") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(listed, list) or not listed or not all(isinstance(value, str) for value in listed):
        assert RequestShape("userIds").parse(body) is None
    elif all(0 < len(value.encode()) <= 1024 for value in listed):
        assert RequestShape("userIds").parse(body) == listed
    else:
        assert RequestShape("userIds").parse(body) is None


@given(st.lists(TOKENS, max_size=16).map(b"".join) | st.binary(max_size=64))
def test_no_bytes_are_ours_that_others_would_read_differently(body: bytes) -> None:
    check(body)
    check(b'{"userIds":[' + body + b"]}")
    check(b'{"userIds":["a"' + body)
    check(body + b'"userIds":["a"]}')


@given(st.binary(max_size=64) | st.lists(TOKENS, max_size=16).map(b"".join))
def test_the_parsers_raise_nothing_else_on_any_bytes(body: bytes) -> None:
    for candidate in (
        body,
        b'{"users":[' + body + b'],"count":1}',
        b'{"users":[{"id":"a","n":' + body + b'}],"count":1}',
    ):
        with contextlib.suppress(NotAssemblable, NotUnderstood):
            SHAPE.parse(candidate)


@given(
    st.lists(
        st.tuples(IDS | st.integers(), st.dictionaries(TEXT, DOCUMENTS, max_size=4), st.booleans()),
        max_size=6,
    )
)
def test_what_is_assembled_is_parsed_again_with_the_same_bytes(
    entities: list[tuple[str | int, dict[str, Any], bool]],
) -> None:
    raws = [
        json.dumps(
            {**members, "id": identifier}, ensure_ascii=escaped, indent=1 if escaped else None
        ).encode()
        for identifier, members, escaped in entities
    ]
    body = SHAPE.assemble(raws)
    assert [item.raw for item in SHAPE.parse(body)] == raws
    assert [item.id for item in SHAPE.parse(body)] == [str(identifier) for identifier, _, _ in entities]
    assert json.loads(body)["count"] == len(raws)


@given(st.lists(IDS, max_size=50), st.integers(1, 20))
def test_runs_are_bounded_and_lose_nothing(ids: list[str], size: int) -> None:
    runs = list(chunked(ids, size))
    assert [value for run in runs for value in run] == ids
    assert all(1 <= len(run) <= size for run in runs)


@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.sets(st.sampled_from("abcdef")))
def test_of_what_was_asked_for_each_first_item_is_taken(came: list[str], asked: set[str]) -> None:
    items = [Item(value, str(place).encode(), {}) for place, value in enumerate(came)]
    found, repeated = take_requested(items, asked)
    assert found.keys() == asked & set(came)
    assert all(item.raw == str(came.index(value)).encode() for value, item in found.items())
    assert repeated == {value for value in asked if came.count(value) > 1}
