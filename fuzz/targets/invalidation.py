"""What an unsafe request makes invalid: the request's target in the first line, the fields of its answer in others."""

from collections.abc import Set as AbstractSet
from urllib.parse import urljoin, urlsplit

from fuzz import headers
from proxy.core.http.invalidation import targets

TOKENS = (
    b"/a/b?c=d\n", b"http://up/a\n", b"location: ", b"content-location: ", b"http://up/", b"HTTP://UP:80/", b"//up",
    b"//", b"https://up:443", b"https://up:8443/x", b"http://", b"@", b":", b"..", b"/../", b"/./", b".", b"?", b"#",
    b"\\", b"mailto:", b"%2e", b"\n", b"\t", b" ", b"[::1]", b"http:a", b"/..//x", b";", b"*",
)  # fmt: skip
ORIGINS = (b"http://up", b"https://up", b"https://up:8443", b"http://[::1]:8080")
_Places = AbstractSet[tuple[bytes, bytes, int]]
"""Schemes with their hosts and ports."""
_PLACES: _Places = {
    (b"http", b"up", 80),
    (b"https", b"up", 443),
    (b"https", b"up", 8443),
    (b"http", b"[::1]", 8080),
}
_PORTS = {b"http": 80, b"https": 443}
_BASE = "http://up"
_NAMING = (b"location", b"content-location")
_ODD = frozenset(" \t\\;[]@:")
"""Signs of which the standard library has a reading of its own."""


def fuzz_one(data: bytes) -> None:
    """Compare with RFC 3986 taken step by step; nothing that is of another origin, or no target at all, is found."""
    target, _, rest = data.partition(b"\n")
    fields = headers.fields_of(rest)
    found = targets(target, fields, origins=ORIGINS)
    own = _own(target)
    assert found[:1] == ([] if own is None else [own])
    if own is None:
        assert not found
        return
    values = [value.strip(b" \t") for name in _NAMING for field, value in fields if field.lower() == name]
    for origins, places in ((ORIGINS, _PLACES), ((), set())):
        expected = [own]
        for value in values:
            named = _named(value, own, places)
            if named is not None and named not in expected:
                expected.append(named)
            _check_by_library(value, own, named)
        assert targets(target, fields, origins=origins) == expected
    for one in found:
        assert one.startswith(b"/")
        assert b"#" not in one
        assert not set(one) & {*range(0x21), 0x7F} - set(target)


def _own(target: bytes) -> bytes | None:
    """Path and query of the request's own target."""
    scheme, separator, rest = target.partition(b"://")
    if target.startswith(b"/"):
        path = target
    elif separator and scheme.lower() in _PORTS:
        end = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
        path = rest[end:]
    else:
        return None
    path = path.partition(b"#")[0]
    return path if path.startswith(b"/") else b"/" + path


def _named(value: bytes, base: bytes, places: _Places) -> bytes | None:
    """What a reference names, if that is at one of these places (RFC 3986 sections 3, 4.1 and 5.2)."""
    if not value or any(sign <= 0x20 or sign == 0x7F for sign in value):
        return None
    value = value.partition(b"#")[0]
    hierarchy, mark, query = value.partition(b"?")
    scheme, colon, after = hierarchy.partition(b":")
    if colon and _is_scheme(scheme):
        hierarchy = after
        if not after.startswith(b"//"):
            return None
        schemes = [scheme.lower()]
    else:
        schemes = [b"http", b"https"]
    if hierarchy.startswith(b"//"):
        authority, slash, path = hierarchy[2:].partition(b"/")
        if not any((one, *_host_and_port(authority, one)) in places for one in schemes):
            return None
        return _without_dots(slash + path or b"/") + mark + query
    base_path, base_mark, base_query = base.partition(b"?")
    if not hierarchy:
        return base_path + (mark + query if mark else base_mark + base_query)
    if not hierarchy.startswith(b"/"):
        hierarchy = base_path[: base_path.rfind(b"/") + 1] + hierarchy
    return _without_dots(hierarchy) + mark + query


def _is_scheme(text: bytes) -> bool:
    signs = b"abcdefghijklmnopqrstuvwxyz"
    lower = text.lower()
    return lower[:1] in {bytes([one]) for one in signs} and not set(lower) - set(signs + b"0123456789+.-")


def _host_and_port(authority: bytes, scheme: bytes) -> tuple[bytes, int]:
    """A host with its port; -1 if that is none. A host that is malformed stays as it is, and is none of ours."""
    default = _PORTS.get(scheme, -1)
    host, colon, port = authority.lower().rpartition(b":")
    if not colon or port.endswith(b"]"):
        return authority.lower(), default
    return host, default if not port else int(port) if port.isdigit() and port[:1] != b"0" else -1


def _without_dots(path: bytes) -> bytes:
    """Section 5.2.4, as it stands there."""
    output = b""
    while path:
        if path.startswith(b"/./") or path == b"/.":
            path = b"/" + path[3:]
        elif path.startswith(b"/../") or path == b"/..":
            path = b"/" + path[4:]
            output = output[: max(0, output.rfind(b"/"))]
        else:
            end = path.find(b"/", 1)
            end = len(path) if end < 0 else end
            output, path = output + path[:end], path[end:]
    return output


def _check_by_library(value: bytes, base: bytes, named: bytes | None) -> None:
    """The standard library resolves the same, where its reading is not older than the RFC."""
    try:
        reference, whole = value.decode("ascii"), _BASE + base.decode("ascii")
    except UnicodeDecodeError:
        return
    is_plain = reference.isprintable() and whole.isprintable() and not set(reference + base.decode()) & _ODD
    has_gaps = "//" in reference + base.decode() or "?" in (reference.partition("#")[0][-1:], whole[-1:])
    if not reference or not is_plain or has_gaps:
        return
    split = urlsplit(urljoin(whole, reference))
    assert named is not None
    assert named.decode() == (split.path or "/") + (f"?{split.query}" if split.query else "")
