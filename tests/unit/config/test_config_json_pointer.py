"""JSON pointers, with the examples of RFC 6901 section 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from config.json_pointer import MISSING, Pointer

DOCUMENT = {
    "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8,
    "null": None, "~1": 9,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/null", None),
        ("/~01", 9),
    ],
)
def test_the_examples_of_the_rfc(text: str, value: object) -> None:
    assert Pointer.parse(text).resolve(DOCUMENT) == value


@pytest.mark.parametrize(
    "text",
    [
        "/nope",
        "/foo/2",
        "/foo/-",
        "/foo/01",
        "/foo/-1",
        "/foo/" + "9" * 5000,
        "/foo/0/x",
        "/null/x",
        "/foo/x",
    ],
)
def test_nothing_there_is_missing(text: str) -> None:
    assert Pointer.parse(text).resolve(DOCUMENT) is MISSING


@pytest.mark.parametrize("text", ["id", "#/id", "/a~", "/a~2"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="JSON pointer"):
        Pointer.parse(text)


@given(st.lists(st.text()).map(tuple))
def test_a_pointer_survives_printing(tokens: tuple[str, ...]) -> None:
    assert Pointer.parse(str(Pointer(tokens))) == Pointer(tokens)


def test_a_pointer_is_a_field_type() -> None:
    adapter = TypeAdapter(Pointer)
    pointer = adapter.validate_python("/id")
    assert pointer.tokens == ("id",)
    assert adapter.validate_python(pointer) is pointer
    assert adapter.dump_python(pointer, mode="json") == "/id"
    with pytest.raises(ValidationError, match="must be text such as /id"):
        adapter.validate_python(5)
