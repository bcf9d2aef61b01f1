"""Requests that two servers could read differently, as a plain table: a name, the bytes, and what has to come of them.

The table knows nothing of how it is sent: a listener that reads requests in another way is tried with the same one.
"""

from dataclasses import dataclass
from enum import Enum


class Expect(Enum):
    """What comes of a sample."""

    ONE = "one request goes on, and the connection lives"
    LAST = "one request goes on, and the connection ends with its answer"
    AT_MOST = "the first goes on, or is refused for what is behind it in one segment; the connection ends"
    TWO = "two requests go on, in order"
    REFUSED = "it is answered 4xx or 5xx by the proxy, nothing goes on, and the connection ends"
    BROKEN = "if it goes on, then never as a whole request, and the connection ends"
    UNFINISHED = "the proxy waits for more, and nothing whole goes on"


Line = tuple[bytes, bytes, bytes]
"""Method, target and body of a request."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing that a client could send on a new connection."""

    name: str
    data: bytes
    expect: Expect
    sees: tuple[Line, ...] = ()
    """What the upstream must see, where it sees anything."""

    @property
    def has_more_behind(self) -> bool:
        """Whether there are bytes behind the first request."""
        return self.data.endswith((SMUGGLED, _JUNK))


ONE, LAST, AT_MOST, TWO = Expect.ONE, Expect.LAST, Expect.AT_MOST, Expect.TWO
REFUSED, BROKEN, UNFINISHED = Expect.REFUSED, Expect.BROKEN, Expect.UNFINISHED

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
"""What an attacker would have the upstream take for a request of somebody else."""


_JUNK = b"\x00\x01"


def get(*lines: bytes, target: bytes = b"/x", version: bytes = b"HTTP/1.1", after: bytes = b"") -> bytes:
    """A GET with these field lines after its Host."""
    return _head(b"GET " + target + b" " + version, lines) + after


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    """A POST with these field lines after its Host, and a body as it stands."""
    return _head(b"POST /x " + version, lines) + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    """A chunked POST; the body is written with its chunk framing."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


def _head(start: bytes, lines: tuple[bytes, ...]) -> bytes:
    return b"\r\n".join([start, b"Host: a", *lines, b"", b""])


def saw(body: bytes = b"", *, method: bytes = b"POST", target: bytes = b"/x") -> tuple[Line, ...]:
    """One request."""
    return ((method, target, body),)


GOT = saw(method=b"GET")
"""The plain GET of `get`."""
