"""The line of a row: what is written comes back to the last bit, and what can't be taken is named, never quoted."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from config.json_pointer import Pointer
from proxy.attributes import LOCAL_ATTRIBUTES
from proxy.core import json_lines
from proxy.core.bulk import AnswerShape
from proxy.core.json_lines import BadLine, RowShape, parse, render
from store.entry import Column, Entry, Key, Write
from store.times import epoch, rfc3339

NOW = 1_700_000_000.0
USER_ID = "0b9f3a6e-7f0b-5d53-9c0c-2f5a3c1de0a7"
ATTRIBUTES = LOCAL_ATTRIBUTES["user"]


def _columns(document: dict[str, Any]) -> dict[str, Column]:
    return {"name": document.get("name")}


ANSWER = AnswerShape(items="", count=None, id_pointer=Pointer.parse("/id"))
SHAPES = {
    "user": RowShape(ANSWER, _columns, ttl=100.0, jitter=0.1, attributes=ATTRIBUTES),
    "team": RowShape(ANSWER, _columns, ttl=50.0, jitter=0.0),
}


def read(line: bytes) -> Write:
    return parse(line, SHAPES, now=NOW, rng=lambda: 0.5)


def line(**members: object) -> bytes:
    """A line of a user with the two members that it needs, and others over them."""
    return json.dumps({"resource": "user", "externalId": "a"} | members).encode()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = TEXT.filter(lambda value: 0 < len(value.encode()) <= 1024)
SECONDS = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
# Whatever the upstream may have put around and into an item.
DOCUMENTS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=4)
LOCALS = st.fixed_dictionaries(
    {}, optional={"department_id": TEXT, "is_field_worker": st.integers(min_value=0, max_value=1)}
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"ETag", b"x-raw"]),
        st.binary(max_size=8).filter(lambda value: not set(value) & set(b"\r\n\0")),
    ),
    max_size=2,
).map(tuple)


@st.composite
def items(draw: st.DrawFn, identity: str) -> bytes:
    document = draw(DOCUMENTS) | {"id": identity}
    is_ascii, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    text = json.dumps(document, ensure_ascii=is_ascii, indent=indent)
    return draw(st.sampled_from(["", " ", "\t", "\r\n"])).encode().join([b"", text.encode(), b""])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    identity = draw(IDS)
    # As a store gives it: to the millisecond, and of this century or the next.
    synced = epoch(rfc3339(draw(st.floats(min_value=0, max_value=7e9))))
    common: dict[str, Any] = {
        "key": Key("user", identity),
        "internal_id": str(draw(st.uuids())),
        "local": draw(LOCALS),
        "version": draw(st.integers(min_value=1, max_value=2**53 - 1)),
        "source_version": draw(st.none() | TEXT),
        "last_synced_at": synced,
    }
    if draw(st.booleans()):
        return Entry(item=None, received_at=synced, lifetime=0.0, **common)
    return Entry(
        item=draw(items(identity)),
        received_at=draw(st.floats(allow_infinity=False, allow_nan=False)),
        lifetime=draw(SECONDS),
        initial_age=draw(SECONDS),
        stale_while_revalidate=draw(st.none() | SECONDS),
        stale_if_error=draw(st.none() | SECONDS),
        must_revalidate=draw(st.booleans()),
        shareable=draw(st.booleans()),
        headers=draw(HEADERS),
        **common,
    )


PLAIN = Entry(
    key=Key("user", "a"),
    item=b'{"id":"a", "name":"Ana"}',
    received_at=NOW + 1 / 3,
    lifetime=86400.0,
    internal_id=USER_ID,
    local={"department_id": "7", "is_field_worker": 1},
    version=3,
    last_synced_at=NOW,
    headers=((b"ETag", b'"\xe9"'),),
)


def with_item(item: bytes) -> Entry:
    return replace(PLAIN, item=item)


@settings(deadline=None)
@given(entries())
@example(with_item(b'{"id":"a","n":1e999,"n":12345678901234567890123,"k":"\\ud83d\\ude00\\/"}'))
@example(with_item(b'{"id":"a","n":"\\ud800"}'))
@example(with_item(b' {"id":"a"}'))
@example(with_item('{"id":"a","n":"\u2028\x85\x7f"}'.encode()))
def test_a_row_comes_back_exactly(entry: Entry) -> None:
    written = render(entry, ATTRIBUTES)
    assert written.count(b"\n") == 1
    assert written.endswith(b"}\n")
    again, *_ = read(written)
    assert again == entry
    assert again.local == entry.local
    # To the last bit, and as what it was: these compare equal to others.
    for name in ("item", "received_at", "lifetime", "initial_age", "last_synced_at", "must_revalidate"):
        assert repr(getattr(again, name)) == repr(getattr(entry, name))


def test_the_members_stand_in_their_order() -> None:
    assert render(PLAIN, ATTRIBUTES).decode() == (
        '{"resource":"user","id":"0b9f3a6e-7f0b-5d53-9c0c-2f5a3c1de0a7","externalId":"a",'
        '"local":{"departmentId":"7","isFieldWorker":true},"lastSyncedAt":"2023-11-14T22:13:20.000Z",'
        '"receivedAt":1700000000.3333333,"lifetime":86400.0,"initialAge":0.0,"staleWhileRevalidate":null,'
        '"staleIfError":null,"mustRevalidate":false,"shareable":false,"version":3,"sourceVersion":null,'
        '"headers":[["ETag","\\"é\\""]],"item":{"id":"a", "name":"Ana"}}\n'
    )


def test_a_row_without_representation_says_nothing_of_freshness() -> None:
    husk = replace(PLAIN, item=None, headers=(), local={})
    assert json.loads(render(husk, ATTRIBUTES)) == {
        "resource": "user",
        "id": USER_ID,
        "externalId": "a",
        "lastSyncedAt": "2023-11-14T22:13:20.000Z",
        "version": 3,
        "sourceVersion": None,
    }


@pytest.mark.parametrize(
    ("item", "member"),
    [
        (b'{"id":"a"}', "item"),
        (b'{ "id" :\t"a" }', "item"),
        (b'{"id":"a","n":1e999}', "item"),
        (b'{"id":"a",\n"n":1}', "itemBase64"),
        (b'{"id":"a",\r"n":1}', "itemBase64"),
        (b'{"id":"a"} ', "itemBase64"),
        (b'{"id":"a","n":"\xff"}', "itemBase64"),
        (b'{"id":"a","n":"\0"}', "itemBase64"),
        (b'{"id":"a","n":"\\ud800"}', "itemBase64"),
        (b'{"id":"a","n":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "itemBase64"),
        (b"", "itemBase64"),
    ],
)
def test_an_item_that_cannot_stand_in_a_line_is_wrapped(item: bytes, member: str) -> None:
    assert f',"{member}":'.encode() in render(with_item(item))


def test_two_members_are_enough() -> None:
    write = read(b'{"resource":"user","externalId":"a"}')
    assert write.entry == Entry(
        key=Key("user", "a"), item=None, received_at=NOW, lifetime=0.0, last_synced_at=NOW
    )
    assert write.entry.local == {}
    assert write.columns == {}


def test_null_is_as_good_as_nothing() -> None:
    others = {
        name for name in json.loads(render(PLAIN, ATTRIBUTES)) if name not in {"resource", "externalId"}
    }
    assert read(line(**dict.fromkeys(others | {"itemBase64"}))) == read(line())


def test_an_item_without_freshness_gets_the_lifetime_that_is_configured_less_jitter() -> None:
    synced = "2023-11-14T21:13:20Z"
    entry, columns, _ = read(line(item={"id": "a", "name": "Ana"}, lastSyncedAt=synced))
    assert (entry.lifetime, entry.received_at, entry.last_synced_at) == (95.0, NOW - 3600, NOW - 3600)
    assert (entry.stale_while_revalidate, entry.stale_if_error) == (None, None)
    assert columns == {"name": "Ana"}
    assert read(line(item={"id": "a"}, lifetime=0)).entry.lifetime == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-15T03:58:20+05:45", NOW),
        ("2023-11-14T22:13:20.123456+00:00", NOW + 0.123456),
        ("1960-01-01T00:00:00Z", -315_619_200.0),
    ],
)
def test_times_have_their_offset(text: str, seconds: float) -> None:
    assert read(line(lastSyncedAt=text)).entry.last_synced_at == seconds


def test_an_id_is_taken_in_lower_case() -> None:
    assert read(line(id=USER_ID.upper())).entry.internal_id == USER_ID


def test_an_integer_id_equals_its_decimal_string() -> None:
    assert read(line(externalId="7", item={"id": 7})).entry.item == b'{"id": 7}'


def test_local_attributes_that_are_named_are_set_and_null_unsets() -> None:
    assert read(line(local={"departmentId": None, "isFieldWorker": False})).entry.local == {
        "department_id": None,
        "is_field_worker": False,
    }


SECRET = "secret-7f0b"
LONG = "x" * 1_025
UNKNOWN_RESOURCE = "resource: must be one that has storage: database (user, team)"
ITEM = "item: must be a JSON object whose id, as `id` of the resource points at it, is the externalId"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (SECRET.encode(), "must be one JSON object in UTF-8"),
        (f'["{SECRET}"]'.encode(), "must be one JSON object in UTF-8"),
        (line(name=SECRET) + b"}", "must be one JSON object in UTF-8"),
        (line(externalId=SECRET)[:-1], "must be one JSON object in UTF-8"),
        (b'{"resource":"user","externalId":"\xff"}', "externalId: must be text of 1 to 1,024 bytes"),
        (b'{"resource":"user","externalId":"\\ud800"}', "must be one JSON object in UTF-8"),
        (b'{"resource":"user","externalId":1,"externalId":"a"}', "must name each member once"),
        (f'{{"externalId":"{SECRET}"}}'.encode(), "resource: is missing"),
        (b'{"resource":"user"}', "externalId: is missing"),
        (line(resource=SECRET), UNKNOWN_RESOURCE),
        (line(resource=None), "resource: must be text"),
        (line(externalId=""), "externalId: must be text of 1 to 1,024 bytes"),
        (line(externalId=LONG), "externalId: must be text of 1 to 1,024 bytes"),
        (line(externalId=["secret"]), "externalId: must be text of 1 to 1,024 bytes"),
        (line(lastSynced=SECRET), "lastSynced: is not known"),
        (line(**{SECRET: 1}), "a member: is not known"),
        (line(id=SECRET), "id: must be a UUID or null"),
        (line(id=f"{{{USER_ID}}}"), "id: must be a UUID or null"),
        (line(id=7), "id: must be a UUID or null"),
        (line(local=[SECRET]), "local: must be an object of text, true, false and null"),
        (line(local={"departmentId": 7}), "local: must be an object of text, true, false and null"),
        (line(local={"departmentId": True}), "local.departmentId: must be text or null"),
        (line(local={"isFieldWorker": SECRET}), "local.isFieldWorker: must be true, false or null"),
        (line(local={SECRET: ""}), "local: may have these members: departmentId, isFieldWorker"),
        (line(resource="team", local={"departmentId": ""}), "local: may have these members: none"),
        (line(lifetime=-1, item={"id": "a"}), "lifetime: must be a number of seconds, 0 or more, or null"),
        (line(initialAge="1"), "initialAge: must be a number of seconds, 0 or more, or null"),
        (line(receivedAt=True), "receivedAt: must be a number, seconds since the beginning of 1970, or null"),
        (line(mustRevalidate=0), "mustRevalidate: must be true, false or null"),
        (line(version=0), "version: must be a whole number from 1 to 2^53 - 1, or null"),
        (line(version=2**53), "version: must be a whole number from 1 to 2^53 - 1, or null"),
        (line(sourceVersion=7), "sourceVersion: must be text or null"),
        (line(headers=[["ETag"]]), "headers: must be a list of pairs, field name and value, in Latin-1"),
        (line(headers=[]), "headers: must not be there without an item"),
        (line(shareable=False), "shareable: must not be there without an item"),
        (line(item=[SECRET]), ITEM),
        (line(item={"id": SECRET}), ITEM),
        (line(item={"name": SECRET}), ITEM),
        (b'{"resource":"user","externalId":"a","item":{"id":"a","n":"\xff"}}', ITEM),
        (line(itemBase64="eyJpZCI6ImIifQ=="), ITEM.replace("item: must be", "itemBase64: must be base64 of")),
        (line(itemBase64=SECRET), ITEM.replace("item: must be", "itemBase64: must be base64 of")),
        (line(itemBase64="e30=", item={"id": "a"}), "itemBase64: must not stand beside item"),
    ],
)
def test_what_cannot_be_taken_is_named_and_never_quoted(bad: bytes, message: str) -> None:
    with pytest.raises(BadLine) as caught:
        read(bad)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2023-11-14T22:13:20", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "infinity"],
)
def test_a_time_that_nobody_can_write_again_is_refused(text: str) -> None:
    with pytest.raises(BadLine, match="lastSyncedAt: must be a time with its offset"):
        read(line(lastSyncedAt=text))


@pytest.mark.parametrize(
    "pair", [["E Tag", "1"], ["", "1"], ["ETag", "1\r\nSet-Cookie: a"], ["ETag", "\0"], ["ETag", "\u0100"]]
)
def test_a_header_that_would_be_another_is_refused(pair: list[str]) -> None:
    with pytest.raises(BadLine, match="headers: must be a list of pairs"):
        read(line(item={"id": "a"}, headers=[pair]))


def test_an_item_that_is_nested_too_deeply_says_so() -> None:
    deep = render(with_item(b'{"id":"a","n":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
    with pytest.raises(BadLine, match="itemBase64: is nested too deeply"):
        read(deep)


def test_where_nothing_is_stored_every_resource_is_unknown() -> None:
    with pytest.raises(BadLine, match="there is none"):
        parse(line(), {}, now=NOW, rng=lambda: 0.0)


def test_the_documentation_has_every_member() -> None:
    page = (Path(__file__).parents[3] / "docs" / "import.md").read_text(encoding="utf-8")
    table = page.split("| member | is |")[1].split("\n\n")[0]
    documented = [
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert documented == list(json_lines._MEMBERS)
    assert documented == list(json_lines._Row.__struct_encode_fields__)
