"""aiohttp's server bent to our needs, in one place.

What is bent, and why:

- Heads are written from raw fields. aiohttp's own Request and Response lose order, case and bytes on the way, and
  add fields of their own, so both are replaced by the small classes here.
- Parse errors become problem details. aiohttp would quote bytes of the request, in the answer and in its log.
- A connection whose last request was chunked is closed: its last trailer would appear as a header field of the
  next request.
- The drain is ours: aiohttp's discards uploads under way and does not say `Connection: close`.
- The head of a request is bounded in bytes and in time, and so is the number of connections.

Only this module touches aiohttp's private names; tests/unit/test_server_canary.py fails when one of them changes.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from proxy.core import problem
from proxy.core.http.fields import render
from proxy.core.problem import Problem
from proxy.messages import Handler, Reply, Request, reason_phrase

# Field lines in one head. Servers of the field allow 100 to 200; the bytes are bounded apart from that.
_MAX_FIELDS = 256
_BACKLOG = 1024
# How long a connection that falls idle during a drain may go unnoticed.
_DRAIN_STEP = 0.05
_silent = logging.getLogger("handshake_proxy.aiohttp")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one listener; see `limits` in the configuration for their reasons."""

    header_bytes: int
    header_timeout: float
    idle_timeout: float
    connections: int


def _final(failure: Problem) -> bytes:
    """An answer for a connection that has no request to answer."""
    body = failure.body()
    fields = [
        (b"Content-Type", problem.CONTENT_TYPE),
        (b"Content-Length", b"%d" % len(body)),
        (b"Connection", b"close"),
    ]
    if failure.retry_after is not None:
        fields.append((b"Retry-After", b"%d" % failure.retry_after))
    return render(b"HTTP/1.1 %d %s" % (failure.status, reason_phrase(failure.status)), fields) + body


_BUSY = _final(Problem(503, "Too many connections are open.", retry_after=1))


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = (
        "_head_size",
        "_head_timer",
        "_is_refused",
        "_last_payload",
        "_linger_timer",
        "_real_transport",
        "_server",
    )

    def __init__(self, server: "Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._is_refused = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        # aiohttp forgets its transport when it closes it, which may be long before its last bytes are read.
        self._real_transport: asyncio.Transport | None = None
        self._last_payload: StreamReader = EMPTY_PAYLOAD

    @property
    def draining(self) -> bool:
        """Whether this connection should take no further request."""
        return self._server.draining

    @property
    def idle_timeout(self) -> float:
        """Seconds that a client may take to read what is written to it."""
        return self._server.limits.idle_timeout

    @property
    def local_host(self) -> str:
        """The address of ours that the client has reached; nothing once the connection is gone."""
        name = self.transport.get_extra_info("sockname") if self.transport is not None else None
        return str(name[0]) if name else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, or refuse when the listener is full."""
        if not self._server.admit():
            self._manager = None
            cast("asyncio.Transport", transport).write(_BUSY)
            transport.close()
            return
        self._real_transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        if self._manager is not None:
            self._stop_head_timer()
            if self._linger_timer is not None:
                self._linger_timer.cancel()
            self._server.release()
        super().connection_lost(exc)

    async def start(self) -> None:
        """Serve the connection; then leave the client `idle_timeout` to read the rest."""
        try:
            await super().start()
        finally:
            transport = self._real_transport
            if transport is not None and self._manager is not None and transport.get_write_buffer_size():
                self._linger_timer = self._loop.call_later(self.idle_timeout, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; bound a head that does not come to its end."""
        if self._manager is None or self._is_refused:
            return
        parsed = self._request_count
        in_body = not self._last_payload.is_eof()
        super().data_received(data)
        if self._request_count != parsed:
            message, payload = self._messages[-1]
            if isinstance(message, _ErrInfo) and not self._last_payload.is_eof():
                # aiohttp leaves the reader of a body that breaks its framing waiting for the rest.
                self._last_payload.set_exception(web.RequestPayloadError())
            self._last_payload = payload
            if self._head_size + len(data) > self._server.limits.header_bytes:
                self._refuse_large_heads()
            self._head_size = 0
            self._stop_head_timer()
        elif data and not in_body and not self._upgraded:
            self._head_size += len(data)
            if self._head_size > self._server.limits.header_bytes:
                self._refuse_head()
            elif self._head_timer is None:
                self._start_head_timer()

    def _refuse_large_heads(self) -> None:
        """The parser bounds each line; what all lines of a head come to is bounded here."""
        for index, (message, _) in enumerate(self._messages):
            if isinstance(message, _ErrInfo):
                continue
            size = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
            if size > self._server.limits.header_bytes:
                self._messages[index] = (_too_large(), EMPTY_PAYLOAD)

    def _refuse_head(self) -> None:
        """Answer a head that will not end, behind the answers that are still due (RFC 9112 section 9.3.2)."""
        self._messages.append((_too_large(), EMPTY_PAYLOAD))
        self._request_count += 1
        self._is_refused = True
        self._stop_head_timer()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _start_head_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._server.limits.header_timeout, self._head_timed_out)

    def _head_timed_out(self) -> None:
        if self._current_request is None:
            self.force_close()
        else:  # the start of a pipelined request must not end the answer before it
            self._start_head_timer()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def write(self, data: bytes) -> None:
        """Write bytes that stand outside any answer."""
        if self.transport is not None:
            self.transport.write(data)

    def abort(self) -> None:
        """Reset the connection."""
        if self._real_transport is not None:
            self._real_transport.abort()

    def close_if_idle(self) -> None:
        """Close, unless a request is under way or on its way."""
        waiting = self._waiter is not None and not self._waiter.done()
        is_new = self._request_count == 0  # accepted so lately that it does not wait yet
        if (waiting or is_new) and not self._messages and not self._head_size:
            self.force_close()

    def cut(self) -> asyncio.Task[None] | None:
        """End the connection and whatever it is doing; returns the task to wait for."""
        handler = self._task_handler
        if handler is not None:
            handler.cancel()
        self.abort()
        return handler

    def handle_error(  # type: ignore[override]
        self,
        request: Request,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Reply:
        """An answer for what went wrong in parsing or in a handler; it never quotes the request."""
        if isinstance(
            exc, ConnectionError
        ):  # a peer is gone: nobody is left to answer, and nothing is broken
            request.abort()
            raise ConnectionResetError from exc
        if status < 500:  # noqa: PLR2004
            too_large = isinstance(exc, LineTooLong) or message == "Too many headers received"
            failure = problem.HEADERS_TOO_LARGE if too_large else problem.BAD_REQUEST
            self._server.on_error(failure.status, None)
        else:
            failure = problem.INTERNAL
            self._server.on_error(failure.status, exc)
        if request.writer.output_size > 0:
            request.abort()
            raise ConnectionResetError
        return Reply.of_problem(failure, close=True)


def _too_large() -> _ErrInfo:
    return _ErrInfo(problem.HEADERS_TOO_LARGE.status, LineTooLong(b""), "")


class Server(web.Server):
    """One listener."""

    def __init__(
        self, handler: Handler, limits: ServerLimits, *, on_error: Callable[[int, BaseException | None], None]
    ) -> None:
        super().__init__(
            cast("Any", handler),
            request_factory=cast(
                "Any",
                lambda message, payload, protocol, writer, _task: Request(message, payload, protocol, writer),
            ),
        )
        self.limits = limits
        self.on_error = on_error
        self.draining = False
        self._open = 0
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._listener: asyncio.Server | None = None

    def __call__(self) -> Connection:
        """A protocol for a new connection. aiohttp's own would drop our limits when an option is misspelled."""
        return Connection(
            self,
            loop=self._loop,
            keepalive_timeout=self.limits.idle_timeout,
            max_line_size=self.limits.header_bytes,
            max_field_size=self.limits.header_bytes,
            max_headers=_MAX_FIELDS,
            auto_decompress=False,
            access_log=None,
            logger=_silent,
        )

    def admit(self) -> bool:
        """Count a connection in, unless the listener is full."""
        if self._open >= self.limits.connections:
            return False
        self._open += 1
        self._all_closed.clear()
        return True

    def release(self) -> None:
        """Count a connection out."""
        self._open -= 1
        if not self._open:
            self._all_closed.set()

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Bind and accept; return the bound address. Raises OSError."""
        self._listener = await self._loop.create_server(
            self, host, port, backlog=_BACKLOG, reuse_address=True
        )
        bound: socket.socket = self._listener.sockets[0]
        name = bound.getsockname()
        return name[0], name[1]

    async def _close_as_they_fall_idle(self) -> None:
        # Asked again and again: an answer that was promised a keep-alive before the drain began ends after it.
        while self._open:
            for connection in self.connections:
                cast("Connection", connection).close_if_idle()
            try:
                async with asyncio.timeout(_DRAIN_STEP):
                    await self._all_closed.wait()
            except TimeoutError:
                continue

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - it is the operator's drain_timeout
        """Stop accepting, let every request finish, close connections as they fall idle; cut what is left."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        try:
            async with asyncio.timeout(timeout):
                await self._close_as_they_fall_idle()
        except TimeoutError:
            handlers = [cast("Connection", connection).cut() for connection in self.connections]
            await asyncio.gather(*(handler for handler in handlers if handler), return_exceptions=True)
            await self._all_closed.wait()
