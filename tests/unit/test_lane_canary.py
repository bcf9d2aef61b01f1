"""Fails when an aiohttp release changes something that proxy/lane.py bends, and says what to re-check.

test_server_canary.py does so for what the slow way stands on, and the lane with it.
"""

import ast
import asyncio
import inspect
from typing import Any

import aiohttp
import pytest
from aiohttp import hdrs
from aiohttp.http import HttpRequestParser, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import istr

from proxy import lane
from proxy.core.budget import Budget
from proxy.core.http import varying
from proxy.core.http.plain import PlainHead
from proxy.core.http.varying import Varying
from proxy.lane import Lane, LaneConnection, LaneServer
from proxy.lane_table import Table
from proxy.messages import Answer, Request
from proxy.server import Connection, ServerLimits
from proxy.steady import SteadyClock
from tests.unit.served import GET, HEADER_BYTES, PATIENCE, changed, echo, serving, unserved
from tests.unit.test_server_canary import private_attributes

# Private names of aiohttp's protocol, and what of the lane stands or falls with each.
PROTOCOL_NAMES = {
    "_keepalive_timeout": "LaneConnection._answer: how long a connection may be idle, in seconds of the loop",
    "_loop": "LaneConnection._answer: the time of this loop is that of the keep-alive timer",
    "_next_keepalive_close_time": "LaneConnection._answer: when moved, the timer must leave the connection alone",
    "_parser": "LaneConnection.__init__: what every byte goes through, and may be put in the place of",
    "_request_count": "LaneConnection.is_answered: Connection.data_received tells a head by it",
    "_waiter": "LaneConnection._is_free: a pending future exactly while start() waits and nothing is due",
}
QUEUE = 32
"""Messages that the parser takes before somebody has consumed one."""
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"


def parser(*, queue: int = QUEUE) -> Any:
    """As the protocol makes it."""
    protocol: Any = aiohttp.base_protocol.BaseProtocol(asyncio.get_running_loop())
    return HttpRequestParser(
        protocol,
        asyncio.get_running_loop(),
        2**16,
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        max_headers=256,
        auto_decompress=False,
        max_msg_queue_size=queue,
    )


def laned() -> LaneServer:
    async def never(_request: Request) -> Answer:
        raise AssertionError

    return LaneServer(
        never,
        ServerLimits(HEADER_BYTES, 1, 1, 1),
        on_error=lambda _status, _error: None,
        lane=Lane(
            lambda _method, _target: None,
            Table(0),
            Varying(()),
            Budget(0),
            clock=SteadyClock(lambda: 0.0, lambda: 0.0),
            starts=(),
        ),
    )


@pytest.mark.parametrize(("name", "recheck"), PROTOCOL_NAMES.items())
async def test_a_private_name_of_the_protocol_is_there(name: str, recheck: str) -> None:
    async with unserved() as listener:
        assert hasattr(listener(), name), changed(f"RequestHandler.{name}", recheck)


async def test_the_private_names_of_a_fresh_protocol_have_the_values_that_are_relied_on() -> None:
    connection = laned()()
    assert type(connection) is LaneConnection
    assert connection._waiter is None, changed("RequestHandler._waiter", PROTOCOL_NAMES["_waiter"])
    assert connection._keepalive_timeout == 1, changed(
        "_keepalive_timeout", PROTOCOL_NAMES["_keepalive_timeout"]
    )
    assert connection._next_keepalive_close_time == 0.0
    assert connection._request_count == 0
    assert isinstance(connection._parser, lane._Watched)


def test_this_file_watches_every_private_name_of_the_protocol_that_is_used() -> None:
    tree = ast.parse(inspect.getsource(LaneConnection))
    ours = {*Connection.__slots__, *LaneConnection.__slots__}
    ours |= {name for kind in (Connection, LaneConnection) for name in vars(kind) if name.startswith("_")}
    used = private_attributes(tree) - ours
    watched = ast.parse(inspect.getsource(lane._Watched))
    used |= private_attributes(watched, ("connection",)) - ours
    assert used == PROTOCOL_NAMES.keys(), "PROTOCOL_NAMES of this file and proxy/lane.py have drifted apart"


def test_no_private_name_of_aiohttp_is_imported() -> None:
    imported = [
        alias.name
        for part in ast.walk(ast.parse(inspect.getsource(lane)))
        if isinstance(part, ast.ImportFrom) and (part.module or "").startswith("aiohttp")
        for alias in part.names
    ]
    assert imported
    assert not [name for name in imported if name.startswith("_")], "add a canary for it here"


def test_the_parser_is_the_one_that_was_read() -> None:
    assert HttpRequestParser is not HttpRequestParserPy, (
        "aiohttp's C parser is not there: what its other one takes for the end of a head was not looked at"
    )


def test_what_the_protocol_asks_of_its_parser_reaches_it() -> None:
    """Names of methods are passed on as they are; one that takes bytes would have to be looked into."""
    tree = ast.parse(inspect.getsource(aiohttp.web_protocol) + inspect.getsource(aiohttp.base_protocol))
    asked = {
        part.attr
        for part in ast.walk(tree)
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "self._parser"
    }
    assert asked == {"feed_data", "message_consumed", "pause_reading", "set_upgraded"}, changed(
        f"what the protocol asks of its parser, {sorted(asked)},", "proxy.lane._Watched"
    )


async def test_the_parser_gives_messages_with_payloads_whether_it_is_switched_and_a_rest() -> None:
    recheck = "proxy.lane.Parsed and _Watched.feed_data"
    parsed = parser().feed_data(GET)
    assert len(parsed) == 3, changed("HttpRequestParser.feed_data", recheck)
    messages, is_upgraded, rest = parsed
    assert (len(messages), is_upgraded, rest) == (1, False, b""), changed("feed_data", recheck)
    message, payload = messages[0]
    assert isinstance(message, RawRequestMessage), changed("feed_data", recheck)
    assert payload is EMPTY_PAYLOAD, changed("the payload of a request without a body", "proxy.lane._length")
    messages, is_upgraded, rest = parser().feed_data(GET[:-1])
    assert (list(messages), is_upgraded, rest) == ([], False, b""), changed("feed_data", recheck)
    assert not lane._NOTHING[0]
    assert lane._NOTHING[1:] == (False, b"")


async def test_a_switch_is_told_with_the_bytes_behind_it() -> None:
    switch = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    messages, is_upgraded, rest = parser().feed_data(switch + GET)
    assert (len(messages), is_upgraded, rest) == (1, True, GET), changed("an upgrade", "_Watched.feed_data")


@pytest.mark.parametrize(
    ("request_", "is_empty"),
    [
        (GET, True),
        (POST.replace(b"Content-Length: 3\r\n", b""), True),
        (POST.replace(b": 3", b": 0"), True),
        (POST, False),
        (POST.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked"), False),
    ],
)
async def test_a_request_without_a_body_has_the_empty_payload(request_: bytes, is_empty: bool) -> None:
    ((_, payload),), _, _ = parser().feed_data(request_)
    assert (payload is EMPTY_PAYLOAD) is is_empty, changed("EMPTY_PAYLOAD", "proxy.lane._length")
    assert is_empty or isinstance(payload, StreamReader)


async def test_a_message_has_the_members_that_are_read() -> None:
    ((message, _),), _, _ = parser().feed_data(POST.replace(b"Host", b"x-A: \xfe\r\nHost") + b"abc")
    recheck = "proxy.lane.LaneConnection.is_answered and _length"
    assert (message.method, message.path) == ("POST", "/"), changed("method and path", recheck)
    assert message.version == HttpVersion11, changed("version", recheck)
    assert message.should_close is False, changed("should_close", recheck)
    assert not message.chunked, changed("chunked", recheck)
    assert message.headers.get("content-length") == "3", changed("headers", recheck)
    assert message.raw_headers[0] == (b"x-A", b"\xfe"), changed("raw_headers", recheck)
    used = {
        part.attr
        for kind in (LaneConnection, lane._length)
        for part in ast.walk(ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))))
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "message"
    }
    assert used == {"chunked", "headers", "method", "path", "raw_headers", "should_close", "version"}, (
        "proxy/lane.py reads another member of a message: add a canary for it here"
    )


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (GET, False),
        (GET[:-2] + b"Connection: close\r\n\r\n", True),
        (GET[:-2] + b"Connection: a, CLOSE\r\n\r\n", True),
        (GET[:-2] + b"Proxy-Connection: close\r\n\r\n", True),
        (GET.replace(b"1.1", b"1.0"), True),
        (GET.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n"), False),
    ],
)
async def test_a_message_says_whether_its_connection_ends(request_: bytes, closes: bool) -> None:
    ((message, _),), _, _ = parser().feed_data(request_)
    assert message.should_close is closes, changed("should_close", "LaneConnection.is_answered")
    assert (message.version == HttpVersion10) is (b"HTTP/1.0" in request_), changed(
        "version", "LaneConnection.is_answered"
    )


async def test_a_target_is_given_as_it_was_spelled() -> None:
    spelled = "/%41/b?"
    ((message, _),), _, _ = parser().feed_data(GET.replace(b" / ", b" %s " % spelled.encode()))
    assert message.path == spelled, changed("path", "is_answered: equal targets are spelled equally")


async def test_a_body_is_complete_once_its_length_has_come() -> None:
    one = parser()
    ((message, payload),), _, _ = one.feed_data(POST + b"ab")
    assert not payload.is_eof(), changed("a body in pieces", "LaneConnection._owed")
    assert not one.feed_data(b"c")[0], changed("a body in pieces", "LaneConnection._owed")
    assert payload.is_eof(), changed("a body in pieces", "LaneConnection._owed")
    assert len(one.feed_data(GET)[0]) == 1, changed("what stands behind a body", "LaneConnection._owed")
    del message


@pytest.mark.parametrize(
    "bare",
    [
        GET.replace(b"\r\n", b"\n"),
        GET[:-2] + b"\n",
        GET.replace(b"a\r\n", b"a\n"),
        GET[:-2] + b"X-A: b\n\n",
        GET[:-2] + b"X-A: b\n\r\n",
        GET[:-2] + b"X-A: b\r\r\n\r\n",
        GET[:-2] + b"\r\r\n",
        GET[:-2] + b"X-A: b\rX-B: c\r\n\r\n",
        GET.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    ],
)
async def test_a_line_of_a_head_ends_in_one_way_alone(bare: bytes) -> None:
    with pytest.raises(
        HttpProcessingError
    ):  # else re-check _Watched.feed_data: a head ends at its first blank line
        parser().feed_data(bare)


@pytest.mark.parametrize("rest", [b"", b"abc", b"\r\n\r\n", b"\n\n", GET])
async def test_a_head_ends_at_its_first_blank_line(rest: bytes) -> None:
    """So that its size is where that is found."""
    head = POST.replace(b": 3", b": 100").replace(b"Host", b"X-A:\t \r\nX-B: \t\r\nHost")
    ((_, payload),), _, _ = parser().feed_data(head + rest)
    assert payload.total_bytes == len(head + rest) - head.find(b"\r\n\r\n") - 4, changed(
        "where a head ends", "_Watched.feed_data"
    )


@pytest.mark.parametrize("continued", [b"X-A: b\r\n c\r\n", b"X-A: b\r\n\tc\r\n", b"X-A: b\r\n \r\n"])
async def test_a_line_that_goes_on_in_the_next_is_refused_or_no_end_of_a_head(continued: bytes) -> None:
    """RFC 9112 section 5.2."""
    try:
        messages, _, _ = parser().feed_data(GET[:-2] + continued + b"\r\n")
    except BadHttpMessage:
        return
    assert len(messages) == 1, changed("a line that goes on", "_Watched.feed_data")


async def test_the_parser_stops_after_so_many_that_nobody_has_consumed() -> None:
    recheck = "_Watched.feed_data: message_consumed is called for each that is taken out"
    stopped, going_on = parser(), parser()
    for _ in range(QUEUE):
        for one in (stopped, going_on):
            assert len(one.feed_data(GET)[0]) == 1, changed("the parser's queue", recheck)
        going_on.message_consumed()
    assert len(stopped.feed_data(GET * 2)[0]) == 1, changed("the parser's queue", recheck)
    assert len(going_on.feed_data(GET * 2)[0]) == 2, changed("HttpRequestParser.message_consumed", recheck)
    stopped.message_consumed()
    assert len(stopped.feed_data(b"")[0]) == 1, changed("HttpRequestParser.message_consumed", recheck)


async def waited(connection: Any) -> asyncio.Future[None]:
    """What the connection waits on for its next request, once it does."""
    async with asyncio.timeout(PATIENCE):
        while connection._waiter is None:
            await asyncio.sleep(0)
    waiter: asyncio.Future[None] = connection._waiter
    return waiter


async def test_the_waiter_is_pending_exactly_while_nothing_is_due() -> None:
    async with serving(echo) as served:
        client = await served.connect()
        await client.request(GET)
        (connection,) = served.server.connections
        assert isinstance(connection, RequestHandler)
        recheck = PROTOCOL_NAMES["_waiter"]
        waiter = await waited(connection)
        before = waiter.done()
        connection.data_received(GET)
        assert (before, waiter.done()) == (False, True), changed("RequestHandler._waiter", recheck)
        await client.receive()
        waiter = await waited(connection)
        connection.force_close()
        assert waiter.done(), changed("RequestHandler.force_close", recheck)
        assert not connection.connected, changed("RequestHandler.force_close", recheck)


async def test_the_keep_alive_timer_asks_for_the_time_that_is_moved() -> None:
    recheck = PROTOCOL_NAMES["_next_keepalive_close_time"]
    async with serving(echo) as served:
        client = await served.connect()
        await client.request(GET)
        (connection,) = served.server.connections
        await waited(connection)
        now = asyncio.get_running_loop().time()
        connection._next_keepalive_close_time = now + 60
        connection._process_keepalive()
        assert connection.connected, changed("RequestHandler._process_keepalive", recheck)
        connection._next_keepalive_close_time = now
        connection._process_keepalive()
        assert not connection.connected, changed("RequestHandler._process_keepalive", recheck)


async def test_a_parser_that_is_put_in_its_place_is_fed_every_byte() -> None:
    fed: list[bytes] = []

    class Feeding:
        def __init__(self, parser: Any) -> None:
            self._parser = parser

        def __getattr__(self, name: str) -> Any:
            return getattr(self._parser, name)

        def feed_data(self, data: bytes) -> Any:
            fed.append(data)
            return self._parser.feed_data(data)

    async with serving(echo) as served:
        client = await served.connect()
        await client.request(GET)
        (connection,) = served.server.connections
        connection._parser = Feeding(connection._parser)  # type: ignore[assignment]
        for request in (GET, POST + b"abc"):
            await client.request(request)
            assert b"".join(fed) == request, changed(
                "RequestHandler.data_received", PROTOCOL_NAMES["_parser"]
            )
            fed.clear()


async def test_messages_that_are_taken_out_are_nobodys() -> None:
    """No task wakes up for them, and nothing is answered."""
    connection = laned()()
    connection._waiter = asyncio.get_running_loop().create_future()
    connection._parser = _Empty()  # type: ignore[assignment]
    connection._owed = lane._UNKNOWN  # type: ignore[attr-defined] # so that the parser is asked
    connection.data_received(GET)
    recheck = "_Watched.feed_data: what it gives back instead of a message"
    assert not connection._waiter.done(), changed("RequestHandler.data_received", recheck)
    assert not connection._messages, changed("RequestHandler.data_received", recheck)
    connection._stop_head_timer()


class _Empty:
    def feed_data(self, _data: bytes) -> lane.Parsed:
        return lane._NOTHING


@pytest.mark.parametrize("name", sorted(varying._ONCE))
async def test_a_name_that_may_stand_there_once_is_never_left_out(name: bytes) -> None:
    line = b"%b: %b\r\n" % (name.title(), b"3" if name == b"content-length" else b"chunked")
    data = GET if name == b"host" else GET[:-2] + line + b"\r\n"
    parser().feed_data(data)
    with pytest.raises(HttpProcessingError):
        parser().feed_data(data[:-2] + (b"host: b\r\n" if name == b"host" else line) + b"\r\n")


async def test_no_other_name_may_stand_there_once() -> None:
    """What differs each time is left out of a request unseen, however often it stands there."""
    names = {
        value.encode().lower() for value in vars(hdrs).values() if isinstance(value, istr)
    } - varying._ONCE
    telling = PlainHead(telling=(), credentials=(), body=True).telling
    assert len(names - telling) > 40
    for name in names - telling:
        twice = b"%b: a\r\n" % name * 2
        (_,), is_upgraded, _ = parser().feed_data(GET[:-2] + twice + b"\r\n")
        assert not is_upgraded, changed(f"what {name!r} means", "proxy.core.http.varying._ONCE")
