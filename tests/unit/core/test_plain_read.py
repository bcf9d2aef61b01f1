"""Which bytes are a request that can be read in one way only; and that aiohttp's parser reads it so, too."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http import plain
from proxy.core.http.plain import PlainHead, PlainRequest, read

LINE = b"GET /u/a HTTP/1.1\r\n"
HEAD = LINE + b"Host: h\r\n"
GET = HEAD + b"\r\n"
POST = b"POST /u HTTP/1.1\r\nHost: h\r\n"
BODY = POST + b"Content-Length: 3\r\n\r\nabc"
FULL = b"".join(b"X-%d: a\r\n" % number for number in range(plain._MAX_FIELDS - 1))
"""With Host, as many fields as there may be."""


def of_target(target: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target


def of_line(line: bytes) -> bytes:
    return HEAD + line + b"\r\n\r\n"


def of_length(value: bytes) -> bytes:
    return POST + b"Content-Length:" + value + b"\r\n\r\nabc"


TAKEN: list[tuple[bytes, PlainRequest]] = [
    (GET, PlainRequest(b"GET", b"/u/a", [(b"Host", b"h")], b"")),
    (BODY, PlainRequest(b"POST", b"/u", [(b"Host", b"h"), (b"Content-Length", b"3")], b"abc")),
    (
        POST + b"content-length: 0 \r\n\r\n",
        PlainRequest(b"POST", b"/u", [(b"Host", b"h"), (b"content-length", b"0")], b""),
    ),
    (POST + b"\r\n", PlainRequest(b"POST", b"/u", [(b"Host", b"h")], b"")),
    (
        POST + b"Content-Length: 4\r\n\r\n\r\n\r\n",
        PlainRequest(b"POST", b"/u", [(b"Host", b"h"), (b"Content-Length", b"4")], b"\r\n\r\n"),
    ),
    (
        LINE + b"HOST:\r\nX:   \r\nY:a:  b  \r\n!#$%&'*+-.^_`|~: \"\\(\x7e\r\n\r\n",
        PlainRequest(
            b"GET", b"/u/a", [(b"HOST", b""), (b"X", b""), (b"Y", b"a:  b"), (b"!#$%&'*+-.^_`|~", b'"\\(~')], b""
        ),
    ),
    (
        of_target(b"//%C3%A9/%/!$&'()*+,;=:@-._~/.."),
        PlainRequest(b"GET", b"//%C3%A9/%/!$&'()*+,;=:@-._~/..", [(b"Host", b"h")], b""),
    ),
    # Queries, of all that may stand in one (RFC 3986 section 3.4).
    *(
        (of_target(target), PlainRequest(b"GET", target, [(b"Host", b"h")], b""))
        for target in (
            b"/u/a?x=1", b"/u/a?", b"/?", b"/u?/?", b"/u??", b"/u?a?b", b"/u?%C3%A9&%&/../!$&'()*+,;=:@-._~09azAZ",
        )
    ),
]  # fmt: skip

REFUSED = {
    "nothing": b"",
    "half a head": GET[:-1],
    "a head without its end": GET[:-2],
    "no field": LINE + b"\r\n",
    "no Host (RFC 9112 section 3.2)": LINE + b"X: a\r\n\r\n",
    "a body in place of a Host": b"POST /u HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    # Lines.
    "a folded line": of_line(b"X: a\r\n b"),
    "a line folded with a tab": of_line(b"X: a\r\n\tb"),
    "an empty line that is folded": of_line(b"X:\r\n b"),
    "a folded line before the first": LINE + b" X: a\r\nHost: h\r\n\r\n",
    "bare line feeds": GET.replace(b"\r\n", b"\n"),
    "a bare line feed behind the request line": GET.replace(b"\r\n", b"\n", 1),
    "a bare line feed behind a field": GET.replace(b"h\r\n", b"h\n"),
    "a bare line feed in a value": of_line(b"X: a\nY: b"),
    "a bare line feed for the end": GET[:-2] + b"\n",
    "a bare carriage return in a value": of_line(b"X: a\rb"),
    "a bare carriage return for the end": GET[:-2] + b"\r",
    "one carriage return too many": GET.replace(b"h\r\n", b"h\r\r\n"),
    "a blank line before": b"\r\n" + GET,
    "two blank lines before": b"\r\n\r\n" + GET,
    "a line feed before": b"\n" + GET,
    "a space before": b" " + GET,
    "a blank line behind": GET + b"\r\n",
    "a second request": GET + GET,
    "a second request behind a body": BODY + GET,
    "a byte behind a body": BODY + b"d",
    # Bytes.
    "a tab before a value": of_line(b"X:\ta"),
    "a tab behind a value": of_line(b"X: a\t"),
    "a tab in a value": of_line(b"X: a\tb"),
    "NUL in a value": of_line(b"X: a\0b"),
    "NUL in a name": of_line(b"X\0: a"),
    "NUL in a target": of_target(b"/u/\0"),
    "an escape in a value": of_line(b"X: a\x1bb"),
    "DEL in a value": of_line(b"X: \x7f"),
    "DEL in a target": of_target(b"/u/\x7f"),
    "obs-text in a value": of_line(b"X: \xe9"),
    "UTF-8 in a value": of_line("X: \u00e9".encode()),
    "obs-text in a name": of_line(b"\xe9: a"),
    "obs-text in a target": of_target(b"/u/\xe9"),
    "a superscript, which is a digit elsewhere": of_line(b"X\xb2: a"),
    # The request line.
    "a method in lower case": GET.lower().replace(b"http", b"HTTP"),
    "a method in mixed case": b"Get" + GET[3:],
    "no method": GET[3:],
    "a method with a hyphen": b"M-SEARCH" + GET[3:],
    "a method with a digit": b"GET1" + GET[3:],
    "absolute form": of_target(b"http://h/u/a"),
    "authority form": of_target(b"h:80"),
    "asterisk form": of_target(b"*"),
    "no slash": of_target(b"u/a"),
    "no target": of_target(b""),
    "a query alone": of_target(b"?x=1"),
    "a fragment": of_target(b"/u/a#x"),
    "a fragment behind a query": of_target(b"/u/a?x=1#x"),
    "an empty fragment": of_target(b"/u/a?#"),
    "a space in a target": of_target(b"/u/ a"),
    "a space in a query": of_target(b"/u/a?x= 1"),
    "a tab in a query": of_target(b"/u/a?x=\t1"),
    "NUL in a query": of_target(b"/u/a?x=\0"),
    "DEL in a query": of_target(b"/u/a?x=\x7f"),
    "obs-text in a query": of_target(b"/u/a?x=\xe9"),
    "a bare line feed in a query": of_target(b"/u/a?x=\n"),
    **{f"{chr(byte)} in a target": of_target(b"/u/%c" % byte) for byte in b'"<>[\\]^`{|}'},
    **{f"{chr(byte)} in a query": of_target(b"/u?%c" % byte) for byte in b'"<>[\\]^`{|}'},
    "HTTP/1.0": GET.replace(b"1.1", b"1.0"),
    "HTTP/2.0": GET.replace(b"1.1", b"2.0"),
    "HTTP/1.2": GET.replace(b"1.1", b"1.2"),
    "HTTP/1.10": GET.replace(b"1.1", b"1.10"),
    "HTTP/01.1": GET.replace(b"1.1", b"01.1"),
    "http/1.1": GET.replace(b"HTTP", b"http"),
    "HTTP/1x1": GET.replace(b"1.1", b"1x1"),
    "another protocol": GET.replace(b"HTTP", b"RTSP"),
    "no version": b"GET /u/a\r\nHost: h\r\n\r\n",
    "a version alone": b"GET /u/a 1.1\r\nHost: h\r\n\r\n",
    "two spaces before a target": GET.replace(b" /", b"  /"),
    "two spaces behind a target": GET.replace(b" HTTP", b"  HTTP"),
    "a tab before a target": GET.replace(b" /", b"\t/"),
    "a space behind the version": GET.replace(b"1.1", b"1.1 "),
    # Names.
    "a name twice": of_line(b"X: a\r\nX: a"),
    "a name twice, in other case": of_line(b"X-a: a\r\nx-A: b"),
    "two Hosts": of_line(b"Host: h"),
    "two Hosts, in other case": of_line(b"hOST: i"),
    "a space before a colon": of_line(b"X : a"),
    "a tab before a colon": of_line(b"X\t: a"),
    "a space in a name": of_line(b"X Y: a"),
    "an empty name": of_line(b": a"),
    "no colon": of_line(b"X"),
    **{f"{chr(byte)} in a name": of_line(b"X%c: a" % byte) for byte in b'"(),/;<=>?@[\\]{}'},
    "one field too many": HEAD + FULL + b"Y: a\r\n\r\n",
    # Lengths.
    "a body without a length": POST + b"\r\nabc",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths, in other case": POST + b"Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "two lengths, one of them wrong": POST + b"Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc",
    **{
        f"a length of {value.decode()!r}": of_length(value)
        for value in (b"", b" ", b" +3", b" -3", b" 03", b" 3, 3", b" 3,", b" 3;", b" 3.0", b" 0x3", b" 3 3", b" 2",
                      b" 4", b" 0", b" 1_0", b" three", b" 18446744073709551619", b" 33333333333333333333333")
    },
    "an empty body of length -0": POST + b"Content-Length: -0\r\n\r\n",
    "an empty body of length 00": POST + b"Content-Length: 00\r\n\r\n",
    "an empty body of no length": POST + b"Content-Length:\r\n\r\n",
    "a body that has not come": POST + b"Content-Length: 3\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize(("data", "request_"), TAKEN)
def test_a_request_of_the_simplest_form_is_read(data: bytes, request_: PlainRequest) -> None:
    assert read(data) == request_


@pytest.mark.parametrize("name", REFUSED)
def test_all_else_is_for_a_whole_parser(name: str) -> None:
    assert read(REFUSED[name]) is None


def test_a_head_has_so_many_fields_and_no_more() -> None:
    request = read(HEAD + FULL + b"\r\n")
    assert request is not None
    assert len(request.fields) == plain._MAX_FIELDS == 64


@pytest.mark.parametrize(
    "data",
    [
        of_line(b"X: a" + b" " * 15_000 + b"b"),
        of_line(b"X:" + b" " * 15_000 + b"a"),
        of_line(b"X: a" + b" " * 15_000),
        of_line(b"X: " + b"a " * 7_500),
        of_line(b"X: a" + b" " * 15_000 + b"\0"),
        of_line(b"X: a" + b"\r\nX: a" * 2_500),
        of_line(b"X" * 15_000),
        of_line(b"X:" + b":" * 15_000),
        of_target(b"/" * 15_000 + b"#"),
        of_target(b"/u" + b"?" * 15_000 + b"#"),
        b"G" * 15_000,
    ],
    ids=range(11),
)
def test_no_request_takes_long_to_read(data: bytes) -> None:
    """Of processor time, as long as a thousand usual ones. A reading that goes back takes a hundred times as much."""
    took = []
    for _ in range(3):
        began = time.process_time()
        read(data)
        took.append(time.process_time() - began)
    assert min(took) < 0.01


# What aiohttp's parser makes of the same bytes.

SECOND = b"GET /second HTTP/1.1\r\nHost: second\r\n\r\n"
METHODS = (b"GET", b"POST", b"PUT", b"PATCH")
"""That faces have: what another one comes to, the slow way says."""
HEADS = [PlainHead(telling=(), credentials=(), body=body) for body in (False, True)]
"""The least that is looked at."""
Parser = Callable[[], Any]


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    """Makes a parser as proxy/server.py has it made."""
    loop = asyncio.new_event_loop()
    protocol: Any = BaseProtocol(loop)
    more: Any = {
        "max_line_size": 2**16,
        "max_field_size": 2**16,
        "max_headers": 256,
        "max_msg_queue_size": 32,
    }
    yield lambda: HttpRequestParser(protocol, loop, 2**14, auto_decompress=False, **more)
    loop.close()


def is_asked(request: PlainRequest) -> bool:
    """Whether the lane would answer it."""
    return request.method in METHODS and any(head.judge(request.fields) != "other" for head in HEADS)


def check(request: PlainRequest, data: bytes, one: Any) -> None:
    """That a parser reads the same in `data`, and is where the next request begins."""
    messages, is_upgraded, rest = one.feed_data(data)
    assert (len(messages), is_upgraded, rest) == (1, False, b"")
    message, payload = messages[0]
    assert (message.method.encode(), message.path.encode()) == (request.method, request.target)
    assert (message.version, message.should_close, message.upgrade) == (HttpVersion11, False, False)
    assert not message.chunked
    assert list(message.raw_headers) == list(request.fields)
    assert payload.is_eof()
    assert (b"" if payload is EMPTY_PAYLOAD else payload.read_nowait(-1)) == request.body
    ((following, _),), is_upgraded, rest = one.feed_data(SECOND)
    assert (following.path, following.raw_headers) == ("/second", ((b"Host", b"second"),))
    assert (is_upgraded, rest) == (False, b"")


EASY = st.sampled_from((b"GET", b"POST"))
TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=6).map(str.encode)
NAMES = st.one_of(
    TOKENS,
    st.sampled_from((
        b"Host", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Proxy-Connection",
        b"Upgrade", b"Expect", b"TE", b"Trailer", b"Sec-WebSocket-Key1", b"Sec-WebSocket-Key", b"HTTP2-Settings",
        b"Content-Type", b"Content-Encoding", b"User-Agent", b"Server", b"ETag", b"Content-Location", b"Max-Forwards",
        b"Content-Range", b"Keep-Alive", b"Cookie", b"X-Request-Id",
    )),
)  # fmt: skip
VALUES = st.one_of(
    st.text([chr(byte) for byte in range(0x20, 0x7F)], max_size=12).map(str.encode),
    st.sampled_from((
        b"", b"keep-alive", b"Keep-Alive", b"close", b"upgrade", b"keep-alive, close", b"chunked", b"gzip",
        b"websocket", b"h2c", b"100-continue", b"0", b"3", b"+3", b"application/json", b"trailers", b"  a  ",
    )),
)  # fmt: skip
TARGETS = st.text("/azAZ09%!$&'()*+,;=:@-._~?", max_size=12).map(lambda rest: b"/" + rest.encode())
LIKE_A_REQUEST = st.sampled_from((
    b"", b"abc", b"\r\n", b"\r\n\r\n", SECOND, b"\r\nX: a\r\n\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n",
))  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is of the simplest form, or nearly so."""
    fields = [(b"Host", b"h"), *draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))]
    body = draw(st.one_of(st.just(b""), LIKE_A_REQUEST, st.binary(max_size=8)))
    if body or draw(st.booleans()):
        fields.append((b"Content-Length", b"%d" % len(body)))
    order = draw(st.permutations(fields))
    lines = [name + draw(st.sampled_from((b": ", b":", b":  "))) + value for name, value in order]
    method = draw(st.one_of(EASY, st.sampled_from((*METHODS, b"HEAD", b"CONNECT", b"PRI", b"BREW"))))
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, draw(TARGETS)), *lines, b"", body])


BYTES = st.one_of(
    st.sampled_from((
        b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b":", b",", b"?", b"#", b"%", b"\x7f", b"\x80",
        b"\xff", b"0", b"1", b"a", b"\r\n ", b"\r\n\t", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n", b"Host: i\r\n",
    )),
    st.binary(min_size=1, max_size=2),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A request in some places of which something else stands."""
    data = draw(requests())
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(data)))
        data = data[:begin] + draw(BYTES) + data[begin + draw(st.integers(0, 2)) :]
    return data


def test_what_is_read_here_a_whole_parser_reads_in_the_same_way(parser: Parser) -> None:
    used: Counter[str] = Counter()

    @settings(max_examples=5 * settings.get_profile("deep").max_examples)
    @given(st.one_of(requests(), mutated(), mutated(), st.binary(max_size=40)))
    def compare(data: bytes) -> None:
        request = read(data)
        used.update(examples=1, read=request is not None)
        if request is not None and is_asked(request):
            used.update(asked=1, body=bool(request.body), mutated=data.count(b"Host: h\r\n") != 1)
            check(request, data, parser())

    compare()
    assert used["asked"] > used["examples"] / 20, used
    assert used["read"] > used["asked"], "there are heads that are read and mean something else"
    assert used["body"] > used["examples"] / 100, used


@pytest.mark.parametrize("data", [*(data for data, _ in TAKEN), HEAD + FULL + b"\r\n"])
def test_so_it_does_what_is_taken(data: bytes, parser: Parser) -> None:
    request = read(data)
    assert request is not None
    assert is_asked(request)
    check(request, data, parser())


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: close",
        b"Connection: keep-alive, close",
        b"Connection: upgrade",
        b"Proxy-Connection: close",
        b"Upgrade: websocket",
        b"Connection: upgrade\r\nUpgrade: websocket",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding:",
        b"Expect: 100-continue",
        b"Sec-WebSocket-Key1: a",
    ],
)
def test_what_has_another_meaning_for_a_connection_is_read_but_never_plain(line: bytes) -> None:
    request = read(of_line(line))
    assert request is not None
    assert not is_asked(request)


@pytest.mark.parametrize("name", [b"X-A", b"host", b"Cookie"])
@given(requests(), st.sampled_from((b"X-A", b"host", b"Cookie")))
def test_no_name_stands_there_twice(name: bytes, data: bytes, other: bytes) -> None:
    line, _, rest = data.partition(b"\r\n")
    assert read(b"%b\r\n%b: 1\r\n%b: 1\r\n%b" % (line, name, name.swapcase(), rest)) is None
    request = read(b"%b\r\n%b: 1\r\n%b" % (line, other, rest))
    assert request is None or len({name.lower() for name, _ in request.fields}) == len(request.fields)
