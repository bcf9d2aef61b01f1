"""RFC 7396 on raw members agrees with RFC 7396 on values, and leaves alone what a patch does not name."""

import json
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.targets.merge import reference
from proxy.core import json_split
from proxy.core.merge import NotAnObject, merge_patch

# Few names, so that item and patch meet; some of them need an escape, or may have one.
NAMES = st.sampled_from(["a", "b", "c", "é", "\ud800", "😀", 'q"\\', "", "{", "a/b"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
SPACES = ["", "", "", " ", "\r\n", "\t "]


SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


def spelled(value: Any, chance: Random) -> str:
    """A value as somebody may write it: white space, escapes, and members that count no more as another comes later."""

    def spaced(text: str) -> str:
        return f"{chance.choice(SPACES)}{text}{chance.choice(SPACES)}"

    if isinstance(value, dict):
        names = [*(name for name in value if chance.random() < 0.2), *value]
        last = {name: place for place, name in enumerate(names)}
        texts = [
            spelled(value[name] if last[name] == place else chance.choice([None, 1, [], {"a": 1}]), chance)
            for place, name in enumerate(names)
        ]
        members = [
            f"{spaced(spelled(name, chance))}:{spaced(text)}" for name, text in zip(names, texts, strict=True)
        ]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spaced(spelled(one, chance)) for one in value) + "]"
    if isinstance(value, str) and chance.random() < 0.3:
        units = value.encode("utf-16-be", "surrogatepass").hex()
        return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'
    is_ascii = not isinstance(value, str) or "\ud800" in value or chance.random() < 0.5
    return json.dumps(value, ensure_ascii=is_ascii)


def body_of(document: dict[str, Any], seed: int) -> bytes:
    """An object, as somebody may write it."""
    chance = Random(seed)
    return f"{chance.choice(SPACES)}{spelled(document, chance)}{chance.choice(SPACES)}".encode()


BODIES = st.builds(body_of, OBJECTS, SEEDS)


def exact(value: object) -> str:
    """A value as text: to Python, true is equal to 1, and 1 to 1.0."""
    return json.dumps(value, sort_keys=True)


@given(BODIES, BODIES)
@example(b'{"a":{"b":1},"a":{"c":2}}', b'{"a":{"d":3}}')
@example(b'{"a":[]}', b'{"a":{"b":{"c":null}}}')
def test_the_result_is_that_of_the_rfc(item: bytes, patch: bytes) -> None:
    assert exact(json.loads(merge_patch(item, patch))) == exact(
        reference(json.loads(item), json.loads(patch))
    )


@given(BODIES, BODIES)
@example(b'{"a":1,"b":2,"a":3}', b'{"a":{"x":null}}')
def test_what_a_patch_does_not_name_keeps_its_bytes_and_its_order(item: bytes, patch: bytes) -> None:
    named = json.loads(patch)
    after = json_split.members(merge_patch(item, patch))
    kept = [member for member in json_split.members(item) if member[0] not in named]
    assert [member for member in after if member[0] not in named] == kept


@given(BODIES, BODIES)
def test_what_is_new_comes_last_in_the_patchs_order_and_once(item: bytes, patch: bytes) -> None:
    before, named = json.loads(item), json.loads(patch)
    names = [name for name, _ in json_split.members(merge_patch(item, patch))]
    new = [name for name, value in named.items() if name not in before and value is not None]
    assert names[len(names) - len(new) :] == new
    assert all(names.count(name) == (value is not None) for name, value in named.items())


@given(BODIES, BODIES)
def test_a_patch_that_comes_twice_changes_no_byte_more(item: bytes, patch: bytes) -> None:
    once = merge_patch(item, patch)
    assert merge_patch(once, patch) == once


@given(BODIES)
def test_no_patch_leaves_all_as_it_is_but_white_space_around_members(item: bytes) -> None:
    assert json_split.members(merge_patch(item, b"{}")) == json_split.members(item)


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,0an \\', max_size=20).map(str.encode), BODIES)
@example(b'{"a":1,}', b"{}")
@example(b"{0:1}", b"{}")
def test_what_is_no_object_is_refused_wherever_it_stands(odd: bytes, body: bytes) -> None:
    try:
        is_object = isinstance(json_split.decode(odd), dict)
    except ValueError:
        is_object = False
    for item, patch in ((odd, body), (body, odd)):
        try:
            merge_patch(item, patch)
        except NotAnObject:
            assert not is_object
        else:
            assert is_object
