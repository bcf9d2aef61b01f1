"""Heads of requests that ask for an entity and nothing else: what answers one answers every other.

A field counts here if it can change what a cache answers, or who may see it. All others, of which a request may have
any, change nothing about a hit.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from proxy.core.http.fields import RawField

_MAX_FIELDS = 64
# Requests of which every HTTP parser has one reading, and all the same: an origin-form target of the characters of
# paths and queries (RFC 3986 sections 3.3 and 3.4), fields of a token and visible ASCII. Whatever is beside that is for
# a whole parser.
_TARGET = rb"/[\w!$%&'()*+,./:;=@~-]*(?:\?[\w!$%&'()*+,./:;=?@~-]*)?"
_LINES = rb"((?:[\w!#$%&'*+.^`|~-]+:[ -~]*\r\n)*)\r\n"
_REQUEST = re.compile(rb"([A-Z]+) (" + _TARGET + rb") HTTP/1\.1\r\n" + _LINES, re.ASCII)
_FIELD = re.compile(rb"([^:]+):([ -~]*)\r\n")


class PlainRequest(NamedTuple):
    """A request that can be read in one way only."""

    method: bytes
    target: bytes
    fields: Sequence[RawField]
    body: bytes


def read(data: bytes) -> PlainRequest | None:
    """The request that these bytes are from the first to the last, if it is of the simplest form. A body has the length
    that its head declares."""
    head = _REQUEST.match(data)
    if head is None:
        return None
    method, target, lines = head.groups()
    fields = [(name, value.strip(b" ")) for name, value in _FIELD.findall(lines)]
    names = {name.lower() for name, _ in fields}
    # Some may not stand there twice, and one has to (RFC 9112 section 3.2).
    if len(names) != len(fields) or len(fields) > _MAX_FIELDS or b"host" not in names:
        return None
    body = data[head.end() :]
    if body or b"content-length" in names:
        declared = [value for name, value in fields if name.lower() == b"content-length"]
        if declared != [b"%d" % len(body)]:
            return None
    return PlainRequest(method, target, fields, body)


Plainness = Literal["other", "secret", "plain"]
"""Whether a head is plain; `secret`: it is, and has what nobody should keep."""

_JSON = b"application/json"
# Credentials, whatever else a configuration takes for one.
_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"x-api-key"})


def is_json(content_type: bytes) -> bool:
    """Whether a body of this type, which may be empty, is taken for JSON (RFC 8259; RFC 6839 section 3.1)."""
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type in {b"", _JSON} or media_type.endswith(b"+json")


def _never(_value: bytes) -> bool:
    return False


def _is_kept_alive(value: bytes) -> bool:
    return value.lower() == b"keep-alive"


_ALL: Mapping[bytes, Callable[[bytes], bool]] = {
    b"connection": _is_kept_alive,
    b"proxy-connection": _is_kept_alive,
    **dict.fromkeys(
        (
            b"cache-control",
            b"expect",
            b"http2-settings",
            b"if-match",
            b"if-modified-since",
            b"if-none-match",
            b"if-range",
            b"if-unmodified-since",
            b"pragma",
            b"range",
            b"sec-websocket-key1",
            b"transfer-encoding",
            b"upgrade",
            b"via",
        ),
        _never,
    ),
}
_WITH_BODY: Mapping[bytes, Callable[[bytes], bool]] = {b"content-encoding": _never, b"content-type": is_json}


class PlainHead:
    """What a head must be like to be plain for one resource.

    `telling`: fields by which its answers differ, or are kept from somebody; `credentials`: those that bear a secret,
    though they make no difference. Both in lower case. `body`: whether the request has a body, of JSON.
    """

    __slots__ = ("_allowed", "_secret")

    def __init__(self, *, telling: Collection[bytes], credentials: Collection[bytes], body: bool) -> None:
        own = _WITH_BODY if body else {b"content-length": _never}
        self._allowed = {**_ALL, **own, **dict.fromkeys(telling, _never)}
        self._secret = _SECRET.union(credentials)

    @property
    def telling(self) -> frozenset[bytes]:
        """The fields that it looks at, in lower case."""
        return self._secret.union(self._allowed)

    def judge(self, fields: Iterable[RawField]) -> Plainness:
        """How plain a head with these fields is."""
        found: Plainness = "plain"
        for name, value in fields:
            lower = name.lower()
            allowed = self._allowed.get(lower)
            if allowed is not None and not allowed(value):
                return "other"
            if lower in self._secret:
                found = "secret"
        return found
