"""Fails when an aiohttp release changes something that proxy/server.py, proxy/messages.py or proxy/tunnel.py bend.

The first half looks at names and shapes and says what to re-check; the second half talks to the server over loopback.
"""

import ast
import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from proxy import messages, server, tunnel
from proxy.bodies import read_some
from proxy.core import problem
from proxy.core.problem import Problem
from proxy.messages import Answer, BadBodyError, ClientDisconnected, Reply, Request, Streamed, render_head
from proxy.server import Connection, Server, ServerLimits

PATIENCE = 5.0
"""Seconds after which a test gives up on a peer; nothing waits that long when all is well."""
SOON = 0.05
"""Seconds: a limit of the server that a test waits for."""
HEADER_BYTES = 4096


def changed(what: str, recheck: str) -> str:
    return f"aiohttp {aiohttp.__version__}: {what} has changed; re-check {recheck}"


# --- names and shapes ---------------------------------------------------------------------------------------------

# Private names of aiohttp's protocol, and what of ours stands or falls with each.
PROTOCOL_NAMES = {
    "_current_request": "Connection._head_timed_out: the request that is being handled, if one is",
    "_loop": "Connection.data_received: the timer of a head runs on this loop",
    "_manager": "Connection.connection_made: None must make aiohttp ignore a connection that was refused",
    "_messages": "Connection.data_received and close_if_idle: the queue of parsed requests that nobody has taken yet",
    "_request_count": "Connection.data_received: it must go up by one for each parsed head and each parse error",
    "_task_handler": "Connection.cut: the task that runs start(); cancelling it must cancel the handler",
    "_upgraded": "Connection.data_received: true from an upgrade request on, while its bytes are no heads",
    "_waiter": "Connection.close_if_idle: a pending future exactly while start() waits for a request",
}
PROTOCOL_METHODS = {
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "force_close": ["self"],
    "finish_response": ["self", "request", "resp", "start_time"],
    "handle_error": ["self", "request", "status", "exc", "message"],
    "set_parser": ["self", "parser", "data_received_cb"],
}


@asynccontextmanager
async def unserved() -> AsyncIterator[Server]:
    """A server that listens nowhere."""

    async def never(_request: Request) -> Answer:
        raise AssertionError

    yield Server(never, ServerLimits(HEADER_BYTES, 1, 1, 1), on_error=lambda _status, _error: None)


def test_aiohttp_is_of_the_minor_version_that_was_read() -> None:
    assert aiohttp.__version__.startswith("3.14."), (
        f"aiohttp is {aiohttp.__version__}: read its web_protocol.py and web_server.py against proxy/server.py, "
        "run this file, then move the pin in pyproject.toml and this line"
    )


@pytest.mark.parametrize(("name", "recheck"), PROTOCOL_NAMES.items())
async def test_a_private_name_of_the_protocol_is_there(name: str, recheck: str) -> None:
    async with unserved() as listener:
        assert hasattr(listener(), name), changed(f"RequestHandler.{name}", recheck)


async def test_the_private_names_of_a_fresh_protocol_have_the_values_that_are_relied_on() -> None:
    async with unserved() as listener:
        connection = listener()
        assert connection._loop is asyncio.get_running_loop()
        assert connection._manager is listener
        assert connection._request_count == 0
        assert connection._waiter is None
        assert connection._task_handler is None
        assert connection._upgraded is False
        assert list(connection._messages) == []
        assert connection.transport is None


@pytest.mark.parametrize(("name", "parameters"), PROTOCOL_METHODS.items())
def test_a_method_that_is_overridden_or_called_has_its_parameters(name: str, parameters: list[str]) -> None:
    found = list(inspect.signature(getattr(RequestHandler, name)).parameters)
    assert found == parameters, changed(f"RequestHandler.{name}{found}", f"Connection.{name} and its callers")


def private_attributes(node: ast.AST, owners: Iterable[str] = ("self",)) -> set[str]:
    """Private names that are read from or written to these variables."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and part.attr.startswith("_")
        and not part.attr.startswith("__")
        and isinstance(part.value, ast.Name)
        and part.value.id in set(owners)
    }


def test_this_file_watches_every_private_name_of_the_protocol_that_is_used() -> None:
    own = set(Connection.__slots__) | {name for name in vars(Connection) if name.startswith("_")}
    used = private_attributes(ast.parse(inspect.getsource(Connection))) - own
    assert used == PROTOCOL_NAMES.keys(), "PROTOCOL_NAMES of this file and proxy/server.py have drifted apart"


def test_this_file_watches_every_private_name_of_the_server_that_is_used() -> None:
    tree = ast.parse(inspect.getsource(Server))
    own = {name for name in vars(Server) if name.startswith("_")}
    for part in ast.walk(tree):
        targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        own |= {target.attr for target in targets if isinstance(target, ast.Attribute)}
    assert private_attributes(tree) - own == {"_loop"}, (
        "proxy/server.py uses another private name of web.Server: add a canary for it here"
    )


@pytest.mark.parametrize("module", [messages, server, tunnel])
def test_no_other_private_name_of_aiohttp_is_imported(module: Any) -> None:
    imported = {
        alias.name
        for part in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(part, ast.ImportFrom) and (part.module or "").startswith("aiohttp")
        for alias in part.names
        if alias.name.startswith("_")
    }
    assert imported <= {"_ErrInfo"}, "a further private name of aiohttp is imported: add a canary for it here"


async def test_the_server_keeps_its_loop_and_its_connections() -> None:
    async with unserved() as listener:
        recheck = "proxy.server.Server: listen uses _loop, drain goes over connections"
        assert listener._loop is asyncio.get_running_loop(), changed("web.Server._loop", recheck)
        assert listener.connections == [], changed("web.Server.connections", recheck)


async def test_the_server_makes_protocols_of_ours_with_our_limits() -> None:
    async with unserved() as listener:
        connection = listener()
        recheck = "proxy.server.Server.__call__: an option that is not understood would lift a limit"
        assert type(connection) is Connection, changed("web.Server.__call__", recheck)
        assert connection.keepalive_timeout == 1, changed("keepalive_timeout", recheck)
        assert connection.max_line_size == HEADER_BYTES, changed("max_line_size", recheck)
        assert connection.max_field_size == HEADER_BYTES, changed("max_field_size", recheck)
        assert connection.max_headers == server._MAX_FIELDS, changed("max_headers", recheck)
        assert connection.access_logger is None, changed("access_log", recheck)
        assert connection.logger is server._silent, changed("logger", recheck)
    assert callable(web.Server.__call__)
    accepted = inspect.signature(RequestHandler.__init__).parameters
    for option in ("auto_decompress", "keepalive_timeout", "max_line_size", "max_field_size", "max_headers"):
        assert option in accepted, changed(f"RequestHandler({option}=)", recheck)
    assert "request_factory" in inspect.signature(web.Server.__init__).parameters, changed(
        "request_factory", recheck
    )


def attributes_of(function: Callable[..., Any], *expressions: str) -> set[str]:
    """Attributes that a function of aiohttp takes from what these expressions give."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
    return {
        part.attr
        for part in ast.walk(tree)
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) in expressions
    }


def test_aiohttp_asks_nothing_else_of_a_request() -> None:
    asked: set[str] = set()
    for name in (
        "start",
        "_handle_request",
        "finish_response",
        "_make_error_handler",
        "connection_lost",
        "shutdown",
    ):
        asked |= attributes_of(getattr(RequestHandler, name), "request", "self._current_request")
    assert asked == {"_cancel", "_finish", "_task"}, changed(
        f"what RequestHandler asks of a request, {sorted(asked)},",
        "the last methods of proxy.messages.Request",
    )
    assert all(hasattr(Request, name) for name in asked)


def test_aiohttp_asks_nothing_else_of_a_response() -> None:
    asked: set[str] = set()
    for name in ("start", "_handle_request", "finish_response"):
        asked |= attributes_of(getattr(RequestHandler, name), "resp")
    assert asked == {"keep_alive", "prepare", "write_eof"}, changed(
        f"what RequestHandler asks of a response, {sorted(asked)},", "proxy.messages.Reply and Streamed"
    )
    for kind in (Reply, Streamed):
        assert all(hasattr(kind, name) for name in asked)
        assert inspect.iscoroutinefunction(kind.prepare)
        assert inspect.iscoroutinefunction(kind.write_eof)


def test_a_parsed_head_has_the_members_that_are_read() -> None:
    used = attributes_of(Request, "message", "self._message")
    assert all(hasattr(RawRequestMessage, name) for name in used), changed(
        "RawRequestMessage", "messages.Request"
    )
    assert {"raw_headers", "should_close", "upgrade", "chunked", "path", "version"} <= used


def test_a_parse_error_is_told_by_its_exception_and_its_message() -> None:
    recheck = "Connection.handle_error, which tells 431 from 400, and Connection._refuse_large_heads"
    assert issubclass(LineTooLong, BadHttpMessage), changed("LineTooLong", recheck)
    error = _ErrInfo(431, LineTooLong(b""), "")
    assert (error.status, error.message) == (431, ""), changed("_ErrInfo", recheck)


def test_a_writer_counts_what_it_has_written() -> None:
    used = "output_size" in inspect.getsource(StreamWriter)
    assert used, changed(
        "StreamWriter.output_size", "Connection.handle_error, which must not write a second answer"
    )
    assert inspect.iscoroutinefunction(StreamWriter.write), changed("StreamWriter.write", "Reply.prepare")


async def test_a_body_reader_has_the_methods_that_are_called() -> None:
    recheck = "proxy.tunnel.Tunnel, Request.body and Connection.data_received"
    bodies = "proxy.bodies.read_some"
    assert EMPTY_PAYLOAD.is_eof(), changed("EMPTY_PAYLOAD", recheck)
    async with unserved() as listener:
        reader = StreamReader(listener(), 16, loop=asyncio.get_running_loop())
        assert not reader.is_eof(), changed("StreamReader.is_eof", recheck)
        reader.feed_data(b"ab")
        assert await reader.readchunk() == (b"ab", False), changed("StreamReader.readchunk", bodies)
        reader.feed_eof()
        assert reader.is_eof(), changed("StreamReader.is_eof", recheck)
        assert await reader.readany() == b"", changed("StreamReader.readany at the end", recheck)
        for body in (reader, EMPTY_PAYLOAD, EMPTY_PAYLOAD):
            assert await read_some(body) == b"", changed("StreamReader.readchunk at the end", bodies)
    assert isinstance(ResponseHandler.closed, property), changed("ResponseHandler.closed", "Exchange._watch")


def test_a_client_protocol_can_be_taken_over_too() -> None:
    found = list(inspect.signature(ResponseHandler.set_parser).parameters)
    assert found[:3] == ["self", "parser", "payload"], changed(
        "ResponseHandler.set_parser", "proxy.tunnel.Tunnel.on"
    )


# --- behaviour ----------------------------------------------------------------------------------------------------

Handling = Callable[[Request], Awaitable[Answer]]


@dataclass
class Response:
    """One response as it came."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> dict[bytes, bytes]:
        return dict(line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:] if line)


@dataclass
class Client:
    """A client that writes bytes as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Response:
        async with asyncio.timeout(PATIENCE):
            return Response((await self.reader.readuntil(b"\r\n\r\n"))[:-2], b"")

    async def receive(self) -> Response:
        response = await self.head()
        async with asyncio.timeout(PATIENCE):
            response.body = await self.reader.readexactly(int(response.fields.get(b"Content-Length", b"0")))
        return response

    async def request(self, data: bytes) -> Response:
        await self.send(data)
        return await self.receive()

    async def end(self) -> bytes:
        """What still comes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@dataclass
class Served:
    """A server on loopback."""

    server: Server
    address: tuple[str, int]
    errors: list[tuple[int, BaseException | None]]
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.address))
        self.clients.append(client)
        return client

    async def request(self, data: bytes) -> Response:
        return await (await self.connect()).request(data)


@asynccontextmanager
async def serving(
    handler: Handling,
    *,
    header_bytes: int = HEADER_BYTES,
    header_timeout: float = PATIENCE,
    idle_timeout: float = PATIENCE,
    connections: int = 100,
) -> AsyncIterator[Served]:
    errors: list[tuple[int, BaseException | None]] = []
    limits = ServerLimits(header_bytes, header_timeout, idle_timeout, connections)
    listener = Server(handler, limits, on_error=lambda status, error: errors.append((status, error)))
    served = Served(listener, await listener.listen("127.0.0.1", 0), errors)
    try:
        yield served
    finally:
        for client in served.clients:
            client.writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await listener.drain(0)


async def echo(request: Request) -> Answer:
    """Answers with what it read."""
    body, _ = await request.read_at_most(2**20)
    return Reply(200, [(b"X-Target", request.target)], request.method.encode() + b" " + body)


async def unread(_request: Request) -> Answer:
    return Reply(200, [], b"unread")


class Gate:
    """A handler that says when it has begun and waits to be let on."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.opened = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        self.begun.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Reply(200, [], request.target)


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def is_problem(response: Response, failure: Problem) -> bool:
    return (
        response.status == failure.status
        and response.fields[b"Content-Type"] == b"application/problem+json"
        and response.fields[b"Connection"] == b"close"
        and json.loads(response.body)["status"] == failure.status
        and response.body == failure.body()
    )


@pytest.mark.parametrize(
    "data",
    [
        b"SECRET\r\n\r\n",
        b"SECRET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /SECRET HTTP/9.9\r\n\r\n",
        b"GET /SECRET HTTP/1.1\r\n\r\n",
        b"get /SECRET HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET SECRET HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nSECRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nSEC RET: SECRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: SECRET\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: SECRET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nSECRET",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nSECRET",
        b"\x16\x03\x01SECRET\r\n\r\n",
    ],
)
async def test_a_parse_error_is_a_problem_that_quotes_nothing(
    data: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """RFC 9112 sections 3, 5 and 6.3; RFC 9457."""
    caplog.set_level(0)
    async with serving(echo) as served:
        client = await served.connect()
        response = await client.request(data)
        rest = await client.end()
        assert is_problem(response, problem.BAD_REQUEST)
        assert b"SECRET" not in response.head + response.body + rest
        assert served.errors == [(400, None)]
    assert "SECRET" not in caplog.text
    assert "SECRET" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * HEADER_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEADER_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * HEADER_BYTES + b": 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (HEADER_BYTES // 2) + b"\r\nY: " + b"y" * HEADER_BYTES,
    ],
)
async def test_a_line_that_is_too_long_is_refused(data: bytes) -> None:
    """RFC 6585 section 5."""
    async with serving(echo) as served:
        client = await served.connect()
        response = await client.request(data)
        assert is_problem(response, problem.HEADERS_TOO_LARGE)
        assert await client.end() == b""
        assert served.errors == [(431, None)]


async def test_too_many_fields_are_refused() -> None:
    """RFC 6585 section 5."""
    async with serving(echo, header_bytes=65536) as served:
        fields = b"".join(b"X-%d: 1\r\n" % number for number in range(server._MAX_FIELDS + 1))
        response = await served.request(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
        assert is_problem(response, problem.HEADERS_TOO_LARGE), changed(
            "'Too many headers received'", "Connection.handle_error, which knows the error by this message"
        )
        assert served.errors == [(431, None)]


async def test_as_many_fields_as_are_allowed_are_taken() -> None:
    async with serving(echo, header_bytes=65536) as served:
        fields = b"".join(b"X-%d: 1\r\n" % number for number in range(server._MAX_FIELDS - 2))
        assert (await served.request(GET[:-2] + fields + b"\r\n")).status == 200


LARGE_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(
    b"X-%d: %s\r\n" % (number, b"x" * 500) for number in range(12)
)


async def test_a_head_whose_lines_are_too_much_together_is_refused() -> None:
    """RFC 6585 section 5."""
    async with serving(echo) as served:
        client = await served.connect()
        assert is_problem(await client.request(LARGE_HEAD + b"\r\n"), problem.HEADERS_TOO_LARGE)
        assert await client.end() == b""
        assert served.errors == [(431, None)]


async def test_a_head_that_does_not_end_is_refused() -> None:
    """RFC 6585 section 5."""
    async with serving(echo) as served:
        client = await served.connect()
        assert is_problem(await client.request(LARGE_HEAD), problem.HEADERS_TOO_LARGE)
        assert await client.end() == b""
        assert served.errors == [(431, None)]


async def test_a_request_is_given_as_it_stood_on_the_wire() -> None:
    """RFC 9110 section 5.3; RFC 9112 section 3.2."""
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return Reply(204, [])

    fields = [(b"x-B", b"2"), (b"HOST", b"a"), (b"X-b", b"caf\xe9"), (b"x-B", b"1"), (b"X", b"")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    async with serving(handler) as served:
        await served.request(b"PATCH //a/../b%2f%zz?q=// HTTP/1.1\r\n" + lines + b"\r\n")
    assert list(seen[0].fields) == fields, changed(
        "RawRequestMessage.raw_headers", "proxy.messages.Request.fields"
    )
    assert (seen[0].method, seen[0].version) == ("PATCH", (1, 1))
    assert seen[0].target == b"//a/../b%2f%zz?q=//", changed(
        "RawRequestMessage.path", "proxy.messages.Request.target"
    )


async def test_an_answer_is_written_as_it_is() -> None:
    """RFC 9110 section 5.3."""

    async def handler(_request: Request) -> Answer:
        return Reply(299, [(b"x-B", b"caf\xe9"), (b"X-a", b""), (b"x-B", b"1")], b"ok", reason=b"Any How")

    async with serving(handler) as served:
        response = await served.request(GET)
        assert response.head == (
            b"HTTP/1.1 299 Any How\r\nx-B: caf\xe9\r\nX-a: \r\nx-B: 1\r\nContent-Length: 2\r\n"
        ), changed("the way a response is written", "Reply.prepare: something has added or changed a field")


async def test_a_coded_body_is_not_decoded() -> None:
    """RFC 9110 section 8.4: codings are end-to-end."""
    async with serving(echo) as served:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
        assert (await served.request(head + b"abc")).body == b"POST abc"


async def test_a_connection_is_kept_for_further_requests() -> None:
    """RFC 9112 section 9.3."""
    async with serving(echo) as served:
        client = await served.connect()
        for body in (b"", b"one", b"", b"two"):
            head = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (body, len(body))
            response = await client.request(head + body)
            assert (response.status, response.body) == (200, b"POST " + body)
            assert b"Connection" not in response.fields
        assert len(served.server.connections) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    """RFC 9112 section 9.3.2."""
    async with serving(echo) as served:
        client = await served.connect()
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(100)))
        assert [(await client.receive()).fields[b"X-Target"] for _ in range(100)] == [
            b"/%d" % n for n in range(100)
        ]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_a_connection_is_closed_when_the_client_wants_no_more(data: bytes) -> None:
    """RFC 9112 section 9.6."""
    async with serving(echo) as served:
        client = await served.connect()
        assert (await client.request(data + GET)).fields[b"Connection"] == b"close"
        assert await client.end() == b""


async def test_a_client_of_http_1_0_can_keep_its_connection() -> None:
    """RFC 9112 appendix C.2.2."""
    async with serving(echo) as served:
        client = await served.connect()
        for _ in range(2):
            response = await client.request(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert response.fields[b"Connection"] == b"keep-alive"
            assert response.body == b"GET "


async def test_a_head_is_told_the_length_and_given_no_body() -> None:
    """RFC 9110 section 9.3.2."""
    async with serving(unread) as served:
        client = await served.connect()
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert (await client.head()).fields == {b"Content-Length": b"6"}
        assert (await client.receive()).body == b"unread"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_gets_none(status: int) -> None:
    """RFC 9110 section 8.6; RFC 9112 section 6.3."""

    async def handler(_request: Request) -> Answer:
        return Reply(status, [], b"never sent")

    async with serving(handler) as served:
        client = await served.connect()
        for _ in range(2):
            response = await client.request(GET)
            assert (response.status, response.fields) == (status, {})


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"


@pytest.mark.parametrize("trailers", [b"", b"X-Leak: 1\r\n", b"X-Leak: 1\r\nX-More: 2\r\n"])
async def test_after_a_chunked_request_the_connection_is_closed_and_nothing_behind_is_answered(
    trailers: bytes,
) -> None:
    """RFC 9112 sections 7.1.2 and 9.6. aiohttp would show the last trailer as a field of the next request."""
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        response = await client.request(CHUNKED + trailers + b"\r\n" + GET)
        assert (response.fields[b"Connection"], response.body) == (b"close", b"POST abc")
        assert await client.end() == b""
    assert len(seen) == 1
    assert b"X-Leak" not in dict(seen[0].fields), changed("the parser", "Request.fields: it shows a trailer")


async def test_a_chunked_body_that_breaks_its_framing_is_said_to_be_bad() -> None:
    """RFC 9112 section 7.1."""
    raised: list[BaseException] = []

    begun = asyncio.Event()

    async def handler(request: Request) -> Answer:
        begun.set()
        try:
            return await echo(request)
        except (BadBodyError, ClientDisconnected) as error:
            raised.append(error)
            return Reply.of_problem(problem.BAD_REQUEST, close=True)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await begun.wait()
        await client.send(b"SECRET\r\n")
        assert is_problem(await client.receive(), problem.BAD_REQUEST)
        assert b"SECRET" not in await client.end()
    assert [type(error) for error in raised] == [BadBodyError], changed(
        "a body's framing error", "Request.body and Connection.data_received"
    )


EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


async def test_an_expectation_is_met_when_the_body_is_read() -> None:
    """RFC 9110 section 10.1.1."""
    gate = asyncio.Event()

    async def handler(request: Request) -> Answer:
        await gate.wait()
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(EXPECTING)
        gate.set()
        interim = await client.head()
        assert (interim.status, interim.fields) == (100, {})
        response = await client.request(b"abc")
        assert (response.status, response.body) == (200, b"POST abc")
        assert b"Connection" not in response.fields
        assert (await client.request(GET)).status == 200


@pytest.mark.parametrize("name", [b"Expect: 100-Continue", b"EXPECT: 100-continue"])
async def test_an_expectation_is_not_met_when_the_body_is_not_read(name: bytes) -> None:
    """RFC 9110 section 10.1.1: a final status instead; whether the body follows is then unknown, so we close."""
    async with serving(unread) as served:
        client = await served.connect()
        response = await client.request(EXPECTING.replace(b"Expect: 100-continue", name))
        assert (response.status, response.fields[b"Connection"]) == (200, b"close")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_an_expectation_without_a_body_or_of_http_1_0_is_ignored(data: bytes) -> None:
    """RFC 9110 section 10.1.1."""
    async with serving(echo) as served:
        assert (await served.request(data)).status == 200


@pytest.mark.parametrize("partial", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: "])
async def test_a_head_that_takes_too_long_ends_the_connection(partial: bytes) -> None:
    async with serving(echo, header_timeout=SOON) as served:
        client = await served.connect()
        await client.send(partial)
        assert await client.end() == b""
        assert served.server.requests_count == 0


async def test_the_head_of_a_later_request_is_bounded_in_time_too() -> None:
    async with serving(echo, header_timeout=SOON) as served:
        client = await served.connect()
        assert (await client.request(GET)).status == 200
        await client.send(b"GET / HT")
        assert await client.end() == b""


async def test_a_head_in_pieces_is_taken() -> None:
    async with serving(echo) as served:
        client = await served.connect()
        for position in range(len(GET)):
            await client.send(GET[position : position + 1])
        assert (await client.receive()).status == 200


@pytest.mark.parametrize("before", [b"", GET])
async def test_an_idle_connection_is_closed(before: bytes) -> None:
    """RFC 9112 section 9.8."""
    async with serving(echo, idle_timeout=SOON) as served:
        client = await served.connect()
        if before:
            assert (await client.request(before)).status == 200
        assert await client.end() == b""


async def test_a_request_in_progress_is_not_idle() -> None:
    gate = Gate()
    async with serving(gate, idle_timeout=SOON) as served:
        client, idle = await served.connect(), await served.connect()
        await client.send(GET)
        assert await idle.end() == b""
        gate.opened.set()
        assert (await client.receive()).status == 200


async def test_a_connection_beyond_the_limit_is_told_to_come_back() -> None:
    """RFC 9110 sections 10.2.3 and 15.6.4."""
    async with serving(echo, connections=1) as served:
        first = await served.connect()
        assert (await first.request(GET)).status == 200
        second = await served.connect()
        response = await second.receive()
        assert (response.status, response.fields[b"Retry-After"]) == (503, b"1")
        assert response.fields[b"Content-Type"] == b"application/problem+json"
        assert response.fields[b"Connection"] == b"close"
        assert json.loads(response.body)["status"] == 503
        assert await second.end() == b""
        assert (await first.request(GET)).status == 200, "the refusal has touched another connection"


async def test_a_connection_that_has_ended_makes_room() -> None:
    async with serving(echo, connections=1) as served:
        for _ in range(3):
            client = await served.connect()
            assert (
                await client.request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            ).status == 200
            assert await client.end() == b""


async def test_a_drain_closes_idle_connections_and_lets_requests_finish() -> None:
    """RFC 9112 section 9.6."""
    gate = Gate()

    async def handler(request: Request) -> Answer:
        return await (echo if request.method == "HEAD" else gate)(request)

    async with serving(handler) as served:
        idle, busy = await served.connect(), await served.connect()
        await idle.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        await idle.head()
        await busy.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        await gate.begun.wait()
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        assert await idle.end() == b""
        assert not draining.done()
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
        gate.opened.set()
        response = await busy.receive()
        assert (response.status, response.body, response.fields[b"Connection"]) == (200, b"/busy", b"close")
        assert await busy.end() == b""
        async with asyncio.timeout(PATIENCE):
            await draining
        assert not gate.cancelled.is_set()


async def test_a_drain_lets_an_upload_finish() -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Answer:
        gate.set()
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        await gate.wait()
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        response = await client.request(b"def")
        assert (response.body, response.fields[b"Connection"]) == (b"POST abcdef", b"close")
        await draining


async def test_a_drain_cuts_what_does_not_end() -> None:
    gate = Gate()
    async with serving(gate) as served:
        client = await served.connect()
        await client.send(GET)
        await gate.begun.wait()
        async with asyncio.timeout(PATIENCE):
            await served.server.drain(SOON)
        assert gate.cancelled.is_set()
        assert await client.end() == b""
        assert served.server.connections == []


async def test_a_drain_without_connections_ends_at_once() -> None:
    async with serving(echo) as served:
        async with asyncio.timeout(PATIENCE):
            await served.server.drain(60)
    async with unserved() as listener:
        await listener.drain(60)


async def test_a_client_that_goes_away_is_noticed_once() -> None:
    noticed: list[bool] = []
    gone, begun = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Answer:
        def notice() -> None:
            noticed.append(request.disconnected)
            gone.set()

        request.on_disconnect(notice)
        begun.set()
        await gone.wait()
        return Reply(200, [])

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(GET)
        await begun.wait()
        client.writer.close()
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
    assert noticed == [True], changed("RequestHandler.connection_lost", "Request._cancel")


async def test_a_client_that_stays_is_not_said_to_have_gone() -> None:
    noticed: list[bool] = []

    async def handler(request: Request) -> Answer:
        request.on_disconnect(lambda: noticed.append(True))
        return Reply(200, [])

    async with serving(handler) as served:
        client = await served.connect()
        await client.request(GET)
        client.writer.close()
        await served.server.drain(PATIENCE)
    assert noticed == [], changed("RequestHandler.finish_response", "Request._finish")


async def test_a_client_that_goes_away_in_its_body_is_noticed_by_the_reader() -> None:
    raised: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def handler(request: Request) -> Answer:
        begun.set()
        try:
            return await echo(request)
        except ClientDisconnected as error:
            raised.set_result(error)
            raise

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        await begun.wait()
        client.writer.close()
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await raised, ClientDisconnected)


async def test_an_error_of_a_handler_is_a_problem_that_quotes_nothing() -> None:
    """RFC 9457."""
    error = RuntimeError("SECRET")

    async def handler(_request: Request) -> Answer:
        raise error

    async with serving(handler) as served:
        client = await served.connect()
        response = await client.request(GET)
        assert is_problem(response, problem.INTERNAL)
        assert await client.end() == b""
        assert served.errors == [(500, error)]


async def test_an_error_in_the_middle_of_an_answer_cuts_it_off() -> None:
    """RFC 9112 section 8: an incomplete message must be seen to be incomplete."""

    async def handler(request: Request) -> Answer:
        head = render_head(request, 200, b"OK", [(b"Content-Length", b"9")], keep_alive=True)
        await request.writer.write(head + b"abc")
        raise RuntimeError

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(GET)
        try:
            received = (await client.head()).head
        except (asyncio.IncompleteReadError, ConnectionResetError):
            received = b""
        received += await client.end()
        assert received.count(b"HTTP/1.1") <= 1
        assert b"500" not in received
        assert [status for status, _ in served.errors] == [500]


async def test_a_handler_can_write_its_answer_by_itself() -> None:
    async def handler(request: Request) -> Answer:
        fields = [(b"Content-Length", b"6")]
        await request.writer.write(render_head(request, 200, b"OK", fields, keep_alive=request.keep_alive))
        for part in (b"abc", b"def"):
            await request.writer.write(part)
        return Streamed(200, keep_alive=request.keep_alive)

    async with serving(handler) as served:
        client = await served.connect()
        assert [(await client.request(GET)).body for _ in range(2)] == [b"abcdef"] * 2


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


async def test_a_connection_can_leave_http() -> None:
    """RFC 9110 section 7.8."""

    async def handler(request: Request) -> Answer:
        assert request.upgrade == "websocket"
        stream = request.tunnel().reader
        await request.writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        while data := await stream.readany():
            await request.writer.write(data.upper())
        return Streamed(101, keep_alive=False)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(UPGRADE + b"early ")
        assert (await client.head()).status == 101
        await client.send(GET.lower())
        async with asyncio.timeout(PATIENCE):
            expected = b"EARLY " + GET.upper()
            assert await client.reader.readexactly(len(expected)) == expected
        client.writer.close()
        await served.server.drain(PATIENCE)


async def test_after_a_declined_upgrade_the_connection_is_closed() -> None:
    """RFC 9110 section 7.8: a server may ignore it."""
    async with serving(unread) as served:
        client = await served.connect()
        response = await client.request(UPGRADE)
        assert (response.status, response.fields[b"Connection"]) == (200, b"close")
        assert await client.end() == b""
