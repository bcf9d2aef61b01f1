"""Structured Fields (RFC 9651) read the obvious way: a form for each kind of value, and what stands between them."""

import re
from typing import Literal

from proxy.core.http.fields import RawField

_KEY = re.compile(rb"[a-z*][a-z0-9_.*-]*")
_INTEGER = re.compile(rb"-?[0-9]{1,15}")
_DECIMAL = re.compile(rb"-?[0-9]{1,12}\.[0-9]{1,3}")
_STRING = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_TOKEN = re.compile(rb"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
# Its padding may be missing (section 4.2.7).
_BYTES = re.compile(rb":((?:[A-Za-z0-9+/]+={0,2})?):")
_BOOLEAN = re.compile(rb"\?[01]")
_DATE = re.compile(rb"@(-?[0-9]{1,15})")
_DISPLAY = re.compile(rb'%"((?:[ !#$&-~]|%[0-9a-f]{2})*)"')
_ESCAPED = re.compile(rb"%[0-9a-f]{2}")
_YEARS = range(-62_135_596_800, 253_402_300_800)
"""Seconds of the years that a date of Python can have; section 3.3.7 wants most of them."""

Value = int | str | bool | Literal[b"other"]
"""Of an integer, a string or a token, and a boolean; of anything else only that it is there."""
_SECONDS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_WORDS = frozenset({"must-revalidate", "no-store", "proxy-revalidate"})
"""Directives that forbid, and have no argument."""
_LISTS = frozenset({"no-cache", "private"})
"""Those that may list fields."""


class Token(str):
    """A token, which is no string."""

    __slots__ = ()


class _Invalid(Exception):
    """It is no Structured Field."""


def targeted(fields: list[RawField]) -> dict[bytes, bytes | None] | None:
    """What a CDN-Cache-Control says (RFC 9213 section 2.1): directives with their arguments, None where one is bare. Or
    None: it is ignored.

    Of a value that is of another type than its directive has, the strictest thing that it could mean.
    """
    said = dictionary(b", ".join(value for name, value in fields if name.lower() == b"cdn-cache-control"))
    if not said:
        return None
    found: dict[bytes, bytes | None] = {}
    for name, value in said.items():
        is_text = isinstance(value, str) and not isinstance(value, Token)
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if value is False:
            continue
        if name in _SECONDS:
            found[name.encode()] = str(value).encode() if is_number else b""
        elif is_text and name not in _WORDS:
            found[name.encode()] = str(value).encode()
        elif value is True or name in _WORDS | _LISTS:
            found[name.encode()] = None
    return found


def dictionary(value: bytes) -> dict[str, Value] | None:
    """The members of a dictionary by key, their parameters left out; of a key that is repeated the last. None if it is
    none."""
    try:
        return _Reader(value).dictionary()
    except _Invalid:
        return None


class _Reader:
    """Bytes, and how far they have been read."""

    def __init__(self, data: bytes) -> None:
        self._data = data.strip(b" ")
        self._at = 0

    def dictionary(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while self._data:
            key = self._take(_KEY)[0].decode()
            found[key] = self._member() if self._is_next(b"=") else True
            self._parameters()
            self._skip(b" \t")
            if self._at == len(self._data):
                break
            self._must(b",")
            self._skip(b" \t")
        return found

    def _member(self) -> Value:
        if not self._is_next(b"("):
            return self._bare()
        self._skip(b" ")
        while not self._is_next(b")"):
            self._bare()
            self._parameters()
            if self._data[self._at : self._at + 1] not in {b" ", b")"}:
                raise _Invalid
            self._skip(b" ")
        return b"other"

    def _parameters(self) -> None:
        while self._is_next(b";"):
            self._skip(b" ")
            self._take(_KEY)
            if self._is_next(b"="):
                self._bare()

    def _bare(self) -> Value:
        """A bare item; the longest reading of a number, which nothing can follow that would be one of a shorter."""
        for form in (_DECIMAL, _INTEGER, _STRING, _TOKEN, _BYTES, _BOOLEAN, _DATE, _DISPLAY):
            found = form.match(self._data, self._at)
            if found is not None:
                self._at = found.end()
                return _value(form, found)
        raise _Invalid

    def _take(self, form: re.Pattern[bytes]) -> re.Match[bytes]:
        found = form.match(self._data, self._at)
        if found is None:
            raise _Invalid
        self._at = found.end()
        return found

    def _is_next(self, sign: bytes) -> bool:
        """Whether that stands here, which is then behind us."""
        is_there = self._data.startswith(sign, self._at)
        self._at += is_there
        return is_there

    def _must(self, sign: bytes) -> None:
        if not self._is_next(sign):
            raise _Invalid

    def _skip(self, signs: bytes) -> None:
        while self._at < len(self._data) and self._data[self._at] in signs:
            self._at += 1


def _value(form: re.Pattern[bytes], found: re.Match[bytes]) -> Value:
    if form is _INTEGER:
        return int(found[0])
    if form is _STRING:
        return re.sub(rb"\\(.)", rb"\1", found[1]).decode()
    if form is _TOKEN:
        return Token(found[0].decode())
    if form is _BOOLEAN:
        return found[0] == b"?1"
    if (
        (form is _BYTES and len(found[1].rstrip(b"=")) % 4 == 1)
        or (form is _DATE and int(found[1]) not in _YEARS)
        or (form is _DISPLAY and not _is_utf8(found[1]))
    ):
        raise _Invalid
    return b"other"


def _is_utf8(text: bytes) -> bool:
    try:
        _ESCAPED.sub(lambda escape: bytes([int(escape[0][1:], 16)]), text).decode()
    except UnicodeDecodeError:
        return False
    return True
