"""Fails when an aiohttp release changes something that proxy/server.py, proxy/messages.py or proxy/tunnel.py bend.

This looks at names and shapes and says what to re-check; test_server_messages.py and test_server_connections.py talk to
the server.
"""

import ast
import asyncio
import inspect
from collections.abc import Callable, Iterable
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
from proxy.messages import Reply, Request, Streamed
from proxy.server import Connection, Server
from tests.unit.served import HEADER_BYTES, changed, unserved

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
