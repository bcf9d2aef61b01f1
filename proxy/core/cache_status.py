"""The Cache-Status response field (RFC 9211): what this cache did, in one list member."""

import math

NAME = b"Cache-Status"
_CACHE = b"handshake-proxy"


def hit(ttl: float) -> bytes:
    """Answered from the cache; `ttl` seconds of freshness left, floored, negative when stale (section 2.4)."""
    return b"%s; hit; ttl=%d" % (_CACHE, math.floor(ttl))


def forwarded(reason: str, *, stored: bool, collapsed: bool = False, fwd_status: int | None = None) -> bytes:
    """Fetched from the upstream for `reason`: uri-miss, stale, request, … (section 2.2)."""
    member = b"%s; fwd=%s" % (_CACHE, reason.encode())
    if fwd_status is not None:
        member += b"; fwd-status=%d" % fwd_status
    if stored:
        member += b"; stored"
    if collapsed:
        member += b"; collapsed"
    return member


def bypass(detail: str, *, stored: bool = False) -> bytes:
    """Not looked up at all; `detail` is a token that says why. What came may be `stored` all the same."""
    member = b"%s; fwd=bypass; detail=%s" % (_CACHE, detail.encode())
    return member + b"; stored" if stored else member


def partial(*, hit: int, stale: int, negative: int, miss: int) -> bytes:
    """A bulk answer that was partly fetched: how each of its ids was answered."""
    return b'%s; fwd=miss; detail="hit=%d,stale=%d,negative=%d,miss=%d"' % (
        _CACHE,
        hit,
        stale,
        negative,
        miss,
    )
