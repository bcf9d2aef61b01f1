"""Bulk bodies, as bytes: ids out of a request, items out of an answer, items back in order.

Rules:

1. A request is ours only if its body is exactly `{<ids>: [strings]}`. Anything else is not understood here, and
   is for the upstream to judge. The member's name must be spelled plainly: a body that two JSON parsers could
   read differently (an escaped name, a repeated member) is not ours either.
2. The bytes of an item are never re-encoded.
3. An answer is understood only if it is `{<items>: [objects with an id], <count>: n}`. What is not understood is
   a failure of the upstream, never an absence.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from config.json_pointer import Pointer
from proxy.core import json_split

MAX_ID_BYTES = 1024
# More ids than this in one request would hold the event loop too long for everybody else: it is streamed on.
MAX_IDS = 20_000
# An answer may list more than was asked, but not without end: each item is an object of its own in memory, and all
# of them are read before anybody else has a turn.
MAX_ITEMS = MAX_IDS
# Values in what is read at a time, all items together, at some 100 bytes each in memory. A hundred users, as many as
# one call asks for, may have 2,500 each; an upstream's 8 MiB of `[],` would be 200 MiB, and a second.
MAX_VALUES = 250_000
# Members of an answer. Two are ours; an answer of more is passed on, so that nobody needs to know them.
_MAX_MEMBERS = 64
_WS = rb"[ \t\r\n]*"
_ids_decoder = msgspec.json.Decoder(list[str])
_envelope_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_count_decoder = msgspec.json.Decoder(int)
_item_decoder = msgspec.json.Decoder(dict[str, Any])
_DECODE_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)


class NotUnderstood(Exception):
    """The upstream's answer is not of the declared shape; the message names no byte of it."""


class NotAssemblable(Exception):
    """The answer is of a wider shape than the declared one: it can be passed on, but not put together again."""

    def __init__(self, items: "list[Item] | None" = None) -> None:
        super().__init__()
        self.items = items
        """What it lists, or None if that can't be told."""


class TooComplex(NotAssemblable):
    """The answer is nested more deeply than our parsers go, or is of more values than are read at a time."""


class Item(Struct, frozen=True):
    """One entity in an answer."""

    id: str
    raw: bytes
    document: dict[str, Any]


def is_valid_id(value: str) -> bool:
    """Whether an id is of the size that we keep: 1 to 1,024 bytes of UTF-8."""
    if value.isascii():
        return 0 < len(value) <= MAX_ID_BYTES
    try:
        return len(value.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


class RequestShape:
    """The declared shape of a bulk request's body."""

    __slots__ = ("_head", "_member")

    def __init__(self, member: str) -> None:
        self._member = msgspec.json.encode(member)
        self._head = re.compile(_WS + rb"\{" + _WS + re.escape(self._member) + _WS + rb":" + _WS + rb"(?=\[)")

    def parse(self, body: bytes) -> list[str] | None:
        """The ids that a body asks for, repeats included, or None if its shape is another."""
        ids = self.listed(body)
        return ids if ids is not None and len(ids) <= MAX_IDS and all(map(is_valid_id, ids)) else None

    def listed(self, body: bytes) -> list[str] | None:
        """The strings that a body of this shape lists, one at least, whether they could be ids or not."""
        # There is a comma before each id but the first, and two quotes around it; either may stand in ids, too.
        if min(body.count(b","), body.count(b'"') // 2) > MAX_IDS:
            return None
        start = self._head.match(body)
        if start is None:
            return None
        end = body.rstrip(b" \t\r\n")
        if not end.endswith(b"}"):
            return None
        try:
            # Everything between the name and the last brace must be one array: a further member can't hide in it.
            ids = _ids_decoder.decode(end[start.end() : -1])
        except _DECODE_ERRORS:
            return None
        return ids or None

    def render(self, ids: Sequence[str]) -> bytes:
        """The body of the proxy's own request for these ids."""
        return b"{" + self._member + b":" + msgspec.json.encode(ids) + b"}"


class AnswerShape:
    """The declared shape of a bulk answer."""

    __slots__ = ("_count", "_id", "_items", "_items_head")

    def __init__(self, *, items: str, count: str | None, id_pointer: Pointer) -> None:
        self._items = items
        self._count = count
        self._id = id_pointer
        self._items_head = b"{" + msgspec.json.encode(items) + b":["

    def parse(self, body: bytes) -> list[Item]:
        """The items of an upstream's answer.

        Raises NotUnderstood, or NotAssemblable for an envelope with further members or another count, or one that
        says something twice, or TooComplex.
        """
        _check_size(body)
        try:
            envelope = self._envelope(body)
            raws = self._elements(envelope[self._items])
        except RecursionError:
            raise TooComplex from None
        except (*_DECODE_ERRORS, KeyError) as error:
            # Not chained: a decoder's message may quote the body.
            raise NotUnderstood(type(error).__name__) from None
        if len(raws) > MAX_ITEMS:
            raise TooComplex
        items = [self._item(raw) for raw in raws]
        if envelope.keys() - {self._items, self._count} or not self._counts(envelope, len(raws)):
            _check_utf8(body)
            raise NotAssemblable(items)
        return items

    def _counts(self, envelope: dict[str, bytes], length: int) -> bool:
        """Whether the envelope's count, if it has one, is the number of its items."""
        count = envelope.get(self._count) if self._count is not None else None
        try:
            return count is None or _count_decoder.decode(count) == length
        except _DECODE_ERRORS:
            return False

    def _envelope(self, body: bytes) -> dict[str, bytes]:
        """The members of the answer. Raises NotAssemblable, ValueError, RecursionError."""
        try:
            decoded = _envelope_decoder.decode(body)
        except _DECODE_ERRORS:
            decoded = {}
        if len(decoded) > _MAX_MEMBERS:
            raise TooComplex
        quick = {name: bytes(raw) for name, raw in decoded.items()}
        # A body as long as its members has no room for a second one of the same name: the usual case.
        if len(body) == 1 + sum(len(msgspec.json.encode(name)) + 2 + len(raw) for name, raw in quick.items()):
            return quick
        try:
            listed = json_split.members(body, _MAX_MEMBERS)
        except json_split.TooManyMembers:
            raise TooComplex from None
        envelope = dict(listed)
        if len(envelope) != len(listed):
            raise NotAssemblable
        return envelope

    def _elements(self, array: bytes) -> list[bytes]:
        try:
            return [bytes(raw) for raw in _items_decoder.decode(array)]
        except _DECODE_ERRORS:
            return json_split.elements(array)

    def item(self, raw: bytes) -> Item:
        """One item, with its id. Raises NotUnderstood, TooComplex."""
        _check_size(raw)
        return self._item(raw)

    def _item(self, raw: bytes) -> Item:
        document: object
        try:
            document = _item_decoder.decode(raw)
        except _DECODE_ERRORS as error:
            try:  # the library's parser takes numbers beyond a double and lone surrogates
                document = json_split.decode(raw)
            except ValueError:
                raise NotUnderstood(type(error).__name__) from None
            except RecursionError:
                raise TooComplex from None
        if not isinstance(document, dict):
            raise NotUnderstood("item")
        value = self._id.resolve(document)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # an integer id equals its decimal string
        if not isinstance(value, str) or not is_valid_id(value):
            raise NotUnderstood("id")
        return Item(value, raw, document)

    def assemble(self, items: Iterable[bytes]) -> bytes:
        """The answer to a client: `{"<items>":[item,item],"<count>":n}`, without white space of ours."""
        listed = [item.strip(b" \t\r\n") for item in items]  # a single's body may end in a new line
        tail = b"]}" if self._count is None else b"],%s:%d}" % (msgspec.json.encode(self._count), len(listed))
        return self._items_head + b",".join(listed) + tail


def _check_size(body: bytes) -> None:
    """Raises TooComplex for more values than are read at a time. What stands in strings counts, too: it is cheap so.

    Each value has a comma, or the sign of what it is in, before it.
    """
    if body.count(b",") + body.count(b"{") + body.count(b"[") > MAX_VALUES:
        raise TooComplex


def _check_utf8(body: bytes) -> None:
    """Whether a body may be passed on as JSON: the quick parser does not ask it of the strings that it passes over."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise NotUnderstood(type(error).__name__) from None


def chunked(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The ids in runs of at most `size`: what one upstream call may ask for."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def take_requested(items: Iterable[Item], requested: Iterable[str]) -> tuple[dict[str, Item], set[str]]:
    """Items by id, as far as they were asked for, and the ids that came more than once.

    An item that nobody asked for is dropped. Of an id that came twice the first is answered, and none may be
    stored: the upstream contradicts itself.
    """
    wanted = frozenset(requested)
    found: dict[str, Item] = {}
    repeated: set[str] = set()
    for item in items:
        if item.id in found:
            repeated.add(item.id)
        elif item.id in wanted:
            found[item.id] = item
    return found, repeated


def is_implausible_absence(*, held: int, missing: int) -> bool:
    """Whether an answer leaves out more than half of at least five ids that we hold: a failure, not an absence."""
    return held >= 5 and missing * 2 > held  # noqa: PLR2004 - the contract's own numbers
