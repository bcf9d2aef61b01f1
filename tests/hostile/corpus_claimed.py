"""Bulk calls, which the proxy answers: what goes on is a fill of its own, or the very request that came."""

from tests.hostile.corpus import BROKEN, LAST, ONE, REFUSED, SMUGGLED, TWO, UNFINISHED, Line, Sample

_PATH = b"/main/api/v3/users/bulk"
_TAIL = b"0\r\n\r\n" + SMUGGLED


def _bulk(*lines: bytes, body: bytes, target: bytes = _PATH) -> bytes:
    """A bulk call that wants what is new."""
    head = (b"POST " + target + b" HTTP/1.1", b"Host: a", b"Cache-Control: no-cache", *lines, b"", b"")
    return b"\r\n".join(head) + body


def _sized(body: bytes, *lines: bytes, target: bytes = _PATH) -> bytes:
    return _bulk(b"Content-Length: %d" % len(body), *lines, body=body, target=target)


def _chunked(body: bytes) -> bytes:
    return _bulk(b"Transfer-Encoding: chunked", body=body)


def _ids(*ids: bytes) -> bytes:
    return b'{"userIds":[' + b",".join(b'"%b"' % one for one in ids) + b"]}"


def _saw(body: bytes, target: bytes = _PATH) -> tuple[Line, ...]:
    return ((b"POST", target, body),)


CLAIMED = [
    Sample("bulk", _sized(_ids(b"a1")), ONE, _saw(_ids(b"a1"))),
    Sample("bulk of two", _sized(b' { "userIds" : [ "a2" , "a3" ] } '), ONE, _saw(_ids(b"a2", b"a3"))),
    Sample("bulk chunked", _chunked(b"12\r\n" + _ids(b"a4") + b"\r\n" + _TAIL), LAST, _saw(_ids(b"a4"))),
    Sample(
        "bulk with a trailer",
        _chunked(b"12\r\n" + _ids(b"a5") + b"\r\n0\r\nCookie: evil\r\n\r\n"),
        LAST,
        _saw(_ids(b"a5")),
    ),
    Sample(
        "bulk and another",
        _sized(_ids(b"a6")) + _sized(_ids(b"a7")),
        TWO,
        _saw(_ids(b"a6")) + _saw(_ids(b"a7")),
    ),
    Sample("bulk, absolute", _sized(_ids(b"a8"), target=b"http://evil" + _PATH), ONE, _saw(_ids(b"a8"))),
    Sample(
        "bulk with an id like a request",
        _sized(_ids(b"\\r\\n\\r\\nGET /smuggled HTTP/1.1")),
        ONE,
        _saw(_ids(b"\\r\\n\\r\\nGET /smuggled HTTP/1.1")),
    ),
    Sample(
        "bulk and a request in its body", _sized(_ids(b"b1") + SMUGGLED), ONE, _saw(_ids(b"b1") + SMUGGLED)
    ),
    Sample(
        "bulk with a query", _sized(_ids(b"b2"), target=_PATH + b"?x"), ONE, _saw(_ids(b"b2"), _PATH + b"?x")
    ),
    Sample("bulk of a request", _sized(SMUGGLED), ONE, _saw(SMUGGLED)),
    Sample("bulk without a body", _bulk(body=b""), ONE, _saw(b"")),
    Sample("bulk cl.te", _sized(_ids(b"c1"), b"Transfer-Encoding: chunked"), REFUSED),
    Sample("bulk te.te", _bulk(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", body=_TAIL), REFUSED),
    Sample("bulk with two lengths", _sized(_ids(b"c2"), b"Content-Length: 5"), REFUSED),
    Sample("bulk with a bad chunk", _chunked(b"12\r\n" + _ids(b"c3") + b"\r\nzz\r\n"), BROKEN),
    Sample("bulk that is too short", _bulk(b"Content-Length: 99", body=_ids(b"c4")), UNFINISHED),
]
