"""An event of an owner: what it says, what is wrong with it, and what it means for what is held."""

from config.json_pointer import Pointer
from fuzz import plain_json
from proxy.core.bulk import AnswerShape, is_valid_id
from proxy.core.events import Event, Held, Invalid, Merged, decide, parse

TOKENS = (
    b'{"type":"user.updated","id":"a"', b'"type":"business.deleted"', b'"id":', b'"version":', b'"data":{', b"}", b",",
    b'"v":8', b'"id":"a"', b'"id":null', b"null", b"7", b'"2026-01-02T03:04:05.678Z"', b"\\u0069d", b"\\ud800", b"-0",
    b"\\u0000", b'"timestamp":', b"1e999",
)  # fmt: skip
_RESOURCES = frozenset({"user", "business"})
_TYPES = {f"{resource}.{kind}" for resource in _RESOURCES for kind in ("updated", "deleted")}
_KNOWN = {"type", "id", "version", "data"}
_ID, _VERSION = Pointer.parse("/id"), Pointer.parse("/v")
_SHAPE = AnswerShape(items="", count=None, id_pointer=_ID)
_HELD = (
    None,
    Held(None, "7"),
    Held(b'{"id":"a","v":7,"name":"Ana"}', "7"),
    Held(b'{"id":"a"}', "2026-01-02T03:04:05Z"),
)
_DEEP = 100
"""Nesting below which no parser may give up."""
_MANY = 64
"""Members up to which none may."""


def fuzz_one(data: bytes) -> None:
    """Compare with the standard library's reading; what is wrong is named, and what is merged is the entity's."""
    try:
        event = parse(data, _RESOURCES)
    except Invalid as invalid:
        _check_faults(data, invalid)
        return
    assert _wrong(data) == set()
    members = plain_json.read(data)
    assert isinstance(members, plain_json.Members)
    said = members.last()
    assert said["type"] == f"{event.resource}.{event.kind}"
    assert event.id == _id(said["id"])
    assert event.version == _text(said.get("version"))
    if event.data is not None:
        assert event.data in data
        assert plain_json.read(event.data) == said["data"]
    else:
        assert said.get("data") is None or event.kind == "deleted"
    _check_decisions(event)


def _check_decisions(event: Event) -> None:
    for held in _HELD:
        try:
            decision = decide(event, held, version_at=_VERSION, id_at=_ID)
        except Invalid as invalid:
            _check_data_fault(invalid)
            continue
        assert event.version is None or getattr(decision, "version", event.version) == event.version
        if isinstance(decision, Merged):
            assert event.kind == "updated"
            assert _SHAPE.item(decision.item).id == event.id


def _check_data_fault(invalid: Invalid) -> None:
    assert invalid.__cause__ is None
    assert [fault.at for fault in invalid.faults] == ["#/data"]


def _check_faults(data: bytes, invalid: Invalid) -> None:
    assert invalid.__cause__ is None
    named = {fault.at for fault in invalid.faults}
    assert len(named) == len(invalid.faults)
    if named == {"#"} and (plain_json.depth(data) > _DEEP or data.count(b":") > _MANY):
        return
    assert named == _wrong(data)


def _wrong(data: bytes) -> set[str]:
    """Where something is wrong, by the obvious reading."""
    try:
        members = plain_json.read(data)
    except (ValueError, RecursionError):
        return {"#"}
    if not isinstance(members, plain_json.Members):
        return {"#"}
    names = [name for name, _ in members]
    repeated = {f"#/{name}" for name in _KNOWN if names.count(name) > 1}
    if repeated:
        return repeated
    said = members.last()
    kind, version, content = said.get("type"), said.get("version"), said.get("data")
    is_deletion = isinstance(kind, str) and kind in _TYPES and kind.endswith(".deleted")
    rules = {
        "type": isinstance(kind, str) and not isinstance(kind, plain_json.Number) and kind in _TYPES,
        "id": is_valid_id(_id(said.get("id"))),
        "version": version is None or _text(version) is not None,
        "data": content is None or is_deletion or isinstance(content, plain_json.Members),
    }
    return {f"#/{name}" for name, is_right in rules.items() if not is_right}


def _id(value: object) -> str:
    """The id that a value is; empty if it is none."""
    if plain_json.is_integer(value):
        return "0" if value == "-0" else str(value)
    return value if isinstance(value, str) and not isinstance(value, plain_json.Number) else ""


def _text(value: object) -> str | None:
    """The version that a value is."""
    text = _id(value)
    # Half of a pair is no character.
    is_text = 0 < len(text) <= 256 and "\0" not in text and text.encode(errors="ignore").decode() == text
    return text if is_text else None
