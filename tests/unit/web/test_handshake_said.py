"""What a call is given: its body, its parameters, its path."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from proxy.web.handshake.said import BATCH_IDS, Asked, Invalid


def asked(document: object) -> Asked:
    return Asked(json.dumps(document).encode())


def faults(ask: Callable[..., Any], *arguments: Any) -> list[str]:
    """Where a call is wrong."""
    with pytest.raises(Invalid) as caught:
        ask(*arguments)
    assert all(fault.detail for fault in caught.value.faults)
    return [fault.at for fault in caught.value.faults]


def test_members_are_those_that_are_known() -> None:
    assert asked({"a": 1}).members(["a", "b"], ["a"]) == {"a": 1}
    assert faults(asked({"c": 1, "d/e~f": 2}).members, ["a", "b"], ["a"]) == ["#/c", "#", "#/a"]


@pytest.mark.parametrize("name", ["zoe@example.org", "u1", "d/e~f", "Zoë", "a b", "x" * 41, ""])
def test_a_name_that_could_be_somebodys_is_not_said_again(name: str) -> None:
    assert faults(asked({name: 1, f"{name}-": 2}).members, ["a"]) == ["#"]
    assert faults(Asked(query=urlencode({name: 1, f"{name}-": 2}).encode()).parameters, "a") == ["query"]


def test_the_faults_of_a_body_are_not_as_long_as_the_body() -> None:
    names = [chr(ord("a") + number % 26) * (number // 26 + 37) for number in range(100)]
    found = faults(asked(dict.fromkeys(names, 1)).members, [])
    assert len(found) == 16
    assert all(len(at) <= 42 for at in found)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"a"',
        b'{"a":NaN}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}{}',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_a_body_is_a_json_object(body: bytes) -> None:
    assert faults(Asked(body).members, ["a"]) == ["#"]


@pytest.mark.parametrize("wrong", [1, None, True, [], {}, "", "x" * 1025, "é" * 513, "\ud800"])
def test_an_id_is_a_short_text(wrong: object) -> None:
    assert faults(asked({"a": wrong, "b": "right"}).ids, "a", "b") == ["#/a"]
    assert faults(asked({"a": ["right", wrong]}).id_list, "a") == ["#/a/1"]


@pytest.mark.parametrize("right", ["x", "x" * 1024, "é" * 512, "\0", " ", "😀" * 256])
def test_an_id_is_taken_as_it_is(right: str) -> None:
    assert asked({"b": right, "a": "other"}).ids("a", "b") == ["other", right]


def test_a_list_names_each_id_once_and_has_a_bound() -> None:
    assert asked({"a": ["x", "y", "x"]}).id_list("a") == ["x", "y"]
    assert asked({"a": []}).id_list("a") == []
    assert len(asked({"a": [str(number) for number in range(BATCH_IDS)]}).id_list("a")) == BATCH_IDS
    assert faults(asked({"a": ["x"] * (BATCH_IDS + 1)}).id_list, "a") == ["#/a"]
    assert faults(asked({"a": "x"}).id_list, "a") == ["#/a"]


def test_parameters_are_named_once_and_known() -> None:
    assert Asked(query=b"a=1&b=").parameters("a", "b", "c") == {"a": "1", "b": ""}
    assert Asked(query=b"a=%C3%A9+x").parameters("a") == {"a": "é x"}
    assert Asked().parameters() == {}
    for query in (b"a=%ff", b"\xff", b"&".join(b"a%d=1" % number for number in range(17))):
        assert faults(Asked(query=query).parameters, "a", "b", "c") == ["query"]
    assert faults(Asked(query=b"a=1&a=1").parameters, "a", "b", "c") == ["a"]
    assert faults(Asked(query=b"d=1&b=1&%s=2" % (b"e" * 99)).parameters, "a", "b") == ["d", "query"]


def test_data_is_what_can_be_included() -> None:
    assert Asked(query=b"include=data").wants_data()
    assert not Asked(query=b"limit=1").wants_data("limit")
    assert faults(Asked(query=b"include=").wants_data) == ["include"]
    assert faults(Asked(query=b"limit=1").wants_data) == ["limit"]


def test_the_path_has_an_internal_id() -> None:
    internal_id = "0b9f3a6e-7f0b-5d53-9c0c-2f5a3c1de0a7"
    assert Asked(place=internal_id.upper()).internal_id() == internal_id
    for wrong in (
        "",
        "a",
        internal_id.replace("-", ""),
        internal_id + "\n",
        f"{{{internal_id}}}",
        internal_id[:-1] + "٣",
    ):
        assert faults(Asked(place=wrong).internal_id) == ["id"]
