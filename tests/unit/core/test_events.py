"""What an owner's event says, and what it means for what is held."""

import json
from typing import Any

import pytest

from config.json_pointer import Pointer
from proxy.core.bulk import MAX_VALUES
from proxy.core.events import Decision, Event, Held, Invalid, Merged, Outdated, Unchanged, decide, parse
from proxy.core.problem import Fault

RESOURCES = frozenset({"user", "business"})
ID = Pointer.parse("/id")
VERSION = Pointer.parse("/meta/v")

TYPE_FAULT = "must be <resource>.updated or <resource>.deleted of a resource that has events (business, user)"
ID_FAULT = "must be a string of 1 to 1024 bytes of UTF-8, or an integer"
VERSION_FAULT = "must be an integer, or text of 1 to 256 characters, or null"
DATA_FAULT = "must be an object or null"


NO_TYPES: list[object] = [
    *(None, 7, [], {}, "", "user", "user.", ".updated", "updated", "secret", "secret.updated"),
    *("user.created", "user.Updated", "User.updated", "user.updated ", "user.updated.updated"),
]
NO_IDS: list[object] = [None, "", "x" * 1_025, "é" * 513, "\ud800", True, 7.0, 1e30, ["secret"], {}]
NO_VERSIONS: list[object] = ["", "x" * 257, 10**256, "\0", "\ud800", True, False, 7.0, ["secret"], {}]
NO_DATA: list[object] = [7, 0, "", "{}", "secret", [], [{}], True, False]


def body(**members: object) -> bytes:
    """An event with the two members that it needs, and others over them."""
    return json.dumps({"type": "user.updated", "id": "a"} | members).encode()


def faults_of(wrong: bytes) -> list[Fault]:
    with pytest.raises(Invalid) as caught:
        parse(wrong, RESOURCES)
    assert caught.value.__cause__ is None
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("said", "event"),
    [
        (body(), Event("user", "a", "updated")),
        (body(type="user.deleted"), Event("user", "a", "deleted")),
        (body(type="business.updated"), Event("business", "a", "updated")),
        (body(id=7), Event("user", "7", "updated")),
        (body(id=-7), Event("user", "-7", "updated")),
        (body(id=10**30), Event("user", "1" + "0" * 30, "updated")),
        (body(id="é" * 512), Event("user", "é" * 512, "updated")),
        (body(version=7), Event("user", "a", "updated", "7")),
        (body(version=0), Event("user", "a", "updated", "0")),
        (body(version="007"), Event("user", "a", "updated", "007")),
        (body(version=None, data=None), Event("user", "a", "updated")),
        (body(data={}), Event("user", "a", "updated", data=b"{}")),
        # Members that it does not know are none of its business, twice or not.
        (body(timestamp="2026-01-02T03:04:05Z", Type=1, x={"id": 1}), Event("user", "a", "updated")),
        (b'{"x":1,"type":"user.updated","x":2,"id":"a"}', Event("user", "a", "updated")),
        # A deletion has no use for data, whatever it is.
        (body(type="user.deleted", version=8, data={"id": "a"}), Event("user", "a", "deleted", "8")),
        (body(type="user.deleted", data=7), Event("user", "a", "deleted")),
        # Names are read, not compared as they are spelled.
        (b'{"\\u0074ype":"user\\u002eupdated","id":"\\u0061"}', Event("user", "a", "updated")),
    ],
)
def test_an_event_is_what_its_body_says(said: bytes, event: Event) -> None:
    assert parse(said, RESOURCES) == event


def test_data_is_kept_as_the_bytes_that_were_sent() -> None:
    data = rb'{ "n" : 1.0, "n" : 1e999,"s":"\/\u00e9\ud800" ,"o":{ }}'
    said = b' {"type" : "user.updated" ,\r\n"data" : ' + data + b' \t, "id":"a"}\n'
    assert parse(said, RESOURCES).data == data


def test_a_resource_may_have_a_dot_in_its_name() -> None:
    assert parse(body(type="a.b.deleted"), ["a.b", "a"]) == Event("a.b", "a", "deleted")


@pytest.mark.parametrize(
    ("wrong", "faults"),
    [
        (b"{}", [Fault("#/type", "is required"), Fault("#/id", "is required")]),
        *((body(type=value), [Fault("#/type", TYPE_FAULT)]) for value in NO_TYPES),
        *((body(id=value), [Fault("#/id", ID_FAULT)]) for value in NO_IDS),
        *((body(version=value), [Fault("#/version", VERSION_FAULT)]) for value in NO_VERSIONS),
        *((body(data=value), [Fault("#/data", DATA_FAULT)]) for value in NO_DATA),
        # All that is wrong is told at once.
        (
            body(type="user", id="", version=[], data=[]),
            [
                Fault("#/type", TYPE_FAULT),
                Fault("#/id", ID_FAULT),
                Fault("#/version", VERSION_FAULT),
                Fault("#/data", DATA_FAULT),
            ],
        ),
    ],
)
def test_a_member_that_is_wrong_is_named_and_not_quoted(wrong: bytes, faults: list[Fault]) -> None:
    assert faults_of(wrong) == faults


def test_where_no_resource_has_events_it_says_so() -> None:
    with pytest.raises(Invalid) as caught:
        parse(body(), ())
    assert caught.value.faults[0].detail.endswith("(there is none)")


@pytest.mark.parametrize("name", ["type", "id", "version", "data"])
@pytest.mark.parametrize("spelled", ["{}", "\\u{:04x}"])
def test_a_member_that_is_there_twice_counts_neither_way(name: str, spelled: str) -> None:
    good = {"type": '"user.deleted"', "id": '"a"', "version": "7", "data": "{}"}
    again = spelled.format(name if spelled == "{}" else ord(name[0])) + ("" if spelled == "{}" else name[1:])
    members = [*(f'"{key}":{value}' for key, value in good.items()), f'"{again}":{good[name]}']
    assert faults_of(f"{{{','.join(members)}}}".encode()) == [Fault(f"#/{name}", "must be given once")]


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        *[
            (wrong, "must be JSON: an object")
            for wrong in (
                *(b"", b"null", b"[]", b'"secret"', b"7", body()[:-1], body() + b"}", body() + b"secret"),
                *(
                    b'{"type":"user.updated","id":"\xff"}',
                    b'{"type":"user.updated","id":"a","data":{"n":NaN}}',
                ),
                *(b"\xef\xbb\xbf" + body(), b'{"type":"user.updated","id":"a","x":}'),
            )
        ],
        (body(x=[0] * MAX_VALUES), "is of too many values"),
        (body(**{f"x{number}": 1 for number in range(63)}), "must have at most 64 members"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply"),
    ],
)
def test_a_body_that_is_no_event_is_not_quoted(wrong: bytes, detail: str) -> None:
    assert faults_of(wrong) == [Fault("#", detail)]


@pytest.mark.parametrize("name", ["type", "id", "version", "data"])
def test_no_depth_of_nesting_lets_anything_else_escape(name: str) -> None:
    # Around what Python takes, where one look at it fits into the stack and another one does not.
    for depth in range(900, 1_010):
        good = {"type": '"user.updated"', "id": '"a"'}
        good[name] = '{"a":' * depth + "1" + "}" * depth
        said = ",".join(f'"{key}":{value}' for key, value in good.items())
        try:
            event = parse(f"{{{said}}}".encode(), RESOURCES)
        except Invalid:
            continue
        assert name == "data"
        assert decide(event, HELD, version_at=VERSION, id_at=ID) == Outdated(None)


ITEM = b'{"id":"a", "name":"Ana" ,"meta":{"v":7}}'
HELD = Held(ITEM, "7")
HUSK = Held(None, "7")
EARLIER, AT, LATER = "2026-01-02T03:04:04Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.001Z"


def updated(version: str | None = None, data: bytes | None = b'{"name":"Bo"}') -> Event:
    return Event("user", "a", "updated", version, data)


def deleted(version: str | None = None) -> Event:
    return Event("user", "a", "deleted", version)


def decided(event: Event, held: Held | None) -> Decision:
    return decide(event, held, version_at=VERSION, id_at=ID)


MERGED = Merged(b'{"id":"a","name":"Bo","meta":{"v":7}}', "8")


@pytest.mark.parametrize(
    ("event", "held", "decision"),
    [
        # It came twice, or late.
        (updated("7"), HELD, Unchanged()),
        (updated("6"), HELD, Unchanged()),
        (updated("7", None), HELD, Unchanged()),
        (updated("7"), HUSK, Unchanged()),
        (updated("6", None), HUSK, Unchanged()),
        (deleted("7"), HELD, Unchanged()),
        (deleted("6"), HUSK, Unchanged()),
        (updated(EARLIER), Held(ITEM, AT), Unchanged()),
        (updated(AT), Held(ITEM, AT), Unchanged()),
        (updated('"x"'), Held(ITEM, '"x"'), Unchanged()),
        (deleted('"x"'), Held(ITEM, '"x"'), Unchanged()),
        # It is the next one.
        (updated("8"), HELD, MERGED),
        (updated("8", b'{"name":null}'), HELD, Merged(b'{"id":"a","meta":{"v":7}}', "8")),
        (updated("8", b"{}"), HELD, Merged(b'{"id":"a","name":"Ana","meta":{"v":7}}', "8")),
        (updated(LATER), Held(ITEM, AT), Merged(MERGED.item, LATER)),
        (updated("2030-01-01T00:00:00Z"), Held(ITEM, AT), Merged(MERGED.item, "2030-01-01T00:00:00Z")),
        # A deletion leaves nothing to serve, with a gap or without a version, too.
        (deleted("8"), HELD, Outdated("8")),
        (deleted("9"), HUSK, Outdated("9")),
        (deleted(), HELD, Outdated(None)),
        (deleted("8"), None, Outdated("8")),
        (deleted('"y"'), Held(ITEM, '"x"'), Outdated('"y"')),
        (Event("user", "a", "deleted", "8", b'{"name":"Bo"}'), HELD, Outdated("8")),
        # No data.
        (updated("8", None), HELD, Outdated("8")),
        (updated(None, None), HELD, Outdated(None)),
        # No version.
        (updated(), HELD, Outdated(None)),
        (updated(), HUSK, Outdated(None)),
        # A gap.
        (updated("9"), HELD, Outdated("9")),
        # Nothing is held, or of a version that is not known.
        (updated("8"), None, Outdated("8")),
        (updated(), None, Outdated(None)),
        (updated("8"), HUSK, Outdated("8")),
        (updated("8"), Held(ITEM, None), Outdated("8")),
        (updated("8"), Held(None, None), Outdated("8")),
        (updated(), Held(ITEM, None), Outdated(None)),
        # An order that nobody knows.
        (updated('"y"'), Held(ITEM, '"x"'), Outdated('"y"')),
        (updated("8"), Held(ITEM, AT), Outdated("8")),
        (updated(AT), HELD, Outdated(AT)),
    ],
)
def test_what_an_event_means(event: Event, held: Held | None, decision: Decision) -> None:
    assert decided(event, held) == decision


@pytest.mark.parametrize(
    ("version", "data", "decision"),
    [
        (None, b'{"meta":{"v":8}}', Merged(b'{"id":"a","name":"Ana","meta":{"v":8}}', "8")),
        (None, b'{"meta":{"v":"8"}}', Merged(b'{"id":"a","name":"Ana","meta":{"v":"8"}}', "8")),
        (None, b'{"meta":{"v":7}}', Unchanged()),
        (None, b'{"meta":{"v":9}}', Outdated("9")),
        (None, b'{"meta":{"v":null}}', Outdated(None)),
        (None, b'{"meta":{"v":8.0}}', Outdated(None)),
        (None, b'{"meta":8}', Outdated(None)),
        (None, b'{"v":8}', Outdated(None)),
        # The event's own counts.
        ("8", b'{"meta":{"v":6}}', Merged(b'{"id":"a","name":"Ana","meta":{"v":6}}', "8")),
        ("8", b'{"meta":{"v":9}}', Merged(b'{"id":"a","name":"Ana","meta":{"v":9}}', "8")),
        ("7", b'{"meta":{"v":8}}', Unchanged()),
    ],
)
def test_the_version_is_the_events_or_else_that_of_the_data(
    version: str | None, data: bytes, decision: Decision
) -> None:
    assert decided(updated(version, data), HELD) == decision


def test_where_items_have_no_version_that_of_the_data_is_not_looked_for() -> None:
    event = updated(None, b'{"meta":{"v":8}}')
    assert decide(event, HELD, version_at=None, id_at=ID) == Outdated(None)
    assert decide(updated("8"), HELD, version_at=None, id_at=ID) == MERGED


@pytest.mark.parametrize(
    "data", [b'{"id":"b"}', b'{"id":null}', b'{"id":""}', b'{"id":["a"]}', b'{"id":true}', b'{"id":"A"}']
)
def test_data_of_another_entity_is_the_senders_mistake(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decided(updated("8", data), HELD)
    assert caught.value.faults == (Fault("#/data", "must leave the item the id of the event"),)
    assert caught.value.__cause__ is None
    # Where the data does not count, nor does its mistake.
    assert decided(updated("7", data), HELD) == Unchanged()
    assert decided(updated("9", data), HELD) == Outdated("9")


def test_an_id_may_be_an_integer_and_stand_anywhere() -> None:
    event = Event("user", "7", "updated", "8", b'{"n":1}')
    held = Held(b'{"who":[{"id":7}]}', "7")
    decision = decide(event, held, version_at=None, id_at=Pointer.parse("/who/0/id"))
    assert decision == Merged(b'{"who":[{"id":7}],"n":1}', "8")


def test_data_that_makes_too_much_of_an_item_is_the_senders_mistake() -> None:
    half = json.dumps([0] * (MAX_VALUES // 2)).encode()
    held = Held(b'{"id":"a","x":' + half + b"}", "7")
    with pytest.raises(Invalid) as caught:
        decided(updated("8", b'{"y":' + half + b',"z":1}'), held)
    assert caught.value.faults == (Fault("#/data", "makes an item that is too complex to be read"),)


@pytest.mark.parametrize("item", [b"", b"[]", b'{"id":"a"', b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"])
def test_what_is_held_and_cannot_be_taken_apart_is_outdated(item: bytes) -> None:
    assert decided(updated("8"), Held(item, "7")) == Outdated("8")


def test_what_is_merged_is_held_and_merged_again() -> None:
    held = HELD
    for version, name in ((8, "Bo"), (9, "Cy"), (10, "Di")):
        event = updated(None, json.dumps({"name": name, "meta": {"v": version}}).encode())
        decision = decided(event, held)
        assert isinstance(decision, Merged)
        held = Held(decision.item, decision.version)
        assert decided(event, held) == Unchanged()
    document: Any = json.loads(held.item or b"")
    assert document == {"id": "a", "name": "Di", "meta": {"v": 10}}
