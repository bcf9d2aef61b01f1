"""How an entity is rendered, and that its schema says the same."""

import json
from typing import Any

import jsonschema_rs
import pytest

from proxy.web.handshake.shape import EntityShape, to_json
from tests.unit.web.faces import INTERNAL, entry, shape


def rendered(there: EntityShape, item: bytes | None, **options: bool) -> Any:
    """An entity as a strict parser reads it, once its schema has agreed."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    body = there.render(entry(item), **options)
    document = json.loads(body, parse_constant=refuse)
    if b"\\ud" not in body:  # a lone surrogate is beyond this validator
        jsonschema_rs.Draft202012Validator(there.schema()).validate(document)
    return document


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('"text"', "text"),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ("{}", None),
        ("[1]", None),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('"\\ud800"', "\ud800"),
        ("1e999", None),
    ],
)
def test_a_column_is_shown_if_it_is_a_scalar(value: str, shown: object) -> None:
    there = shape(a_b="/x", other="/y")
    for beside in ("1", '"\\udfff"'):
        item = f'{{"id":"a","x":{value},"y":{beside}}}'.encode()
        assert rendered(there, item)["aB"] == shown


def test_a_husk_has_its_ids_and_nothing_else() -> None:
    husk = rendered(shape(), None, data=True)
    assert {name: value for name, value in husk.items() if value is not None} == {
        "id": INTERNAL, "userId": "a", "lastSyncedAt": "2023-11-14T22:13:20.000Z", "version": 1,
    }  # fmt: skip


def test_what_is_stale_says_so_and_data_is_the_item_to_the_byte() -> None:
    item = b'{ "id" : "a", "n": 1.50 }'
    body = shape().render(entry(item), stale=True, data=True)
    assert body.endswith(b',"source":"stale","data":' + item + b"}")
    assert rendered(shape(), item, stale=True, data=True)["data"] == {"id": "a", "n": 1.5}
    assert rendered(shape(), item).keys().isdisjoint({"source", "data"})


@pytest.mark.parametrize(("stored", "shown"), [(0, False), (1, True), (None, None)])
def test_a_yes_or_no_is_one_again_after_the_database(stored: int | None, shown: bool | None) -> None:
    there = shape()
    kept = entry().confirmed(
        internal_id=INTERNAL, version=2, local={"is_field_worker": stored, "department_id": "d"}
    )
    document = json.loads(there.render(kept))
    assert (document["isFieldWorker"], document["departmentId"], document["version"]) == (shown, "d", 2)


def test_names_of_another_resource() -> None:
    there = shape("business")
    assert (there.plural, there.member, there.id_member) == ("businesses", "business", "businessId")
    assert there.example()["id"] != shape().example()["id"]
    for each in (there, shape()):
        jsonschema_rs.Draft202012Validator(each.schema(), validate_formats=True).validate(each.example())


def test_json_of_what_the_quick_encoder_refuses() -> None:
    assert (
        to_json({"a": "\ud800", "b": float("inf"), "c": 10**30})
        == b'{"a":"\\ud800","b":null,"c":1' + b"0" * 30 + b"}"
    )
