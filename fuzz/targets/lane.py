r"""A listener with the fast lane beside one without (fuzz/twins.py): nobody can tell which is which.

The bytes are sent as they are, up to a mark of 0xff and a letter, which says what happens then:

- `|` what stood before is sent by itself, and what follows comes after it; so it is with each of the following.
- `&` the same, but what follows does not wait until all is done.
- `r` it is sent again, `R` four times, `M` fourteen times; `1` with a byte: again, in two pieces, of which the first
  has so many bytes.
- `t`, `u` with a byte: so many eighths or tenths of a second pass.
- `i`, `n` with a byte: the entity of that number is invalidated, or there is something new of it; `x` all are gone.
- `s`, `g` the client stops reading, or goes on; `e` it sends no more; `l` it leaves; `c` another one connects.
- `d` the listener drains; `w` the table is swept.

These do not split: `L` what follows, up to the next mark, is a body, and its length is put before it; `;` ends it;
`p` with a byte: so many times 64 letters; `,` with a byte: so many times 64 spaces; `#` two letters that are others
each time they are sent. A mark before anything else stands for itself.
"""

from itertools import count

from fuzz.lane_world import HELD, OTHER
from fuzz.twins import Step, Twins

_MARK = 0xFF
_IDS = (*HELD, *OTHER)
_MOST_STEPS = 40
_DIFFERING = b"\xff#"
_PLAIN: dict[bytes, Step] = {
    b"x": Step("drop"),
    b"s": Step("stall"),
    b"g": Step("read"),
    b"e": Step("end"),
    b"c": Step("connect"),
    b"l": Step("leave"),
    b"d": Step("drain"),
    b"w": Step("sweep"),
}
_GET = b"GET /u/a HTTP/1.1\r\nHost: h\r\n\r\n"
_PAGE = b"GET /pages/a HTTP/1.1\r\nHost: h\r\n\r\n"
_POST = b"POST /u HTTP/1.1\r\nHost: h\r\n"
TOKENS = (
    b"\xff|", b"\xff&", b"\xffr", b"\xffR", b"\xff1\x05", b"\xfft\x08", b"\xffu\x0a", b"\xffi\x00", b"\xffn\x00",
    b"\xffx", b"\xffs", b"\xffg", b"\xffe", b"\xffc", b"\xffl", b"\xffd", b"\xffw", b"\xffL", b"\xff;", b"\xffp\x10",
    b"\xff,\x10", b"\xff#", b"\xffM", _GET, _GET + b"\xffR", _POST, _POST + b'\xffL{"ids":["a","c"]}\xffR',
    b"PUT /t HTTP/1.1\r\n",
    b"GET /t/a", b"HEAD /u/", b"GET http://h/u/a HTTP/1.1\r\n", b"GET /u/x%20y", b"GET /u/%C3%A9", b"?", b"#", b"*",
    b"CONNECT h:1 HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/0.9\r\n", b" HTTP/2.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\r\n ", b"\r\n\t", b" : ",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"5;x=y\r\nabcde\r\n0\r\nX-T: a\r\n\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n\r\nabcde", b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Type: application/json\r\n", b"Content-Type: text/plain\r\n", b"Content-Encoding: gzip\r\n",
    b"Cache-Control: no-cache\r\n", b"Cache-Control: max-age=2\r\n", b"Cache-Control: only-if-cached\r\n",
    b'If-None-Match: "1"\r\n', b"If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT\r\n", b"Range: bytes=0-1\r\n",
    b"Pragma: no-cache\r\n", b"Expect: 100-continue\r\n", b"TE: trailers\r\n", b"Via: 1.1 here\r\n",
    b"X-Request-Id: \xff#\r\n", b"traceparent: 00-\xff#-01\r\n", b"User-Agent: \xff#\r\n",
    b"GET /u/a HTTP/1.1\r\nHost: h\r\nX-Request-Id: \xff#\r\n\r\n\xffM", b"\r\nX-Request-Id: 1",
    b"X-Tenant: t\r\n", b"Cookie: c=1\r\n", b"Authorization: Bearer b\r\n", b"Accept: */*\r\n",
    b'{"ids":["a","b","c"]}', b'"a"', b'"d"', b'"big"', b'"huge"', b'"none"', b'"\\u0061"', b'"ids"', b"]}", b"/slow",
    b"/error", b"GET /pages/a", _PAGE, _PAGE + b"\xffu\x03\xffR", b"POST /pages/", b"GET /pages/", b"/pages/a?x=1",
    b"?location=/pages/a", b"?vary=accept", b"?cache-control=max-age=3", b",stale-while-revalidate=5", b"?status=404",
    b"?age=18", b"&expires=0", b"?set-cookie=a", b"/pages/big", b"no-store", b"public", b"/../", b"%2e%2e",
    b"Accept: b\r\n",
)  # fmt: skip


def fuzz_one(data: bytes) -> None:
    """Play what the bytes say to both, and compare them after each step."""
    Twins().play(steps_of(data))


def steps_of(data: bytes) -> list[Step]:
    """What the bytes say."""
    return _Reading(data).steps


class _Reading:
    """Bytes on their way to become steps."""

    def __init__(self, data: bytes) -> None:
        self.steps: list[Step] = []
        self._chunk = bytearray()
        self._body: bytearray | None = None
        self._last = b""
        self._pieces: list[bytes] = []
        self._numbers = count()
        at = 0
        while (end := data.find(_MARK, at)) >= 0 and len(self.steps) < _MOST_STEPS:
            self._add(data[at:end])
            at = end + self._mark(data[end + 1 : end + 2], data[end + 2 : end + 3])
        self._add(data[at:])
        self._send()

    def _add(self, data: bytes) -> None:
        (self._chunk if self._body is None else self._body).extend(data)

    def _mark(self, letter: bytes, byte: bytes) -> int:
        """Do what a mark says; returns how many bytes it has."""
        number = byte[0] if byte else 0
        if letter == b"#":
            self._add(_DIFFERING)
            return 2
        if letter in {b"p", b","}:
            self._add((b"x" if letter == b"p" else b" ") * 64 * number)
            return 3
        if letter == b"&":
            self._end_body()
            if self._chunk:
                self._pieces.append(self._filled_in(bytes(self._chunk)))
                self._chunk.clear()
            return 2
        if letter in {b"L", b";"}:
            self._end_body()
            self._body = bytearray() if letter == b"L" else None
            return 2
        if letter in {b"t", b"u"}:
            self._step(Step("tick", number / (8 if letter == b"t" else 10)))
            return 3
        if letter in {b"i", b"n"}:
            self._step(Step("invalidate" if letter == b"i" else "renew", _IDS[number % len(_IDS)]))
            return 3
        if letter in _PLAIN:
            self._step(_PLAIN[letter])
            return 2
        return self._again(letter, number)

    def _again(self, letter: bytes, number: int) -> int:
        if letter not in {b"|", b"r", b"R", b"M", b"1"}:
            self._add(bytes([_MARK]))
            return 1
        self._send()
        pieces = [self._filled_in(self._last) for _ in range({b"|": 0, b"R": 4, b"M": 14}.get(letter, 1))]
        if letter == b"1":
            pieces = [pieces[0][:number], pieces[0][number:]]
        self.steps.extend(Step("send", piece) for piece in pieces if piece)
        return 3 if letter == b"1" else 2

    def _filled_in(self, data: bytes) -> bytes:
        """With letters that were not sent before where some belong: as many as the mark has, or a length were wrong."""
        while _DIFFERING in data:
            high, low = divmod(next(self._numbers), 26)
            data = data.replace(_DIFFERING, bytes([97 + high % 26, 97 + low]), 1)
        return data

    def _step(self, step: Step) -> None:
        self._send()
        self.steps.append(step)

    def _end_body(self) -> None:
        if self._body is not None:
            self._chunk += b"Content-Length: %d\r\n\r\n" % len(self._body) + self._body
            self._body = None

    def _send(self) -> None:
        self._end_body()
        if self._chunk:
            self._last = bytes(self._chunk)
            self._chunk.clear()
            self._pieces.append(self._filled_in(self._last))
        if self._pieces:
            self.steps.append(Step("send", tuple(self._pieces)))
            self._pieces.clear()
