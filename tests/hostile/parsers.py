"""The bytes that an upstream was sent, as several servers would read them: some strict, some that take what they get.

Each reading is a list of methods, targets and bodies. Where two of them differ, a request has been smuggled.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler
from io import BytesIO

import h11

from tests.hostile.corpus import Line

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_START = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.1")
_FIELD = re.compile(rb"(" + _TOKEN + rb"): ([\t\x20-\x7e\x80-\xff]*)")
_SIZE = re.compile(rb"[0-9a-f]{1,16}")
_CRLF = b"\r\n"


class Unreadable(Exception):
    """A server that reads so would refuse the bytes."""


class Unended(Exception):
    """The last request is not whole."""


@dataclass
class _Bytes:
    """A reader of what there is."""

    data: bytes
    at: int = 0

    def line(self, end: bytes = _CRLF) -> bytes:
        stop = self.data.find(end, self.at)
        if stop < 0:
            raise Unended
        line, self.at = self.data[self.at : stop], stop + len(end)
        return line

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise Unended
        self.at += size
        return self.data[self.at - size : self.at]


Reader = Callable[[bytes], Iterator[Line]]


def read(reader: Reader, data: bytes) -> tuple[list[Line], str]:
    """The requests that a server sees, and why it stops before the end of the bytes, if it does."""
    found: list[Line] = []
    try:
        for line in reader(data):
            found.append(line)  # noqa: PERF402 - what it finds before it stops counts
    except Unended:
        return found, "unended"
    except Unreadable as error:
        return found, f"unreadable: {error}"
    return found, ""


def strict(data: bytes) -> Iterator[Line]:
    """Only what RFC 9112 lets a client send, and of that only what the proxy writes."""
    source = _Bytes(data)
    while source.at < len(data):
        start = _START.fullmatch(source.line())
        if start is None:
            raise Unreadable("start line")
        fields = []
        while line := source.line():
            field = _FIELD.fullmatch(line)
            if field is None:
                raise Unreadable("field line")
            fields.append((field[1].lower(), field[2].strip(b" \t")))
        yield start[1], start[2], _strict_body(source, fields)


def _strict_body(source: _Bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if [name for name, _ in fields].count(b"host") != 1:
        raise Unreadable("host")
    if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]):
        raise Unreadable("framing")
    if lengths:
        if not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
            raise Unreadable("length")
        return source.take(int(lengths[0]))
    body = b""
    while codings:
        size = source.line()
        if not _SIZE.fullmatch(size):
            raise Unreadable("chunk size")
        body += source.take(int(size, 16))
        if source.line():
            raise Unreadable("chunk end")
        if not int(size, 16):
            break
    return body


def by_h11(data: bytes) -> Iterator[Line]:
    """As h11 reads it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    while connection.trailing_data[0]:
        body = b""
        try:
            event = connection.next_event()
            if not isinstance(event, h11.Request):
                raise Unended
            while isinstance(part := connection.next_event(), h11.Data):
                body += bytes(part.data)
        except h11.RemoteProtocolError as error:
            raise Unreadable(str(error)) from None
        if not isinstance(part, h11.EndOfMessage):
            raise Unended
        yield bytes(event.method), bytes(event.target), body
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is h11.MUST_CLOSE:
            break
        connection.start_next_cycle()


class _Handler(BaseHTTPRequestHandler):
    """The standard library's reader of heads, without a socket."""

    def __init__(self, source: BytesIO) -> None:  # it does not serve: that is for the base class
        self.rfile = source
        self.wfile = BytesIO()
        self.raw_requestline = source.readline(65537)
        self.close_connection = False
        self.failed: int | None = None

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Remember it."""
        self.failed = code


def by_http_server(data: bytes) -> Iterator[Line]:
    """As the standard library's server reads heads, with the obvious reading of bodies."""
    source = BytesIO(data)
    while source.tell() < len(data):
        handler = _Handler(source)
        if not handler.parse_request():
            raise Unreadable(str(handler.failed))
        line = handler.raw_requestline.split(b" ")
        yield line[0], line[1], _lax_body(source, handler.headers)


def _lax_body(source: BytesIO, fields: Message) -> bytes:
    if "chunked" not in fields.get("transfer-encoding", "").lower():
        return _whole(source, int(fields.get("content-length", "0")))
    body = b""
    while size := int(_line(source).split(b";")[0], 16):
        body += _whole(source, size)
        _line(source)
    while _line(source).strip():
        pass
    return body


def _line(source: BytesIO) -> bytes:
    line = source.readline()
    if not line.endswith(b"\n"):
        raise Unended
    return line


def _whole(source: BytesIO, size: int) -> bytes:
    if size > len(source.getbuffer()) - source.tell():
        raise Unended
    return source.read(size)


@dataclass(frozen=True)
class _Lenient:
    """A server that takes fields for what they may have been meant to be."""

    ends: "re.Pattern[bytes]"
    """What it takes for the end of a line."""
    length_first: bool
    """Content-Length counts even beside Transfer-Encoding."""
    last_wins: bool
    """Of repeated fields the last one counts, else the first."""
    unfolds: bool
    """A line that begins with white space belongs to the one before; else it is a field of its own."""

    def __call__(self, data: bytes) -> Iterator[Line]:
        source = _Bytes(data)
        while source.at < len(data):
            words = self._line(source).split()
            if len(words) < 2:
                raise Unreadable("start line")
            fields = self._fields(source)
            yield words[0], words[1], self._body(source, fields)

    def _line(self, source: _Bytes) -> bytes:
        found = self.ends.search(source.data, source.at)
        if found is None:
            raise Unended
        text, source.at = source.data[source.at : found.start()], found.end()
        return text

    def _fields(self, source: _Bytes) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = {}
        name = b""
        while text := self._line(source):
            if self.unfolds and text[:1] in b" \t" and name:
                fields[name] += b" " + text.strip()
                continue
            name, _, value = text.partition(b":")
            name = name.strip().lower()
            if self.last_wins or name not in fields:
                fields[name] = value.strip()
        return fields

    def _body(self, source: _Bytes, fields: dict[bytes, bytes]) -> bytes:
        length = re.match(rb"\D*(\d+)", fields.get(b"content-length", b""))
        coded = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
        if length and (self.length_first or not coded):
            return source.take(int(length[1]))
        body = b""
        while coded:
            size = re.match(rb"\s*(?:0x)?([0-9a-fA-F]+)", self._line(source))
            if size is None:
                raise Unreadable("chunk size")
            body += source.take(int(size[1], 16))
            if not int(size[1], 16):
                while self._line(source):
                    pass
                break
            self._line(source)
        return body


_KNOWN: dict[str, Reader] = {
    "strict": strict,
    "h11": by_h11,
    "http.server": by_http_server,
}
READERS = _KNOWN | {
    f"lenient {ends_name}{' length' * length}{' last' * last}{' unfolds' * unfolds}": _Lenient(
        re.compile(ends), length_first=length, last_wins=last, unfolds=unfolds
    )
    for ends_name, ends in {"lf": rb"\r?\n", "cr": rb"\r?\n|\r"}.items()
    for length in (False, True)
    for last in (False, True)
    for unfolds in (False, True)
}
"""How servers read, by name. `read` tells what each of them sees."""
