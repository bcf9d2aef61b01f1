"""What a request target asks for, whichever of its forms it has (RFC 9112 section 3.2)."""

import re

_AUTHORITY_END = re.compile(rb"[/?#]")


def path_and_query(method: str, target: bytes) -> bytes | None:
    """A target without its scheme and authority, as it is spelled; empty for `*`. None if it is no HTTP target.

    A proxy on the way goes wherever an absolute target leads: this is what is ours to say there.
    """
    if target.startswith(b"/"):
        return target
    if target == b"*":
        return b"" if method == "OPTIONS" else None  # section 3.2.4
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        return None
    end = _AUTHORITY_END.search(rest)
    path = rest[end.start() :] if end else b""
    return path if path.startswith(b"/") else b"/" + path
