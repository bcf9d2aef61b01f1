"""What an upstream's bulk answer means, and how an answer is put together again."""

import json

import pytest

from config.json_pointer import Pointer
from proxy.core.bulk import (
    AnswerShape,
    Item,
    NotAssemblable,
    NotUnderstood,
    TooComplex,
    is_implausible_absence,
    take_requested,
)

SHAPE = AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id"))
UNCOUNTED = AnswerShape(items="users", count=None, id_pointer=Pointer.parse("/id"))


def answer(*items: bytes) -> bytes:
    return b'{"users":[' + b",".join(items) + b'],"count":%d}' % len(items)


def item(identifier: str) -> Item:
    return Item(identifier, b'{"id":"%s"}' % identifier.encode(), {"id": identifier})


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id":"a"}',
        b'{ "id" :\t"a" ,\r\n "n" : [ 1 , 2 ] }',
        b'{"n":"\\u0041\\/\\u00e9","id":"a"}',
        b'{"id":"a","n":"\\ud83d\\ude00"}',
        '{"id":"a","n":"é\U0001f600"}'.encode(),
        b'{"id":"a","n":1.50}',
        b'{"id":"a","n":-0}',
        b'{"id":"a","n":1E+2}',
        b'{"id":"a","n":9223372036854775807}',
        b'{"id":"a","n":18446744073709551615}',
        b'{"id":"a","n":-9223372036854775808}',
        b'{"id":"a","n":123456789012345678901234567890}',
        b'{"id":"a","n":0.1234567890123456789012345}',
        b'{"id":"a","n":1e999}',
        b'{"id":"a","n":-1e999}',
        b'{"id":"a","n":{"deep":[[[{}]]]}}',
        b'{"id":"a","n":null,"t":true,"f":false}',
        b'{"n":1,"n":2,"id":"a"}',
    ],
)
def test_the_bytes_of_an_item_are_kept_exactly(raw: bytes) -> None:
    parsed = SHAPE.parse(b'{"users" : [ ' + raw + b' ,\n{"id":"z"}] , "count":2 }')
    assert [entity.id for entity in parsed] == ["a", "z"]
    assert parsed[0].raw == raw
    assert parsed[0].document == json.loads(raw)


def test_the_order_of_members_is_free() -> None:
    assert [entity.id for entity in SHAPE.parse(b'{"count":1,"users":[{"id":"a"}]}')] == ["a"]


def test_an_empty_list_is_an_answer() -> None:
    assert SHAPE.parse(answer()) == []
    assert UNCOUNTED.parse(b'{"users":[]}') == []


def test_the_count_may_be_left_out() -> None:
    assert [entity.id for entity in SHAPE.parse(b'{"users":[{"id":"a"}]}')] == ["a"]


@pytest.mark.parametrize(
    ("spelled", "identifier"),
    [
        (b'"a"', "a"),
        (b'"\\u0041"', "A"),
        (b'"1"', "1"),
        (b'"01"', "01"),
        (b"1", "1"),
        (b"0", "0"),
        (b"-7", "-7"),
        (b"9223372036854775807", "9223372036854775807"),
        (b"18446744073709551616", "18446744073709551616"),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_an_integer_id_equals_its_decimal_string(spelled: bytes, identifier: str) -> None:
    assert [entity.id for entity in SHAPE.parse(answer(b'{"id":%s}' % spelled))] == [identifier]


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"ID":"a"}',
        b'{"id":null}',
        b'{"id":true}',
        b'{"id":false}',
        b'{"id":1.0}',
        b'{"id":1e2}',
        b'{"id":1e999}',
        b'{"id":[]}',
        b'{"id":["a"]}',
        b'{"id":{}}',
        b'{"id":""}',
        b'{"id":"%s"}' % (b"a" * 1025),
        b'{"id":"%s"}' % ("é".encode() * 513),
        b'{"id":%s}' % (b"9" * 1025),
        b'{"id":%s}' % (b"9" * 5000),
    ],
)
def test_an_item_without_a_usable_id_is_not_understood(raw: bytes) -> None:
    with pytest.raises(NotUnderstood):
        SHAPE.parse(answer(b'{"id":"ok"}', raw))


@pytest.mark.parametrize(
    ("pointer", "raw", "identifier"),
    [
        ("/a/b", b'{"a":{"b":"x"}}', "x"),
        ("/a/1", b'{"a":["n","x"]}', "x"),
        ("/a~1b", b'{"a/b":7}', "7"),
    ],
)
def test_the_id_is_where_its_pointer_says(pointer: str, raw: bytes, identifier: str) -> None:
    """RFC 6901."""
    shape = AnswerShape(items="users", count="count", id_pointer=Pointer.parse(pointer))
    assert [entity.id for entity in shape.parse(answer(raw))] == [identifier]


@pytest.mark.parametrize("raw", [b"null", b"1", b'"a"', b"[]", b'["id"]', b"true"])
def test_items_that_are_no_objects_are_not_understood(raw: bytes) -> None:
    with pytest.raises(NotUnderstood):
        SHAPE.parse(answer(raw))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"[]",
        b'[{"id":"a"}]',
        b'"users"',
        b"{}",
        b'{"count":0}',
        b'{"error":"down"}',
        b'{"Users":[],"count":0}',
        b'{"users":null,"count":0}',
        b'{"users":{},"count":0}',
        b'{"users":"","count":0}',
        b"<!doctype html><html><body>502 Bad Gateway</body></html>",
        b"OK",
        b"\xff\xfe\x00",
        b'{"users":[{"id":"a","n":"\xff"}],"count":1}',
        b'{"users":[{"id":"a","n":"\x01"}],"count":1}',
        b'{"users":[{"id":"a"}],"count":1}x',
        b'{"users":[{"id":"a"}],"count":1}{}',
        b'{"users":[{"id":"a"},],"count":1}',
    ],
)
def test_another_body_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        SHAPE.parse(body)


def test_no_part_of_a_body_is_an_answer() -> None:
    body = b'{"users":[{"id":"a","n":{"m":[1]}},{"id":"b"}],"count":2}'
    assert len(SHAPE.parse(body)) == 2
    for length in range(len(body)):
        with pytest.raises(NotUnderstood):
            SHAPE.parse(body[:length])


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"users":' + b"[" * 100_000, b'{"users":[' + b'{"id":' * 100_000]
)
def test_deep_nesting_breaks_nothing(body: bytes) -> None:
    with pytest.raises((NotUnderstood, TooComplex)):
        SHAPE.parse(body)


def test_an_item_that_is_good_but_nested_too_deeply_is_passed_on() -> None:
    deep = b'{"id":"a","n":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(TooComplex):
        SHAPE.parse(b'{"users":[' + deep + b'],"count":1}')
    with pytest.raises(TooComplex):
        SHAPE.item(deep)


def test_a_number_of_any_length_is_kept() -> None:
    body = b'{"users":[{"id":"a","n":' + b"9" * 5000 + b"}]}"
    assert [item.id for item in UNCOUNTED.parse(body)] == ["a"]


@pytest.mark.parametrize(
    "body", [b'{"users":[SECRET],"count":1}', b'{"users":[{"id":["SECRET"]}],"count":1}']
)
def test_an_error_quotes_no_byte_of_the_body(body: bytes) -> None:
    with pytest.raises(NotUnderstood) as caught:
        SHAPE.parse(body)
    error: BaseException | None = caught.value
    assert "SECRET" not in str(error)
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"users":[],"count":0,"next":null}',
        b'{"users":[{"id":"a"}],"count":1,"page":1}',
        b'{"meta":{},"users":[{"id":"a"}],"count":1}',
        b'{"users":[{"id":"a"}],"total":1}',
    ],
)
def test_an_envelope_with_further_members_is_not_assemblable(body: bytes) -> None:
    with pytest.raises(NotAssemblable):
        SHAPE.parse(body)


@pytest.mark.parametrize("text", [b'"\xff"', b'["\xc3"]', b'{"\xed\xa0\x80":1}'])
@pytest.mark.parametrize("body", [b'{"users":[],"x":%s}', b'{"users":[{"id":"a"}],"count":2,"x":%s}'])
def test_a_further_member_that_is_no_utf_8_makes_it_no_json(body: bytes, text: bytes) -> None:
    """RFC 8259 section 8.1: what is passed on as JSON has to be JSON."""
    with pytest.raises(NotUnderstood):
        SHAPE.parse(body % text)


@pytest.mark.parametrize(
    "count", [b"0", b"2", b"-1", b"1.0", b"1.5", b'"1"', b"null", b"true", b"[]", b"9" * 30]
)
def test_another_count_is_not_assemblable(count: bytes) -> None:
    with pytest.raises(NotAssemblable):
        SHAPE.parse(b'{"users":[{"id":"a"}],"count":%s}' % count)


@pytest.mark.parametrize(
    "body",
    [
        b'{"users":[{"id":"a","n":"\\ud800"}],"count":1}',
        b'{"users":[{"id":"a","n":"\\udc00x"}],"count":1}',
        b'{"users":[{"id":"a","\\ud800":1}],"count":1}',
    ],
)
def test_a_lone_surrogate_spoils_nothing(body: bytes) -> None:
    """RFC 8259 section 8.2: it is JSON, and any server that cuts a string writes it."""
    (item,) = SHAPE.parse(body)
    assert SHAPE.assemble([item.raw]) == body


def test_an_id_with_a_lone_surrogate_is_not_understood() -> None:
    with pytest.raises(NotUnderstood):
        SHAPE.parse(b'{"users":[{"id":"\\ud800"}],"count":1}')


def test_without_a_declared_count_a_count_is_a_further_member() -> None:
    assert [entity.id for entity in UNCOUNTED.parse(b'{"users":[{"id":"a"}]}')] == ["a"]
    with pytest.raises(NotAssemblable):
        UNCOUNTED.parse(answer(b'{"id":"a"}'))


@pytest.mark.parametrize(
    ("raw", "identifier"),
    [
        (b'{"id":"a"}', "a"),
        (b' {"id" : 7}\n', "7"),
        (b'{"id":"a","n":1e999}', "a"),
        (b'{"id":"a","n":"\\ud800"}', "a"),
    ],
)
def test_one_item_alone_is_read_with_its_bytes(raw: bytes, identifier: str) -> None:
    read = SHAPE.item(raw)
    assert (read.id, read.raw) == (identifier, raw)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"<html>", b'{"id":"a"', b'{"id":1.5}'])
def test_one_item_that_is_no_entity_is_not_understood(raw: bytes) -> None:
    with pytest.raises(NotUnderstood):
        SHAPE.item(raw)


def test_an_answer_is_assembled_in_order_with_its_count_and_no_white_space() -> None:
    assert SHAPE.assemble([b'{"id": "b"}', b'{"id":"a"}']) == b'{"users":[{"id": "b"},{"id":"a"}],"count":2}'
    assert SHAPE.assemble(iter([b"{}"])) == b'{"users":[{}],"count":1}'
    assert SHAPE.assemble([]) == b'{"users":[],"count":0}'


def test_an_answer_without_a_declared_count_is_assembled_without_one() -> None:
    assert UNCOUNTED.assemble([b"{}", b"{}"]) == b'{"users":[{},{}]}'
    assert UNCOUNTED.assemble([]) == b'{"users":[]}'


def test_member_names_are_escaped_in_an_assembled_answer() -> None:
    shape = AnswerShape(items='a"b', count="é", id_pointer=Pointer.parse("/id"))
    body = shape.assemble([b'{"id":"a"}'])
    assert json.loads(body) == {'a"b': [{"id": "a"}], "é": 1}
    assert [entity.id for entity in shape.parse(body)] == ["a"]


def test_an_item_that_nobody_asked_for_is_dropped() -> None:
    assert take_requested([item("a"), item("x"), item("b")], ["b", "a", "c"]) == (
        {"a": item("a"), "b": item("b")},
        set(),
    )


def test_an_unrequested_item_is_dropped_however_often_it_comes() -> None:
    assert take_requested([item("x"), item("x")], ["a"]) == ({}, set())


def test_of_an_id_that_comes_again_the_first_item_is_kept_and_the_id_reported() -> None:
    second = Item("a", b'{"id":"a","n":2}', {"id": "a", "n": 2})
    found, repeated = take_requested([item("a"), item("b"), second, second], ["a", "b"])
    assert found == {"a": item("a"), "b": item("b")}
    assert repeated == {"a"}


@pytest.mark.parametrize("count", [0, 4])
def test_few_held_ids_can_all_be_absent(count: int) -> None:
    assert not is_implausible_absence(held=count, missing=count)


@pytest.mark.parametrize(
    ("held", "missing", "implausible"),
    [
        (5, 0, False),
        (5, 2, False),
        (5, 3, True),
        (5, 5, True),
        (6, 3, False),
        (6, 4, True),
        (100, 50, False),
        (100, 51, True),
    ],
)
def test_more_than_half_of_at_least_five_held_ids_cannot_be_absent(
    held: int, missing: int, *, implausible: bool
) -> None:
    assert is_implausible_absence(held=held, missing=missing) is implausible


@pytest.mark.parametrize(
    "raw",
    [
        b'\xef\xbb\xbf{"id":"a"}',
        '{"id":"a"}'.encode("utf-16"),
        b'{"id":"a","n":NaN}',
        b'{"id":"a","n":-Infinity}',
        b'{"id":"a","n":"\xed\xa0\x80"}',
        b'{"id":"\\ud800"}',
    ],
)
def test_an_item_that_is_no_json_in_utf_8_is_not_understood(raw: bytes) -> None:
    """RFC 8259 section 8.1: a mark, another encoding or a NaN would spoil every answer that it is put into."""
    with pytest.raises(NotUnderstood):
        AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id")).item(raw)


@pytest.mark.parametrize(
    "body",
    [
        b'{"users":[{"id":"a"}],"users":[],"count":0}',
        b'{"count":1,"users":[{"id":"a"}],"count":1}',
        b'{ "users" : [], "\\u0075sers":[{"id":"a"}], "count":1 }',
    ],
)
def test_an_envelope_that_says_something_twice_is_not_put_together(body: bytes) -> None:
    with pytest.raises(NotAssemblable):
        AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id")).parse(body)


def test_white_space_around_a_single_does_not_get_into_a_bulk() -> None:
    shape = AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id"))
    assert shape.assemble([b' {"id": "a"}\n']) == b'{"users":[{"id": "a"}],"count":1}'
