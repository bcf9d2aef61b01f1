"""The store as JSON lines: one object a row, there and back without loss (docs/import.md has the members).

What is written has every member that the row has, in one order. What is read needs two of them; a member that is not
known is an error, for one that was misspelled would be lost in silence.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from proxy.core.bulk import AnswerShape, NotUnderstood, TooComplex, is_valid_id
from store.entry import NO_LOCALS, Column, Entry, Key, RawHeaders, Write
from store.times import epoch, rfc3339


class BadLine(Exception):
    """The line can't be taken. The message names the member and what it must be, never what is there."""

    def __init__(self, member: str, why: str) -> None:
        super().__init__(f"{member}: {why}" if member else why)


class Attribute(Protocol):
    """A local attribute: `proxy.attributes.LocalAttribute`."""

    @property
    def member(self) -> str:
        """Its name in JSON."""
        ...

    @property
    def column(self) -> str:
        """Its name in the table."""
        ...

    @property
    def kind(self) -> Literal["string", "boolean"]:
        """What its values are, null aside."""
        ...


class RowShape(Struct, frozen=True):
    """What the rows of one resource are like."""

    answer: AnswerShape
    """Knows where an item has its id."""
    columns: Callable[[dict[str, Any]], dict[str, Column]]
    """What is taken out of an item."""
    ttl: float
    """Lifetime, in seconds, of an item that comes without one."""
    jitter: float
    """The part of it that chance may take off."""
    attributes: Sequence[Attribute] = ()


_Seconds = Annotated[float, msgspec.Meta(ge=0)]
# What JSON parsers agree on; it leaves room for counting on.
_Version = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
_Local = Mapping[str, str | bool | None]


class _Row(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel", gc=False):
    """A line that is read; null is as good as a member that is not there."""

    resource: str
    id: str | None = None
    external_id: str
    local: dict[str, str | bool | None] | None = None
    last_synced_at: str | None = None
    received_at: float | None = None
    lifetime: _Seconds | None = None
    initial_age: _Seconds | None = None
    stale_while_revalidate: _Seconds | None = None
    stale_if_error: _Seconds | None = None
    must_revalidate: bool | None = None
    shareable: bool | None = None
    version: _Version | None = None
    source_version: str | None = None
    headers: list[tuple[str, str]] | None = None
    item: msgspec.Raw = msgspec.Raw()
    item_base64: bytes | None = None


_SECONDS = "must be a number of seconds, 0 or more, or null"
_BOOLEAN = "must be true, false or null"
_OF_ITS_OWN_ID = "whose id, as `id` of the resource points at it, is the externalId"
_MEMBERS: Final[Mapping[str, str]] = {
    "resource": "must be text",
    "id": "must be a UUID or null",
    "externalId": "must be text of 1 to 1,024 bytes",
    "local": "must be an object of text, true, false and null",
    "lastSyncedAt": "must be a time with its offset, such as 2026-01-02T03:04:05.678Z, or null",
    "receivedAt": "must be a number, seconds since the beginning of 1970, or null",
    "lifetime": _SECONDS,
    "initialAge": _SECONDS,
    "staleWhileRevalidate": _SECONDS,
    "staleIfError": _SECONDS,
    "mustRevalidate": _BOOLEAN,
    "shareable": _BOOLEAN,
    "version": "must be a whole number from 1 to 2^53 - 1, or null",
    "sourceVersion": "must be text or null",
    "headers": "must be a list of pairs, field name and value, in Latin-1",
    "item": f"must be a JSON object {_OF_ITS_OWN_ID}",
    "itemBase64": f"must be base64 of a JSON object {_OF_ITS_OWN_ID}",
}
"""What each must be. `_Row` has the same members."""

_OF_AN_ITEM: Final[Mapping[str, str]] = {
    "received_at": "receivedAt",
    "lifetime": "lifetime",
    "initial_age": "initialAge",
    "stale_while_revalidate": "staleWhileRevalidate",
    "stale_if_error": "staleIfError",
    "must_revalidate": "mustRevalidate",
    "shareable": "shareable",
    "headers": "headers",
}
"""What says nothing without one."""

_NO_ITEM = (b"", b"null")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# A name with a digit in it, or a long one, may be somebody's id.
_TELLABLE = re.compile(r"[A-Za-z_]{1,40}")
# The years that RFC 3339 can say, less a day at both ends for the offsets.
_EARLIEST, _LATEST = -62_135_510_400.0, 253_402_214_400.0

_row_decoder = msgspec.json.Decoder(_Row)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


def render(entry: Entry, attributes: Sequence[Attribute] = ()) -> bytes:
    """The line of a row, its line feed included. `attributes` are those that the resource has."""
    row: dict[str, object] = {
        "resource": entry.key.resource,
        "id": entry.internal_id,
        "externalId": entry.key.id,
    }
    local = {
        a.member: _shown(a, value) for a in attributes if (value := entry.local.get(a.column)) is not None
    }
    if local:
        row["local"] = local
    row["lastSyncedAt"] = rfc3339(entry.last_synced_at)
    if entry.item is not None:
        row["receivedAt"] = entry.received_at
        row["lifetime"] = entry.lifetime
        row["initialAge"] = entry.initial_age
        row["staleWhileRevalidate"] = entry.stale_while_revalidate
        row["staleIfError"] = entry.stale_if_error
        row["mustRevalidate"] = entry.must_revalidate
        row["shareable"] = entry.shareable
    row["version"] = entry.version
    row["sourceVersion"] = entry.source_version
    if entry.item is not None:
        if entry.headers:
            row["headers"] = [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in entry.headers
            ]
        if _fits_in_a_line(entry.item):
            row["item"] = msgspec.Raw(entry.item)
        else:
            row["itemBase64"] = entry.item
    return msgspec.json.encode(row) + b"\n"


def parse(line: bytes, shapes: Mapping[str, RowShape], *, now: float, rng: Callable[[], float]) -> Write:
    """The row of a line; `shapes` by resource. `now` is epoch seconds, `rng` gives a number in [0, 1).

    Raises BadLine.
    """
    try:
        row = _row_decoder.decode(line)
    except _DECODE_ERRORS:
        raise _fault(line) from None
    shape = shapes.get(row.resource)
    if shape is None:
        known = ", ".join(shapes) or "there is none"
        raise BadLine("resource", f"must be one that has storage: database ({known})")
    if not is_valid_id(row.external_id):
        raise _bad("externalId")
    synced = now if row.last_synced_at is None else _time(row.last_synced_at)
    item, columns = _item(row, shape)
    lifetime = row.lifetime
    if lifetime is None:
        lifetime = 0.0 if item is None else shape.ttl * (1.0 - shape.jitter * rng())
    entry = Entry(
        key=Key(row.resource, row.external_id),
        item=item,
        received_at=synced if row.received_at is None else row.received_at,
        lifetime=lifetime,
        initial_age=row.initial_age or 0.0,
        stale_while_revalidate=row.stale_while_revalidate,
        stale_if_error=row.stale_if_error,
        must_revalidate=bool(row.must_revalidate),
        shareable=bool(row.shareable),
        headers=_headers(row.headers) if row.headers else (),
        internal_id=None if row.id is None else _uuid(row.id),
        local=_local(row.local, shape.attributes) if row.local else NO_LOCALS,
        version=row.version or 1,
        source_version=row.source_version,
        last_synced_at=synced,
    )
    return Write(entry, columns)


def _shown(attribute: Attribute, value: Column) -> str | bool:
    return bool(value) if attribute.kind == "boolean" else str(value)


def _fits_in_a_line(item: bytes) -> bool:
    """Whether an item can stand in a line as it is, and a parser finds it there to the last byte."""
    if b"\n" in item or b"\r" in item:
        return False
    try:
        # White space around it would not be found again; and of strings the parser does not ask whether they are UTF-8.
        return bytes(_raw_decoder.decode(item)) == item == item.decode().encode()
    except _DECODE_ERRORS:
        return False


def _bad(member: str) -> BadLine:
    return BadLine(member, _MEMBERS[member])


def _time(text: str) -> float:
    try:
        seconds = epoch(text)
    except (ValueError, OverflowError):
        seconds = math.inf
    if not _EARLIEST <= seconds <= _LATEST:
        raise _bad("lastSyncedAt")
    return seconds


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise _bad("id")
    return text.lower()


def _item(row: _Row, shape: RowShape) -> tuple[bytes | None, dict[str, Column]]:
    """The item's bytes, and what is taken out of it for the columns, if the line has one."""
    raw, member = bytes(row.item), "item"
    if row.item_base64 is not None:
        if raw not in _NO_ITEM:
            raise BadLine("itemBase64", "must not stand beside item")
        raw, member = row.item_base64, "itemBase64"
    elif raw in _NO_ITEM:
        for name, said in _OF_AN_ITEM.items():
            if getattr(row, name) is not None:
                raise BadLine(said, "must not be there without an item")
        return None, {}
    try:
        item = shape.answer.item(raw)
    except NotUnderstood:
        raise _bad(member) from None
    except TooComplex:
        raise BadLine(member, "is nested too deeply, or of too many values") from None
    if item.id != row.external_id:
        raise _bad(member)
    return raw, shape.columns(item.document)


def _headers(pairs: list[tuple[str, str]]) -> RawHeaders:
    # They are sent to clients as they are.
    if not all(_FIELD_NAME.fullmatch(name) and not {"\r", "\n", "\0"} & set(value) for name, value in pairs):
        raise _bad("headers")
    try:
        return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)
    except UnicodeEncodeError:
        raise _bad("headers") from None


def _local(given: _Local, attributes: Sequence[Attribute]) -> dict[str, Column]:
    local: dict[str, Column] = {}
    known = {attribute.member: attribute for attribute in attributes}
    for member, value in given.items():
        attribute = known.get(member)
        if attribute is None:
            raise BadLine("local", f"may have these members: {', '.join(known) or 'none'}")
        if value is not None and isinstance(value, bool) != (attribute.kind == "boolean"):
            wanted = "true, false or null" if attribute.kind == "boolean" else "text or null"
            raise BadLine(f"local.{member}", f"must be {wanted}")
        local[attribute.column] = value
    return local


def _fault(line: bytes) -> BadLine:
    """What is wrong with a line that could not be decoded, in our own words: a parser's could quote it."""
    try:
        members = _members_decoder.decode(line)
    except _DECODE_ERRORS:
        return BadLine("", "must be one JSON object in UTF-8")
    for name, raw in members.items():
        if name not in _MEMBERS:
            return BadLine(name if _TELLABLE.fullmatch(name) else "a member", "is not known")
        try:
            # Of a member that comes twice the last counts: the only one here that can be wrong is this.
            _row_decoder.decode(b'{"resource":"","externalId":"","%s":%s}' % (name.encode(), bytes(raw)))
        except _DECODE_ERRORS:
            return _bad(name)
    missing = [name for name in ("resource", "externalId") if name not in members]
    return BadLine(missing[0], "is missing") if missing else BadLine("", "must name each member once")
