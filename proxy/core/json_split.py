"""JSON taken apart without being changed: members and elements as the very text that stood there.

The quick parser of proxy/core/bulk.py does this for almost every body. This one is for the rest: white space that
could hide a repeated member, lone surrogates, numbers beyond a double (RFC 8259 allows them all).
"""

import json
import re

_MAX_DIGITS = 1_000
_SPACE = re.compile(r"[ \t\r\n]*")


class TooManyMembers(Exception):
    """An object has more members than its reader wants to see."""


def _refuse(_constant: str) -> object:
    raise ValueError("NaN and Infinity are not JSON")


def _number(text: str) -> int | str:
    # Python limits how long a number may be before it is turned into an integer; nobody computes with these.
    return int(text) if len(text) <= _MAX_DIGITS else text


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=_number)


def decode(body: bytes) -> object:
    """The value of a body: strictly UTF-8 without a mark. Raises ValueError, RecursionError."""
    return _decoder.decode(body.decode())


def members(body: bytes, at_most: int | None = None) -> list[tuple[str, bytes]]:
    """The members of the object that a body is, repeated ones too.

    Raises ValueError, RecursionError, and TooManyMembers as soon as there are more than `at_most`.
    """
    text = body.decode()
    found: list[tuple[str, bytes]] = []
    at = _expect(text, 0, "{")
    while not _is_end(text, at, "}"):
        if len(found) == at_most:
            raise TooManyMembers
        name, at = _decoder.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError("a name is a string")  # noqa: TRY004 - one kind of error for all that is no JSON
        at = _expect(text, at, ":")
        start = at
        _, at = _decoder.raw_decode(text, at)
        found.append((name, text[start:at].encode()))
        at = _next(text, at, "}")
    return found


def elements(body: bytes) -> list[bytes]:
    """The elements of the array that a body is. Raises ValueError, RecursionError."""
    text = body.decode()
    found: list[bytes] = []
    at = _expect(text, 0, "[")
    while not _is_end(text, at, "]"):
        start = at
        _, at = _decoder.raw_decode(text, at)
        found.append(text[start:at].encode())
        at = _next(text, at, "]")
    return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, sign: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} expected")
    return _skip(text, at + 1)


def _next(text: str, at: int, closing: str) -> int:
    """The place after a comma, or of the closing sign."""
    at = _skip(text, at)
    if text[at : at + 1] == closing:
        return at
    at = _expect(text, at, ",")
    if text[at : at + 1] == closing:
        raise ValueError("a comma has nothing behind it")
    return at


def _is_end(text: str, at: int, closing: str) -> bool:
    if text[at : at + 1] != closing:
        return False
    if _skip(text, at + 1) != len(text):
        raise ValueError("something follows")
    return True
