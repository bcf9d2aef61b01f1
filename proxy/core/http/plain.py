"""Heads of requests that ask for an entity and nothing else: what answers one answers every other.

A field counts here if it can change what a cache answers, or who may see it. All others, of which a request may have
any, change nothing about a hit.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from proxy.core.http.fields import RawField

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
