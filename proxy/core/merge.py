"""JSON Merge Patch (RFC 7396) on raw members: what a patch does not name keeps its very bytes.

1. A member that the patch does not name stays as it is spelled, name and value, and in its order.
2. One that it names as null goes. An object is merged into the object that is there, by these rules. All else takes the
   place of the value, as the patch spells it; the name stays as the item spells it.
3. What the item does not have comes after what it has, in the patch's order. An object that meets no object loses its
   members that are null (RFC 7396 section 2).
4. White space around members goes, in the item and in each object that is merged; within a member it stays.
5. Names are equal if they are so when read, however they are spelled. Of a member that stands more than once the last
   counts, in the item and in the patch; of one that the patch names no other is left.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from proxy.core.bulk import MAX_VALUES, TooComplex


class NotAnObject(ValueError):
    """The item or the patch is no JSON object in UTF-8. The message quotes neither."""


class _Member(NamedTuple):
    """A member of a patch."""

    name: str
    """As it is spelled, with its colon."""
    value: "str | dict[str, _Member]"


_Patch = dict[str, _Member]


def merge_patch(item: bytes, patch: bytes) -> bytes:
    """The item with the patch, both JSON objects.

    Raises NotAnObject, and TooComplex for what is nested more deeply than Python goes, or of more values than are read
    at a time. Whether the item still has an id is for `AnswerShape.item` to say.
    """
    try:
        changes = _Reader(patch)
        patched = changes.patch()
        changes.end()
        reader = _Reader(item)
        merged = reader.merged(patched)
        reader.end()
    except RecursionError:
        raise TooComplex from None
    except ValueError as error:
        # Not chained: a decoder's message may quote what it was given.
        raise NotAnObject(type(error).__name__) from None
    return merged.encode()


def _refuse(_constant: str) -> object:
    raise ValueError("NaN and Infinity are not JSON")


# Nobody computes with the numbers: Python limits how long one may be before it is turned into an integer.
_decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str)
_SIGNS: Final = {sign: re.compile(rf"[ \t\r\n]*{re.escape(sign)}[ \t\r\n]*") for sign in "{:,}"}


class _Reader:
    """Reads a text once, from the front, however deeply it is nested. Raises ValueError, RecursionError."""

    __slots__ = ("_at", "_text")

    def __init__(self, body: bytes) -> None:
        # As an item is measured before it is read; what stands in strings counts, too.
        if body.count(b",") + body.count(b"{") + body.count(b"[") > MAX_VALUES:
            raise TooComplex
        self._text = body.decode()
        self._at = 0

    def patch(self) -> _Patch:
        """The object that comes next."""
        return {
            name: _Member(spelled, self.patch() if self._is_object() else self._value())
            for name, spelled in self._names()
        }

    def merged(self, patch: _Patch) -> str:
        """The object that comes next, with a patch."""
        members: list[str] = []
        places: dict[str, int] = {}
        for name, spelled in self._names():
            if name not in patch:
                members.append(spelled + self._value())
                continue
            if name in places:
                members[places[name]] = ""
            places[name] = len(members)
            members.append(self._patched(spelled, patch[name].value))
        members += [_rendered(*member) for name, member in patch.items() if name not in places]
        return _object(members)

    def end(self) -> None:
        """Nothing comes any more."""
        if self._at != len(self._text):
            raise ValueError("something follows")

    def _patched(self, name: str, change: str | _Patch) -> str:
        """The member of which the value comes next."""
        if isinstance(change, dict) and self._is_object():
            return name + self.merged(change)
        self._value()
        return _rendered(name, change)

    def _names(self) -> Iterator[tuple[str, str]]:
        """The names of the object that comes next, as they read and as they are spelled. At each the value comes next,
        and is to be read by the caller."""
        self._expect("{")
        if self._takes("}"):
            return
        while True:
            start = self._at
            name, self._at = _decoder.raw_decode(self._text, start)
            if not isinstance(name, str) or self._text[start] != '"':  # a number is read as text, too
                raise ValueError("a name is a string")
            self._expect(":")
            yield name, self._text[start : self._at]
            if self._takes("}"):
                return
            self._expect(",")

    def _is_object(self) -> bool:
        return self._text.startswith("{", self._at)

    def _value(self) -> str:
        start = self._at
        _, self._at = _decoder.raw_decode(self._text, start)
        return self._text[start : self._at]

    def _takes(self, sign: str) -> bool:
        """Whether this comes next, which is then passed over, with the white space around it."""
        found = _SIGNS[sign].match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found is not None

    def _expect(self, sign: str) -> None:
        if not self._takes(sign):
            raise ValueError(f"{sign} expected")


def _rendered(name: str, value: str | _Patch) -> str:
    """A member as a patch makes it where there was none; empty if there shall be none."""
    if isinstance(value, dict):
        return name + _object(_rendered(*member) for member in value.values())
    return "" if value == "null" else name + value


def _object(members: Iterable[str]) -> str:
    return "{" + ",".join(filter(None, members)) + "}"
