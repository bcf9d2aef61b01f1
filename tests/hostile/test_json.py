"""JSON that is made to hurt, or to be read in two ways: understood as its owner would, or not looked into."""

import asyncio
import json
import tracemalloc
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.json_pointer import Pointer
from proxy.core import json_split
from proxy.core.bulk import (
    MAX_IDS,
    MAX_ITEMS,
    MAX_VALUES,
    AnswerShape,
    NotAssemblable,
    NotUnderstood,
    RequestShape,
    TooComplex,
)
from proxy.core.json_lines import BadLine, RowShape, parse
from proxy.web.handshake.said import Asked, Invalid
from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running
from tests.integration.people import BULK

_DEEP = b"[" * 100_000 + b"]" * 100_000
_DEEP_OBJECT = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
_DIGITS = b"1" * 100_000

# Values of a member, each of which some parser does not survive, or reads as something else.
VALUES = {
    "deep": _DEEP,
    "deep object": _DEEP_OBJECT,
    "deep and open": b"[" * 100_000,
    "a number of 100,000 digits": _DIGITS,
    "a fraction of 100,000 digits": b"0." + _DIGITS,
    "an exponent beyond a double": b"1e999999",
    "a negative one": b"-1e999999",
    "an exponent of 100,000 digits": b"1e" + _DIGITS,
    "minus zero": b"-0",
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "leading zero": b"01",
    "plus": b"+1",
    "hex": b"0x10",
    "a string of 1 MiB": b'"' + b"x" * 2**20 + b'"',
    "a lone surrogate": b'"\\ud800"',
    "surrogates the wrong way": b'"\\udc00\\ud800"',
    "a surrogate in utf-8": b'"\xed\xa0\x80"',
    "nul": b'"\\u0000"',
    "a raw control byte": b'"a\x01"',
    "not utf-8": b'"\xff"',
    "overlong": b'"\xc0\xaf"',
    "half an escape": b'"\\u12"',
    "single quotes": b"'a'",
    "a comment": b"/* */1",
    "a trailing comma": b"[1,]",
    "true in capitals": b"True",
    "nothing": b"",
}

# Bodies that are not one JSON text in UTF-8, or name something twice. `%s` is the member of the ids.
WHOLES = {
    "bom": b'\xef\xbb\xbf{"%s":["1"]}',
    "utf-16": '{"userIds":["1"]}'.encode("utf-16"),
    "utf-32": '{"userIds":["1"]}'.encode("utf-32-be"),
    "trailing garbage": b'{"%s":["1"]}x',
    "two texts": b'{"%s":["1"]}{"%s":["2"]}',
    "trailing nul": b'{"%s":["1"]}\x00',
    "repeated": b'{"%s":["1"],"%s":["2"]}',
    "repeated by an escape": b'{"%s":["1"],"\\u0075serIds":["2"]}',
    "only an escape": b'{"\\u0075serIds":["1"]}',
    "another case": b'{"USERIDS":["1"]}',
    "another member": b'{"%s":["1"],"x":1}',
    "prototype": b'{"__proto__":{"%s":["1"]}}',
    "a bracket in an id": b'{"%s":["1"],"x":["]}"]}',
    "form feed": b'{"%s":\x0c["1"]}',
    "no-break space": b'{"%s":\xc2\xa0["1"]}',
}


def _whole(text: bytes) -> bytes:
    return text.replace(b"%s", b"userIds")


def _read(text: bytes) -> Any:
    """As the standard library does, long numbers as they are written."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 1000 else digits)


def _shape() -> AnswerShape:
    return AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id"))


@pytest.mark.parametrize("name", VALUES)
def test_a_request_is_understood_as_the_librarys_parser_does_or_not_at_all(name: str) -> None:
    for body in (
        b'{"userIds":[%b]}',
        b'{"userIds":%b}',
        b'{"userIds":["1",%b]}',
        b'{"userIds":["1"],"x":%b}',
    ):
        text = body % VALUES[name]
        ids = RequestShape("userIds").parse(text)
        if ids is not None:
            assert _read(text) == {"userIds": ids}


@pytest.mark.parametrize("name", WHOLES)
def test_a_request_with_two_readings_is_not_looked_into(name: str) -> None:
    assert RequestShape("userIds").parse(_whole(WHOLES[name])) is None


@pytest.mark.parametrize("name", VALUES)
def test_an_answer_is_understood_or_refused(name: str) -> None:
    """The item's bytes are kept; its id is that which the library's parser sees."""
    for item in (b'{"id":"1","x":%b}', b'{"id":%b}', b'{"x":%b,"id":"1","id":"2"}'):
        body = b'{"users":[' + item % VALUES[name] + b'],"count":1}'
        try:
            items = _shape().parse(body)
        except (NotUnderstood, NotAssemblable):
            continue
        assert [one.raw for one in items] == [item % VALUES[name]]
        assert str(_read(items[0].raw)["id"]) == items[0].id


@pytest.mark.parametrize("name", VALUES)
def test_a_call_of_the_handshake_api_is_taken_or_is_422(name: str) -> None:
    for body in (b'{"userId":%b}', b'{"userIds":[%b]}', b'{"x":%b,"userId":"1"}'):
        asked = Asked(body % VALUES[name])
        for read in (partial(asked.ids, "userId"), partial(asked.id_list, "userIds")):
            try:
                read()
            except Invalid:
                continue
            assert isinstance(_read(asked.body), dict)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b'{"userId":"1","userId":"2"}', "#/userId"),
        (b'{"userId":"1","userId":"1"}', "#/userId"),
        (b'{"userId":"1","\\u0075serId":"2"}', "#/userId"),
        (b'{"userId":"a:b","userId":"2"}', "#/userId"),
        (b'{"userId" : "1" , "userId" : "2"}', "#/userId"),
        (b'{"zoe@example.org":1,"zoe@example.org":2}', "#"),
    ],
)
def test_a_member_that_comes_twice_is_422(body: bytes, at: str) -> None:
    with pytest.raises(Invalid) as caught:
        Asked(body).ids("userId")
    assert [fault.at for fault in caught.value.faults] == [at]


def test_colons_in_ids_are_no_members() -> None:
    assert Asked(b'{"userId":"urn:x:1"}').ids("userId") == ["urn:x:1"]


@pytest.mark.parametrize("name", VALUES)
def test_a_line_of_an_import_is_taken_or_refused(name: str) -> None:
    shapes = {"user": RowShape(answer=_shape(), columns=lambda _: {}, ttl=60.0, jitter=0.0)}
    for line in (
        b'{"resource":"user","externalId":"1","item":{"id":"1","x":%b}}',
        b'{"resource":"user","externalId":%b}',
    ):
        try:
            write = parse(line % VALUES[name], shapes, now=0.0, rng=lambda: 0.0)
        except BadLine:
            continue
        assert str(_read(line % VALUES[name])["externalId"]) == write.entry.key.id


def test_memory_stays_in_proportion() -> None:
    """Eight times the body, whatever is in it: no bomb unfolds."""
    bodies = [b'{"userIds":[' + value + b"]}" for value in VALUES.values()]
    bodies.append(b'{"userIds":[' + b",".join([b'"1"'] * 20_000) + b"]}")
    tracemalloc.start()
    try:
        for body in bodies:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            RequestShape("userIds").parse(body)
            with_answer = b'{"users":[{"id":"1","x":' + body[12:-2] + b'}],"count":1}'
            with suppress(NotUnderstood, NotAssemblable):
                _shape().parse(with_answer)
            assert tracemalloc.get_traced_memory()[1] - before < 16 * len(body) + 2**20
    finally:
        tracemalloc.stop()


_8_MIB = 2**23

# Answers below `limits.cached_response` that took seconds, or hundreds of MiB, as long as they were read to their ends.
BOMBS = {
    "items of one id": b'{"users":[' + b'{"id":"1"},' * (_8_MIB // 11) + b'{"id":"1"}]}',
    "numbers for items": b'{"users":[' + b"1," * (_8_MIB // 2) + b"1]}",
    "empty objects in an item": b'{"users":[{"id":"1","x":[' + b"{}," * (_8_MIB // 3) + b"{}]}]}",
    "empty arrays in an item": b'{"users":[{"id":"1","x":[' + b"[]," * (_8_MIB // 3) + b"[]]}]}",
    "small objects in an item": b'{"users":[{"id":"1","x":[' + b'{"":1},' * (_8_MIB // 7) + b"{}]}]}",
    "members": b'{"users":[],' + b",".join(b'"%d":1' % one for one in range(_8_MIB // 11)) + b"}",
    "one member": b'{"users":[]' + b',"count":1' * (_8_MIB // 10) + b"}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_answer_of_too_many_parts_is_not_taken_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("proxy.core.bulk._envelope_decoder")
    monkeypatch.delattr("proxy.core.bulk._item_decoder")
    with pytest.raises(TooComplex):
        _shape().parse(BOMBS[name])
    with pytest.raises(TooComplex):
        _shape().item(BOMBS[name])


def test_the_bounds_of_an_answer_are_those_that_are_said() -> None:
    def listing(items: int) -> bytes:
        return b'{"users":[' + b",".join([b'{"id":"1"}'] * items) + b"]}"

    assert len(_shape().parse(listing(MAX_ITEMS))) == MAX_ITEMS
    with pytest.raises(TooComplex):
        _shape().parse(listing(MAX_ITEMS + 1))
    values = b'{"id":"1","x":[' + b"0," * (MAX_VALUES - 3) + b"0]}"  # a brace, a bracket, and the comma of x
    assert _shape().item(values).id == "1"
    with pytest.raises(TooComplex):
        _shape().item(values.replace(b"[0", b"[0,0", 1))


@pytest.mark.parametrize("space", [b"", b" "])
def test_an_answer_of_many_members_is_not_taken_apart(space: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even those, so that the last need be no JSON."""
    members = b",".join(b'"%d":1' % one for one in range(63))
    body = b'{"users":' + space + b"[]," + members + b"%b}"
    with pytest.raises(NotAssemblable) as caught:
        _shape().parse(body % b"")
    assert caught.value.items == []
    with pytest.raises(TooComplex):
        _shape().parse(body % b',"x":1')
    with pytest.raises(TooComplex):
        _shape().parse(body % (b',"users":[]' + b',"x":1' * 10_000))


def test_a_request_of_too_many_ids_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(ids: int, one: bytes = b'"1"') -> bytes:
        return b'{"userIds":[' + b",".join([one] * ids) + b"]}"

    shape = RequestShape("userIds")
    assert len(shape.parse(listing(MAX_IDS)) or []) == MAX_IDS
    assert shape.parse(listing(1, b'"' + b"," * 1024 + b'"')) is not None
    assert len(shape.parse(listing(1000, b'"' + b"," * 100 + b'"')) or []) == 1000
    assert len(shape.parse(listing(1000, b'"' + b'\\"' * 100 + b'"')) or []) == 1000
    assert shape.parse(listing(MAX_IDS + 1)) is None
    monkeypatch.delattr("proxy.core.bulk._ids_decoder")
    assert shape.parse(listing(MAX_IDS + 2)) is None


def test_a_call_of_many_members_is_422_after_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    raw_decode = json_split._decoder.raw_decode

    class Counting:
        def raw_decode(self, text: str, at: int) -> tuple[object, int]:
            nonlocal read
            read += 1
            return raw_decode(text, at)

    monkeypatch.setattr("proxy.core.json_split._decoder", Counting())
    with pytest.raises(Invalid) as caught:
        Asked(b'{"userId":"1"' + b',"userId":"1"' * 80_000 + b"}").ids("userId")
    assert [fault.at for fault in caught.value.faults] == ["#"]
    assert read == 2 * 64


async def test_an_answer_of_too_many_parts_is_streamed_on(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = BOMBS["items of one id"][:-2] + b'],"count":1}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        response = await proxy.users("1")
        assert response.status == 200
        assert response.body.startswith(BOMBS["items of one id"][:-2])
        assert len(upstream.seen) == 2
        assert proxy.metric("upstream_errors_total", reason="too_large") == 1


async def test_bombs_over_the_wire_are_answered_by_the_upstream_or_by_a_problem(tmp_path: Path) -> None:
    """No 500: what is not understood is passed on byte for byte."""

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b'{"users":[{"id":"1"}],"count":1}' if seen.body == b'{"userIds":["1"]}' else b"seen"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        for body in [b'{"userIds":[%b]}' % value for value in VALUES.values()] + [
            _whole(one) for one in WHOLES.values()
        ]:
            before = len(upstream.seen)
            async with proxy.client() as client:
                response = await client.post(BULK, body)
            [seen] = upstream.seen[before:]
            understood = (
                seen.body == b'{"userIds":' + json.dumps(RequestShape("userIds").parse(body)).encode() + b"}"
            )
            assert understood or (response.status, response.body, seen.body) == (200, b"seen", body)
        await _handshake_calls(proxy)
        assert (await proxy.users("1")).body == b'{"users":[{"id":"1"}],"count":1}'


async def _handshake_calls(proxy: Proxy) -> None:
    for value in VALUES.values():
        if len(value) > 2**20:
            continue  # a body beyond 1 MiB is 413
        async with proxy.client("handshake") as client:
            response = await client.post("/v1/users/exists", b'{"userId":%b}' % value)
            assert response.status in {200, 422}, value[:20]
