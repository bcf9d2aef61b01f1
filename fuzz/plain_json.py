"""JSON read the obvious way, by the standard library, with nothing lost: what the targets compare the program with."""

import json


class Members(list[tuple[str, object]]):
    """The members of an object in their order, repeated ones too."""

    def last(self) -> dict[str, object]:
        """What most parsers make of it: of a repeated member the last counts."""
        return dict(self)


class Number(str):
    """A number as it is spelled."""

    __slots__ = ()


def _refuse(_: str) -> object:
    raise ValueError("NaN and Infinity are not JSON")


def read(body: bytes) -> object:
    """The value of a body: objects are Members, numbers are Numbers.

    Raises ValueError if it is not JSON in UTF-8 (RFC 8259), RecursionError if it is nested too deeply for Python.
    """
    return json.loads(
        body.decode(), object_pairs_hook=Members, parse_constant=_refuse, parse_int=Number, parse_float=Number
    )


def read_or_none(body: bytes) -> object:
    """As `read`; None for what is no JSON, which `null` is too."""
    try:
        return read(body)
    except ValueError:
        return None


def is_integer(value: object) -> bool:
    """Whether a value that was read is a number without fraction and exponent."""
    return isinstance(value, Number) and not set(value) & set(".eE")


def depth(body: bytes) -> int:
    """How deeply the brackets of a body may be nested, those in strings counted with them."""
    deepest = now = 0
    for byte in body:
        if byte in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif byte in b"]}":
            now -= 1
    return deepest


def is_slices_of(parts: list[bytes], body: bytes) -> bool:
    """Whether the parts stand in the body in this order, and between two of them nothing but what JSON has there."""
    at = 0
    for number, part in enumerate(parts):
        found = body.find(part, at)
        if found < 0 or (number and body[at:found].strip(b" \t\r\n") != b","):
            return False
        at = found + len(part)
    return True
