"""aiohttp's server bent to our needs, in one place.

What is bent, and why:

- Heads are written from raw fields. aiohttp's own Request and Response lose order, case and bytes on the way, and
  add fields of their own, so both are replaced by the small classes here.
- Parse errors become problem details. aiohttp would quote bytes of the request, in the answer and in its log.
- A connection whose last request was chunked is closed: its last trailer would appear as a header field of the
  next request.
- The drain is ours: aiohttp's discards uploads under way, does not say `Connection: close`, and closes what a request
  may be on its way to (docs/decisions/0017-a-drain-lingers.md).
- The head of a request is bounded in bytes and in time, and so is the number of connections.
- A client may shut down its sending side and still gets its answer; aiohttp takes it for gone.

Only this module touches aiohttp's private names; tests/unit/test_server_canary.py fails when one of them changes.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from aiohttp.web_server import Server as HttpServer
from msgspec import Struct

from proxy.core import problem
from proxy.core.http.fields import render
from proxy.core.problem import Problem
from proxy.kernel_queues import has_unread
from proxy.listener import Listener
from proxy.messages import Handler, Reply, Request, reason_phrase
from proxy.presence import Presence

# Field lines in one head. Servers of the field allow 100 to 200; the bytes are bounded apart from that.
_MAX_FIELDS = 256
# Seconds for which what still comes is read, and dropped, behind an answer to half a request: a connection that is
# closed with bytes unread is reset, and the answer may be lost with it (RFC 9112 section 9.6).
_LINGER = 10.0
# Bytes of a body that are read before anybody wants them. It may be had by each connection.
_READ_AHEAD = 16 * 1024
# How long a connection that falls idle during a drain may go unnoticed.
_DRAIN_STEP = 0.05
# The part of a drain in which new connections are taken at the most: the rest is for what they have asked for.
_ACCEPTING_SHARE = 0.25
_silent = logging.getLogger("handshake_proxy.aiohttp")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class ServerLimits(Struct, frozen=True):
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
        "_presence",
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
        self._presence: Presence | None = None
        """Of a client that sends no more."""
        # aiohttp forgets its transport when it closes it, which may be long before its last bytes are read.
        self._real_transport: asyncio.Transport | None = None
        self._last_payload: StreamReader = EMPTY_PAYLOAD

    @property
    def draining(self) -> bool:
        """Whether this connection should take no further request: those that were sent ahead it has taken."""
        return (self._server.draining or self._presence is not None) and not self._messages

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
            if self._presence is not None:
                self._presence.stop()
            self._server.release()
            if not self._last_payload.is_eof():
                # Else aiohttp would wait for the rest of a request that was answered before its end, and hold all this.
                self._last_payload.set_exception(ConnectionResetError())
        super().connection_lost(exc)

    async def start(self) -> None:
        """Serve the connection; then leave the client `idle_timeout` to read the rest."""
        try:
            await super().start()
        finally:
            transport = self._real_transport
            if transport is not None and self._manager is not None and transport.get_write_buffer_size():
                self._linger_timer = self._loop.call_later(self.idle_timeout, transport.abort)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio asks, aiohttp says nothing
        """The client sends no more; says whether the connection stays open for the answers that are due."""
        transport = self._real_transport
        if self._manager is None or transport is None or self._is_waiting or self._upgraded:
            return False
        if not self._last_payload.is_eof():
            if not self._messages:
                return False  # half a request has no answer
            self._last_payload.set_exception(RequestPayloadError())
        if self._presence is None:
            self._presence = Presence(
                transport, lambda: cast("Request | None", self._current_request), lambda: self._is_waiting
            )
        return True

    def data_received(self, data: bytes) -> None:
        """Feed the parser; bound a head that does not come to its end."""
        if self._manager is None or self._is_refused:
            return
        parsed = self._request_count
        in_body = not self._last_payload.is_eof()
        super().data_received(data)
        if self._request_count != parsed:
            if not self._messages:
                return  # answered already (proxy/lane.py)
            message, payload = self._messages[-1]
            if isinstance(message, _ErrInfo) and not self._last_payload.is_eof():
                # aiohttp leaves the reader of a body that breaks its framing waiting for the rest.
                self._last_payload.set_exception(RequestPayloadError())
            self._last_payload = payload
            self._server.active_at = self._loop.time()
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

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, nor has begun to arrive."""
        return self._is_waiting and not self._head_size

    @property
    def _is_waiting(self) -> bool:
        """Whether no request is there that waits for its answer."""
        waiting = self._waiter is not None and not self._waiter.done()
        is_new = self._request_count == 0  # accepted so lately that it does not wait yet
        return (waiting or is_new) and not self._messages

    def close_if_idle(self) -> None:
        """Close, unless a request is under way or on its way, be it only in the kernel."""
        if self.is_idle and not has_unread(self._real_transport):
            self.force_close()

    async def finish_response(self, request: Any, resp: Any, start_time: float | None) -> tuple[Any, bool]:
        """Write what is left of an answer. Behind that of a client that sends no more the connection is closed,
        though the head may have promised it before."""
        resp, is_gone = await super().finish_response(request, resp, start_time)
        if self._presence is not None and not self._messages:
            resp.keep_alive = False
        return resp, is_gone

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


class Server(HttpServer):
    """One listener."""

    connection_class: "type[Connection]" = Connection

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
        self.active_at = -math.inf
        """When a connection or a request last came or a connection went, in the loop's time. Hits on the fast lane are
        none: it is asked for by a drain, in which there are none."""
        self._open = 0
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._listener = Listener(self)

    def __call__(self) -> Connection:
        """A protocol for a new connection. aiohttp's own would drop our limits when an option is misspelled."""
        return self.connection_class(
            self,
            loop=self._loop,
            keepalive_timeout=self.limits.idle_timeout,
            max_line_size=self.limits.header_bytes,
            max_field_size=self.limits.header_bytes,
            max_headers=_MAX_FIELDS,
            auto_decompress=False,
            # An answer to half a request is left to be read: as long as the rest might have taken, if that is less.
            lingering_time=min(_LINGER, self.limits.idle_timeout),
            read_bufsize=_READ_AHEAD,
            access_log=None,
            logger=_silent,
        )

    def admit(self) -> bool:
        """Count a connection in, unless the listener is full."""
        if self._open >= self.limits.connections:
            return False
        self._open += 1
        self.active_at = self._loop.time()
        self._all_closed.clear()
        return True

    def release(self) -> None:
        """Count a connection out."""
        self._open -= 1
        self.active_at = self._loop.time()
        if not self._open:
            self._all_closed.set()

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Bind and accept; return the bound address. Raises OSError."""
        return await self._listener.open(host, port)

    def is_quiet(self, within: float) -> bool:
        """Whether nobody is connected, and nobody came within the last seconds."""
        return not self._open and self._loop.time() - self.active_at >= within

    async def _finish(self, linger: float, accepting: float) -> None:
        """Return when all connections have ended. Those that are idle end after `linger`, and the listener when nobody
        has come for as long, after `accepting` seconds at the most."""
        began = self._loop.time()
        idle_since: dict[Connection, float] = {}
        while self._open or self._listener.is_open:
            now = self._loop.time()
            if now - max(self.active_at, began) >= linger or now - began >= accepting:
                await self._listener.stop()
            # Looked at again and again: an answer that was promised a keep-alive before the drain began ends after it.
            connections = [cast("Connection", connection) for connection in self.connections]
            idle_since = {one: idle_since.get(one, now) for one in connections if one.is_idle}
            for connection, since in idle_since.items():
                if now - since >= linger:
                    connection.close_if_idle()
            if self._listener.is_open:
                await asyncio.sleep(_DRAIN_STEP)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_STEP):
                    await self._all_closed.wait()

    async def drain(self, timeout: float, *, linger: float = 0.0) -> None:  # noqa: ASYNC109 - drain_timeout
        """Answer what comes with `Connection: close` until nothing has come for `linger` seconds, on the listener and
        on each connection; let every request finish; cut what is left after `timeout` seconds."""
        self.draining = True
        try:
            async with asyncio.timeout(timeout):
                await self._finish(linger, timeout * _ACCEPTING_SHARE)
        except TimeoutError:
            self._listener.close()
            handlers = [cast("Connection", connection).cut() for connection in self.connections]
            await asyncio.gather(*(handler for handler in handlers if handler), return_exceptions=True)
            await self._all_closed.wait()
