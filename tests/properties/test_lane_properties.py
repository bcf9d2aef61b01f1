"""Whatever a client sends, however it is cut, and whatever happens meanwhile: with the fast lane or without it, the
same is written, asked of the upstream and counted, and the connection ends at the same time.
"""

import os
from collections import Counter
from functools import partial
from itertools import count, pairwise, permutations
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.lane_world import HELD, OTHER
from fuzz.twins import IDLE_TIMEOUT, LIMITS, Step, Twins
from tests.turns import in_turn

IDS = (*HELD, *OTHER)
PLAIN_IDS = ("a", "b", "c", "é", "x y", "v", "big", "edge")
GET = b"GET /u/a HTTP/1.1\r\nHost: h\r\n\r\n"
KNOWN = [Step("send", GET)] * 4
"""After these its bytes are known; the last of them was so."""

CHANGING = (
    b"Connection: close", b"Connection: keep-alive", b"Connection: Keep-Alive, x", b"connection: upgrade",
    b"Upgrade: websocket", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ", b"TE: trailers", b"Trailer: x",
    b"Cache-Control: no-cache", b"Cache-Control: no-store", b"Cache-Control: max-age=2", b"cache-control: min-fresh=10",
    b"Cache-Control: max-stale", b"Cache-Control: only-if-cached", b"Cache-Control: x", b"Pragma: no-cache",
    b'If-None-Match: "1"', b"If-None-Match: *", b"If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT", b'If-Match: "0"',
    b"If-Unmodified-Since: Fri, 15 Jan 2021 08:00:00 GMT", b"If-Range: x", b"Range: bytes=0-1", b"Expect: 100-continue",
    b"Expect: x", b"Via: 1.1 other", b"Via: 1.1 here", b"Authorization: Bearer b", b"Cookie: c=1", b"X-Api-Key: k",
    b"X-Tenant: t", b"Content-Encoding: gzip", b"Content-Type: text/plain", b"Content-Type: application/x+json",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: x",
)  # fmt: skip
"""Field lines that may change what a request is answered, or how it is read."""
HARMLESS = (
    b"Accept: */*", b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"X-A:", b"X-B: \xe9\xff",
    b"User-Agent: t", b"Content-Type: application/json", b"Host: other", b"Accept-Encoding: gzip", b"Keep-Alive: x",
)  # fmt: skip
MARK = b"\xff#"
"""Stands for two letters that are others in each request that is sent: as many, for the length of a body."""
DIFFERING = (b"X-Request-Id: " + MARK, b"traceparent: 00-" + MARK + b"-01")
LIKE_DIFFERING = (
    b"X-Request-Id:" + MARK, b"X-Request-Id:", b"X-Request-Id: \xe9" + MARK, b"X-Request-Id:\t" + MARK,
    b"X-Request-Id: a\r\n " + MARK, b"x-request-id: " + MARK, b"X-Request-Id : " + MARK, b"X-Request-Id: \0" + MARK,
    b"X-Request-Id: a\rb: " + MARK, b"X-Request-Id: a\nb: " + MARK, b"X-Request-Id",
    b"X-Request-Id: %b\r\nX-Request-Id: %b" % (MARK, MARK), b"X-Request-Id: a\r\nx-request-id: " + MARK,
    b"X-Request-Ids: " + MARK, b"X-Request-Id: x\r\n\r\n", b"Host: " + MARK, b"User-Agent: " + MARK,
    b"User-Agent: %b\r\nUser-Agent: %b" % (MARK, MARK), b"Content-Type: application/json; a=" + MARK,
    b"Content-Type: " + MARK, b"Content-Length: " + MARK, b"Server: a\r\nServer: " + MARK, b"Cookie: " + MARK,
    b"Authorization: " + MARK, b"X-Api-Key: " + MARK, b"X-Tenant: " + MARK, b"Connection: " + MARK,
    b"Cache-Control: " + MARK, b"Cache-Control: max-age=1" + MARK, b"Via: 1.1 " + MARK, b"If-None-Match: " + MARK,
    b"Range: bytes=0-" + MARK,
)  # fmt: skip
"""Field lines that are or are not taken out of a request when those above are."""
ODD = (
    b"X-Fold: a\r\n b", b"X-Fold: a\r\n\t", b" X: a", b"X : a", b"X", b": a", b"X: \0", b"X: a\rb", b"X: a\nY: b",
    b"X:\x7f", b"X: " + b"x" * LIMITS.header_bytes, b"X: " + b"x" * (LIMITS.header_bytes - 60), b"\xff: a",
)  # fmt: skip
TARGETS = (
    b"/u/%61", b"/u/a?", b"/u/a?x=1", b"/u/a#x", b"/u/a/", b"/u//a", b"/u/", b"/u", b"/t/a", b"/n/a", b"/t", b"/x",
    b"/slow", b"/error", b"/u/\xc3\xa9", b"http://h/u/a", b"HTTP://h/u/a", b"http://h", b"*", b"h:1", b"u/a",
    b"/u/%", b"/u/a%00",
)  # fmt: skip
GARBAGE = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\r\n\r\n", b"GET", b"GET /u/a", b"GET /u/a\r\n", b"GET /u/a\r\n\r\n",
    b"GET /u/a HTTP/0.9\r\n\r\n", b"GET /u/a HTTP/1.1\n\n", b"GET  /u/a HTTP/1.1\r\n\r\n", b"get /u/a HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /u/a HTTP/1.1\r\nHost: h\r\n", b"0\r\n\r\n", b"\x16\x03\x01",
    GET[:9], GET[9:], b"POST /u HTTP/1.1\r\nContent-Length: 8\r\n\r\nab",
    b"POST /u HTTP/1.1\r\nContent-Length: 8\r\n\r\nab\r\n\r\ncd",
)  # fmt: skip


def quoted(entity: str) -> bytes:
    return b'"' + entity.encode() + b'"'


def target_of(entity: str) -> bytes:
    return b"/u/" + entity.replace(" ", "%20").replace("é", "%C3%A9").encode()


def request(
    line: bytes,
    fields: list[bytes],
    body: bytes | None = None,
    *,
    end: bytes = b"\r\n",
    chunked: bool = False,
) -> bytes:
    """A request of these lines, its body framed if it has one."""
    framing: list[bytes] = []
    if body is not None:
        framing = [b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)]
        if chunked:
            body = b"%x\r\n%b\r\n0\r\nX-Trailer: t\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return end.join([line, b"Host: h", *fields, *framing, b"", body or b""])


few_fields = st.lists(
    st.one_of(st.sampled_from(HARMLESS), st.sampled_from(CHANGING), st.sampled_from(ODD)), max_size=2
)
harmless = st.lists(st.sampled_from(HARMLESS), max_size=2, unique=True)
line_ends = st.sampled_from((b"\r\n",) * 9 + (b"\n",))
bodies = st.one_of(
    st.lists(st.sampled_from(IDS), min_size=1, max_size=4).map(
        lambda ids: b'{"ids":[' + b",".join(map(quoted, ids)) + b"]}"
    ),
    st.sampled_from((
        b"", b"{}", b"[]", b'{"ids":[]}', b'{"ids":["a"', b'{"ids":["a"]} x', b'{"ids":["a"],"x":1}', b'{"ids":[1]}',
        b'{ "ids" : [ "a" ] }\r\n', b'{"\\u0069ds":["a"]}', b'{"ids":["\\u0061"]}', b'{"ids":[""]}',
        b'{"ids":["\xff"]}',
        b'{"ids":["a"]}\r\nX-Request-Id: 1\r\n', b'{"ids":["a"]}\r\n', b'\r\nX-Request-Id: 1\r\n{"ids":["a"]}',
        b'{"ids":["a"]}\r\n\r\n', b'{"ids":["a"]}' + b" " * 1024, b'{"ids":["a"' + b" " * 17_000 + b"]}", GET,
    )),
)  # fmt: skip
plain = st.one_of(
    st.builds(
        lambda entity, fields: request(b"GET " + target_of(entity) + b" HTTP/1.1", fields),
        st.sampled_from(PLAIN_IDS),
        harmless,
    ),
    st.builds(
        lambda ids, fields: request(
            b"POST /u HTTP/1.1", fields, b'{"ids":[' + b",".join(map(quoted, ids)) + b"]}"
        ),
        st.lists(st.sampled_from(PLAIN_IDS), min_size=1, max_size=3, unique=True),
        harmless,
    ),
    st.just(request(b"PUT /t HTTP/1.1", [], b'{"ids":["a"]}')),
    st.sampled_from((request(b"GET /t/a HTTP/1.1", []), request(b"GET /n/a HTTP/1.1", []))),
)
other = st.one_of(
    st.builds(
        lambda method, target, version, fields, end: request(
            b"%b %b HTTP/%b" % (method, target, version), fields, end=end
        ),
        st.sampled_from((b"GET",) * 6 + (b"HEAD", b"DELETE", b"PATCH", b"CONNECT", b"OPTIONS", b"BREW")),
        st.one_of(st.sampled_from(IDS).map(target_of), st.sampled_from(TARGETS)),
        st.sampled_from((b"1.1",) * 6 + (b"1.0", b"0.9", b"2.0", b"1.2")),
        few_fields,
        line_ends,
    ),
    st.builds(
        lambda line, fields, body, chunked: request(line, fields, body, chunked=chunked),
        st.sampled_from((b"POST /u HTTP/1.1",) * 4 + (b"PUT /t HTTP/1.1", b"PUT /u/a HTTP/1.1", b"GET /u/a HTTP/1.1")),
        few_fields,
        bodies,
        st.sampled_from((False, False, True)),
    ),
    st.sampled_from(GARBAGE),
    st.binary(max_size=8),
)  # fmt: skip


def with_line(data: bytes, line: bytes, *, last: bool = False) -> bytes:
    """The request with one more field line, before the others or behind them."""
    place = data.find(b"\r\n\r\n" if last else b"\r\n")
    return data[:place] + b"\r\n" + line + data[place:]


differing = st.builds(
    lambda data, line, last: with_line(data, line, last=last),
    plain,
    st.sampled_from(DIFFERING),
    st.booleans(),
)


@st.composite
def like_differing(draw: st.DrawFn, known: bytes) -> bytes:
    """Something that is the known request but for a line or two."""
    lines = draw(st.lists(st.sampled_from((*DIFFERING, *LIKE_DIFFERING)), min_size=1, max_size=2))
    for line in lines:
        known = with_line(known, line, last=draw(st.booleans()))
    return known


def filled_in(steps: list[Step]) -> list[Step]:
    """With letters in the place of marks."""
    numbers = count()

    def fill(data: bytes) -> bytes:
        while MARK in data:
            high, low = divmod(next(numbers), 26)
            data = data.replace(MARK, bytes([97 + high % 26, 97 + low]), 1)
        return data

    return [
        Step("send", tuple(map(fill, step.told)) if isinstance(step.told, tuple) else fill(step.told))
        if step.verb == "send"
        else step
        for step in steps
    ]


@st.composite
def sends(draw: st.DrawFn, known: bytes, requests: list[bytes]) -> list[Step]:
    """One or more of these requests, in one piece or in several; then, perhaps, what is known already."""
    data = b"".join(draw(st.lists(st.sampled_from(requests), min_size=1, max_size=3)))
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=3)) if draw(st.booleans()) else []
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(places) if end > begin]
    pieces += [known] * draw(st.integers(0, 2))
    together = draw(st.booleans())  # nobody waits for what is done about the one before the next
    return [Step("send", tuple(pieces))] if pieces and together else [Step("send", piece) for piece in pieces]


ids = st.sampled_from(("a", "b", "c", "v", "gone", "d"))
happenings = st.one_of(
    st.sampled_from((0.1, 0.25, 0.5, 1.0, 1.0, 2.3, 9.0, IDLE_TIMEOUT - 0.1, IDLE_TIMEOUT)).map(
        partial(Step, "tick")
    ),
    st.floats(0.0, 8.0, allow_subnormal=False).map(partial(Step, "tick")),
    ids.map(partial(Step, "invalidate")),
    ids.map(partial(Step, "renew")),
    st.sampled_from(("connect", "connect", "end", "leave", "stall", "read", "drop", "sweep", "drain")).map(
        partial(Step, told=None)
    ),
)


@st.composite
def plays(draw: st.DrawFn) -> list[Step]:
    """A few requests, of which the first comes so often that it is known, and with a byte that the parser alone can
    read; and what happens meanwhile."""
    known = draw(plain)
    unread = with_line(known, b"X-C: \xe9", last=True)
    requests = [known, *draw(st.lists(plain, max_size=2)), *draw(st.lists(other, max_size=3))]
    some = st.one_of(
        st.sampled_from(requests).map(lambda data: [Step("send", data)] * 3),
        sends(known, requests),
        sends(known, requests),
        happenings.map(lambda step: [step, Step("send", known)]),
    )
    parts: list[list[Step]] = draw(st.lists(some, min_size=1, max_size=8))
    return [*[Step("send", known)] * 4, Step("send", unread), *(step for part in parts for step in part)]


@st.composite
def differing_plays(draw: st.DrawFn) -> list[Step]:
    """The same with a field that differs each time, so often that it is found out."""
    known = draw(differing)
    requests = [
        known,
        *draw(st.lists(like_differing(known), min_size=1, max_size=3)),
        *draw(st.lists(st.one_of(plain, other), max_size=1)),
    ]
    some = st.one_of(
        st.sampled_from(requests).map(lambda data: [Step("send", data)] * 3),
        st.sampled_from(requests).map(
            lambda data: [Step("connect"), *[Step("send", data)] * 2, Step("send", known)]
        ),
        sends(known, requests),
        happenings.map(lambda step: [step, Step("send", known)]),
    )
    parts: list[list[Step]] = draw(st.lists(some, min_size=1, max_size=6))
    return filled_in([Step("send", known)] * 13 + [step for part in parts for step in part])


def test_nobody_can_tell_whether_there_is_a_fast_lane() -> None:
    used: Counter[str] = Counter()

    # Few examples may draw few hits. This one has some of each kind.
    usual = request(b"GET /u/c HTTP/1.1", [])
    unread = with_line(usual, b"X-C: \xe9", last=True)

    @settings(settings.get_profile("deep"))
    @given(plays())
    @example([Step("send", usual)] * 20 + [Step("send", unread)] * 5)
    def play(steps: list[Step]) -> None:
        tally = Twins().play(steps)
        used.update(examples=1, **tally._asdict())

    play()
    assert used["exact"] >= used["examples"], used
    assert used["read"] >= used["examples"], used
    assert used["parsed"] >= used["examples"] / 2, used


def test_nor_by_fields_that_differ_each_time() -> None:
    used: Counter[str] = Counter()

    @settings(settings.get_profile("deep"))
    @given(differing_plays())
    def play(steps: list[Step]) -> None:
        tally = Twins().play(steps)
        used.update(examples=1, **tally._asdict())

    play()
    assert used["masked"] >= used["examples"], used
    assert used["read"] >= used["examples"], used


STREAMS: dict[str, bytes] = {
    "one": GET,
    "two": GET + request(b"GET /u/c HTTP/1.1", []),
    "bulk": request(b"POST /u HTTP/1.1", [], b'{"ids":["a","c"]}') + GET,
    "passed on": request(b"POST /x HTTP/1.1", [], GET) + GET,
    "chunked": request(b"POST /u HTTP/1.1", [], b'{"ids":["a"]}', chunked=True) + GET,
    "both lengths": request(b"POST /u HTTP/1.1", [b"Content-Length: 4"], b"abcd", chunked=True) + GET,
    "two lengths": request(b"POST /u HTTP/1.1", [b"Content-Length: 4"], b"abcd") + GET,
    "folded": request(b"GET /u/a HTTP/1.1", [b"X: a\r\n b"]) + GET,
    "websocket": request(b"GET /x HTTP/1.1", [b"Connection: Upgrade", b"Upgrade: websocket"]) + GET,
    "h2c": request(b"GET /u/a HTTP/1.1", [b"Connection: Upgrade", b"Upgrade: h2c"]) + GET,
    "huge head": request(b"GET /u/a HTTP/1.1", [b"X: " + b"x" * 480]) + GET,
    "blank lines": b"\r\n\r\n" + GET + b"\r\n\r\n" + GET,
    "bare line feeds": request(b"GET /u/a HTTP/1.1", [b"X: y"], end=b"\n") + GET,
    "blank line in a body": request(b"POST /x HTTP/1.1", [], b"a\r\n\r\nb") + GET,
    "expecting": request(b"POST /u HTTP/1.1", [b"Expect: 100-continue"], b'{"ids":["a"]}') + GET,
    "closing": request(b"GET /u/a HTTP/1.1", [b"Connection: close"]) + GET,
    "differing": request(b"GET /u/a HTTP/1.1", [b"X-Request-Id: zzz"]) + GET,
    "differing twice": request(b"GET /u/a HTTP/1.1", [b"X-Request-Id: zzz", b"X-Request-Id: yyy"]) + GET,
    "differing in a body": request(b"POST /u HTTP/1.1", [], b'{"ids":["a"]}\r\nX-Request-Id: zzz\r\n') + GET,
}


LEARNED = [
    Step("send", request(b"GET /u/a HTTP/1.1", [b"X-Request-Id: %d" % number])) for number in range(13)
]
"""After these it is known that the field differs each time."""
BODIES = (None, b'{"ids":["c","a"]}')
"""Of a GET of one entity, and of a bulk."""


# Bytes between one place and the next.
CUTS_APART = 1 if os.environ.get("CI") else 2


@pytest.mark.parametrize("name", STREAMS)
def test_nor_wherever_a_stream_is_cut(name: str) -> None:
    stream = STREAMS[name]
    steps = [*KNOWN, *LEARNED]
    places = range(0, len(stream) + 1, CUTS_APART)
    for at in places:
        pieces = [Step("send", piece) for piece in (stream[:at], stream[at:]) if piece]
        steps += [Step("connect"), Step("send", GET), *pieces, Step("send", GET), Step("leave")]
    each = [Step("send", bytes([byte])) for byte in stream]
    steps += [Step("connect"), Step("send", GET), *each, Step("send", GET)]
    assert Twins().play(steps).exact >= len(places)


@pytest.mark.parametrize(("line", "body"), in_turn([*CHANGING, *HARMLESS, *ODD, *LIKE_DIFFERING], BODIES))
def test_nor_by_any_field_beside_one_that_differs(line: bytes, body: bytes | None) -> None:
    start = b"GET /u/c HTTP/1.1" if body is None else b"POST /u HTTP/1.1"
    usual, other = (request(start, fields, body) for fields in ([DIFFERING[0]], [DIFFERING[0], line]))
    behind = with_line(usual, line, last=True)
    steps = [Step("send", data) for data in (*[usual] * 14, *[other] * 2, usual)]
    more = [Step("connect"), *[Step("send", behind)] * 14, Step("connect"), Step("send", usual)]
    alone = [
        Step("connect"),
        *[Step("send", request(start, [line], body))] * 14,
        Step("connect"),
        Step("send", usual),
    ]
    tally = Twins().play(filled_in([*steps, *more, *alone]))
    assert tally.masked >= 3


@pytest.mark.parametrize(("line", "body"), in_turn([*CHANGING, *HARMLESS, *ODD], BODIES))
def test_nor_by_any_field_of_a_request(line: bytes, body: bytes | None) -> None:
    start = b"GET /u/c HTTP/1.1" if body is None else b"POST /u HTTP/1.1"
    usual, other = (request(start, fields, body) for fields in ([], [line]))
    # At the moment at which an entity came its head is written anew each time.
    steps = [
        *[Step("send", usual)] * 4,
        *[Step("send", other)] * 5,
        Step("tick", 0.1),
        *[Step("send", usual)] * 3,
    ]
    connections: list[Any] = [*steps, Step("connect"), *steps, Step("connect"), Step("send", other + usual)]
    assert Twins().play(connections).exact >= 5


def test_nor_by_how_many_requests_there_are() -> None:
    """A parser stops after 32 messages that nobody has taken, and the table has place for ten answers."""
    differing = [request(b"GET /u/c HTTP/1.1", [b"X: %d" % number]) for number in range(80)]
    unread = [request(b"GET /u/c HTTP/1.1", [b"X: \xe9%d" % number]) for number in range(90)]
    many = [
        request(b"POST /u HTTP/1.1", [], b'{"ids":[%b]}' % b",".join(map(quoted, ids)))
        for ids in permutations(PLAIN_IDS[:4])
    ]
    steps = [
        *KNOWN,
        *(Step("send", data) for data in differing),
        *KNOWN,
        *(Step("send", data) for data in unread),
        *KNOWN,
        *(Step("send", data) for data in (*many, *many, *many, *many)),
        Step("send", GET * 80),
        Step("connect"),
        Step("send", request(b"GET /slow HTTP/1.1", []) + GET * 80),
        Step("send", GET),
        Step("tick", 1.0),
        *KNOWN,
        Step("connect"),
        Step("send", (GET,) * 80),
    ]
    tally = Twins().play(steps)
    assert tally.exact > 80
    assert tally.parsed > 80
    assert tally.masked > 60
