"""What an unsafe request makes invalid (RFC 9111 section 4.4)."""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from proxy.core.http.fields import RawField, values
from proxy.core.http.target import path_and_query

_NAMING = (b"location", b"content-location")
# RFC 3986 appendix B, without the fragment, which never comes to a server.
_REFERENCE = re.compile(
    rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL
)
# No target has them; of what else is none of a URI's signs some origins, and their clients, do make use.
_NO_URI = re.compile(rb"[\x00-\x20\x7f]")
# Host and port (RFC 3986 section 3.2); nobody whose name is in it is of this origin.
_AUTHORITY = re.compile(rb"(?:\[[^\]]*\]|[^:@\[\]]*)(?::\d*)?")
_PORTS = {b"http": b":80", b"https": b":443"}


class _Reference(NamedTuple):
    scheme: bytes
    """Lower case; empty: that of the base. So is the authority."""
    authority: bytes | None
    path: bytes
    query: bytes
    """With its question mark."""


def targets(target: bytes, response_fields: Iterable[RawField], *, origins: Collection[bytes]) -> list[bytes]:
    """Path and query, as spelled, of what is invalid after a non-error answer to an unsafe request on `target`.

    That is the target itself, and what Location and Content-Location name of the same origin; nobody may invalidate
    what is of another. `origins`: those that count as the same, as `scheme://authority` in lower case and without the
    default port. `target` is raw, in origin-form or absolute-form. What can't be read names nothing.
    """
    own = path_and_query("", target)
    if own is None:
        return []
    own = own.partition(b"#")[0]
    found = [own]
    response_fields = tuple(response_fields)
    for name in _NAMING:
        for value in values(response_fields, name):
            named = _resolved(value.strip(b" \t"), own, origins)
            if named is not None and named not in found:
                found.append(named)
    return found


def _resolved(value: bytes, base: bytes, origins: Collection[bytes]) -> bytes | None:
    """What a reference names (RFC 3986 section 5.2), if that is of one of the origins."""
    reference = _read(value)
    if reference is None or not _is_of(reference, origins):
        return None
    base_path, mark, base_query = base.partition(b"?")
    path, query = reference.path, reference.query
    if reference.authority is not None or path.startswith(b"/"):
        path = _without_dots(path or b"/")
    elif path:
        path = _without_dots(base_path[: base_path.rindex(b"/") + 1] + path)
    else:
        path, query = base_path, query or mark + base_query
    return path + query


def _read(value: bytes) -> _Reference | None:
    found = None if not value or _NO_URI.search(value) else _REFERENCE.fullmatch(value)
    if found is None:
        return None
    scheme, authority, path, query = found.groups()
    authority = None if authority is None else authority.lower()
    return _Reference((scheme or b"").lower(), authority, path, query or b"")


def _is_of(reference: _Reference, origins: Collection[bytes]) -> bool:
    if reference.authority is None:
        return not reference.scheme  # `mailto:`, or what only old parsers understand (RFC 3986 section 5.2.2)
    if not _AUTHORITY.fullmatch(reference.authority):
        return False
    # Without a scheme it is that of the request, which may have come to us by either.
    schemes = {reference.scheme} if reference.scheme else set(_PORTS)
    return any(_origin(scheme, reference.authority) in origins for scheme in schemes & set(_PORTS))


def _origin(scheme: bytes, authority: bytes) -> bytes:
    """Without the port where it is the default one, or empty (RFC 3986 section 6.2.3)."""
    return scheme + b"://" + authority.removesuffix(_PORTS[scheme]).removesuffix(b":")


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, for a path that begins with a slash."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in {b".", b".."}:
        kept.append(b"")
    return b"/" + b"/".join(kept)
