"""What the played upstream has under `/pages/`: what a request's query says, so that who asks has the answer of it.

A query such as `?cache-control=max-age=3&vary=accept&status=404` gives these fields, and this status. A page without a
`cache-control` is fresh for a while.
"""

import re

from proxy.core.http.fields import RawField
from proxy.exchange import ResponseHead

PREFIX = b"/pages/"
_SAID = (b"cache-control", b"vary", b"age", b"expires", b"last-modified", b"location", b"set-cookie")
_BIG = 70_000
"""Bytes of a page whose path says that it is big: more than a transport takes at once."""
_WANTED = re.compile(rb"\r\nif-none-match: ([^\r]*)\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"[2-9][0-9][0-9]")


def answer(sent: bytes, version: int) -> tuple[ResponseHead, bytes] | None:
    """The answer to a request, of which `sent` are all the bytes; None if it is for no page."""
    method, target, *_ = sent.partition(b"\r\n")[0].split(b" ")
    if not target.startswith(PREFIX):
        return None
    path, _, query = target.partition(b"?")
    status, fields = _said(query)
    etag = b'"%d"' % version
    fields.append((b"ETag", etag))
    body = b"%b %d" % (target, version)
    if path.endswith(b"big"):
        body = body.ljust(_BIG, b"b")
    wanted = _WANTED.search(sent)
    if wanted is not None and etag in wanted[1] and method in {b"GET", b"HEAD"}:
        status = 304
    if status in {204, 304}:
        body = b""
    else:
        fields.append((b"Content-Length", b"%d" % len(body)))
    head = ResponseHead(status, b"", tuple(fields), chunked=False, version=(1, 1))
    return head, b"" if method == b"HEAD" else body


def _said(query: bytes) -> tuple[int, list[RawField]]:
    """The status and the fields that a query asks for."""
    status = 200
    fields: list[RawField] = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"status" and _STATUS.fullmatch(value):
            status = int(value)
        elif name in _SAID:
            fields.append((name, value))
    if not any(name == b"cache-control" for name, _ in fields):
        fields.append((b"Cache-Control", b"max-age=20"))
    return status, fields
