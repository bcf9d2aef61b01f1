"""Taking JSON apart by text agrees with reading it (RFC 8259)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import json_split

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
SPACE = st.text(alphabet=" \t\r\n", max_size=3)


@given(st.dictionaries(st.text(), VALUES), SPACE, SPACE, st.booleans())
def test_members_are_those_of_the_object(
    document: dict[str, object], one: str, two: str, ascii_only: bool
) -> None:
    text = json.dumps(document, separators=(f"{one},{two}", f"{two}:{one}"), ensure_ascii=ascii_only)
    body = (one + text + two).encode(errors="replace")
    found = json_split.members(body)
    assert {name: json.loads(raw) for name, raw in found} == json.loads(body)
    assert all(raw == raw.strip() and raw in body for _, raw in found)


@given(st.lists(VALUES), SPACE, SPACE, st.booleans())
def test_elements_are_those_of_the_array(
    document: list[object], one: str, two: str, ascii_only: bool
) -> None:
    text = json.dumps(document, separators=(f"{one},{two}", f"{two}:{one}"), ensure_ascii=ascii_only)
    body = (one + text + two).encode(errors="replace")
    found = json_split.elements(body)
    assert [json.loads(raw) for raw in found] == json.loads(body)
    assert all(raw == raw.strip() for raw in found)


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,0a ', max_size=20).map(str.encode))
def test_what_is_no_json_is_refused_and_nothing_else_escapes(body: bytes) -> None:
    for split, kind in ((json_split.members, dict), (json_split.elements, list)):
        try:
            is_good = isinstance(json_split.decode(body), kind)
        except ValueError:
            is_good = False
        if is_good:
            split(body)
        else:
            with pytest.raises(ValueError):  # noqa: PT011 - one kind of error for all that is no JSON
                split(body)
