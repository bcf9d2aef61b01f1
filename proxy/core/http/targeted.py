"""CDN-Cache-Control (RFC 9213): what an origin says to shared caches before it alone, instead of Cache-Control.

It is a Structured Field (RFC 9651), which is valid as a whole or not at all.
"""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from proxy.core.http.directives import parse
from proxy.core.http.fields import RawField, values

_NAME = b"cdn-cache-control"
_SECONDS = frozenset({b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"})
_BARE = frozenset({b"must-revalidate", b"no-cache", b"no-store", b"private", b"proxy-revalidate"})
_LISTING = frozenset({b"no-cache", b"private"})
_Directives = Mapping[bytes, bytes | None]


def response_directives(fields: Iterable[RawField]) -> tuple[_Directives, bool]:
    """The directives of an answer that count, and whether they are targeted ones, beside which Cache-Control and
    Expires are ignored (RFC 9213 section 2.2).

    A CDN-Cache-Control that is empty or no dictionary is ignored itself. Of one whose values are not of the types that
    its directives have, what forbids counts as if it stood there bare, seconds as 0, and the rest as absent.
    """
    fields = tuple(fields)
    found = values(fields, _NAME)
    directives = _parse(b", ".join(found)) if found else None
    return (parse(fields), False) if directives is None else (directives, True)


def _parse(value: bytes) -> _Directives | None:
    # Few answers have the field: the others do not wait for this to be imported.
    import http_sf  # noqa: PLC0415

    try:
        members = http_sf.parse(value, tltype="dictionary")
    except http_sf.StructuredFieldError:
        return None
    if not isinstance(members, dict) or not members:
        return None
    directives: dict[bytes, bytes | None] = {}
    for name, member in members.items():
        item = member[0] if isinstance(member, tuple) else member  # its parameters say nothing
        key = name.encode()
        if item is False:
            continue
        if key in _SECONDS:
            directives[key] = b"%d" % item if _is_count(item) else b""
        elif item is True or (key in _BARE and not (key in _LISTING and type(item) is str)):
            directives[key] = None
        elif isinstance(item, str):
            directives[key] = item.encode()
    return directives


def _is_count(item: object) -> TypeGuard[int]:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0
