"""A request as it stood on the wire, and the answers that can be given to it.

aiohttp's own classes lose order, case and bytes of a head and add fields of their own; these take their place (see
proxy/server.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol, cast

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from proxy.bodies import read_some
from proxy.core import problem
from proxy.core.budget import FREE, Share
from proxy.core.http.fields import RawField, render, with_trace_context
from proxy.core.problem import Problem
from proxy.tunnel import Tunnel

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientDisconnected(ConnectionError):
    """The client went away in the middle of its request or of our answer."""


class AnswerCutError(ConnectionError):
    """The upstream failed in the middle of an answer that had begun: the connection was cut with it."""


class BadBodyError(Exception):
    """The body of a request breaks its framing; the message quotes nothing of it."""


class SlowBodyError(BadBodyError):
    """The body of a request did not arrive in time."""


class ClientConnection(Protocol):
    """What a request needs of the connection that it came on."""

    @property
    def draining(self) -> bool:
        """Whether the connection should take no further request."""
        ...

    @property
    def writing_paused(self) -> bool:
        """Whether the client reads more slowly than it is written to."""
        ...

    @property
    def idle_timeout(self) -> float:
        """Seconds that a client may take to read what is written to it."""
        ...

    @property
    def local_host(self) -> str:
        """The address of ours that the client has reached."""
        ...

    def write(self, data: bytes) -> None:
        """Write bytes that stand outside any answer."""
        ...

    def abort(self) -> None:
        """Reset the connection."""
        ...


class Request:
    """One request as it stood on the wire. Lives as long as its handler runs."""

    __slots__ = (
        "_connection",
        "_continue_due",
        "_message",
        "_on_disconnect",
        "_task",
        "disconnected",
        "payload",
        "trace_context",
        "writer",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        connection: ClientConnection,
        writer: AbstractStreamWriter,
    ) -> None:
        self._message = message
        self._connection = connection
        self._task: Any = None  # aiohttp clears it to break a cycle
        self._on_disconnect: Callable[[], object] | None = None
        self._continue_due = (
            message.version >= (1, 1) and self.header("expect").lower() == "100-continue" and self.has_body
        )
        self.payload = payload
        self.writer = cast("StreamWriter", writer)
        self.disconnected = False
        self.trace_context: tuple[RawField, ...] | None = None
        """What takes the place of the request's own trace context in calls that it causes, with tracing on."""

    @property
    def method(self) -> str:
        """The method, as spelled."""
        return self._message.method

    @property
    def target(self) -> bytes:
        """The request target as it was spelled, in whichever of its forms."""
        return self._message.path.encode("utf-8", "surrogateescape")

    @property
    def version(self) -> tuple[int, int]:
        """The HTTP version of the message."""
        return self._message.version

    @property
    def local_host(self) -> str:
        """The address of ours that the client has reached."""
        return self._connection.local_host

    @property
    def fields(self) -> tuple[RawField, ...]:
        """The header fields, raw and in order."""
        return tuple(self._message.raw_headers)

    @property
    def causing_fields(self) -> tuple[RawField, ...]:
        """The header fields as the calls see them that the request causes: with the trace context for those."""
        own = self.trace_context
        return self.fields if own is None else with_trace_context(self.fields, own)

    def values(self, name: str) -> list[str]:
        """All values of a field."""
        return self._message.headers.getall(name, [])

    def header(self, name: str) -> str:
        """The first value of a field, or an empty string."""
        return self._message.headers.get(name, "")

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return bool(self._message.chunked)

    @property
    def content_length(self) -> int | None:
        """The declared length of the body in bytes, if it is declared."""
        value = self.header("content-length")
        return int(value) if value.isdigit() else None

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return self.chunked or bool(self.content_length)

    @property
    def upgrade(self) -> str:
        """The protocol that the client would switch to, lower case, or an empty string."""
        return self.header("upgrade").lower() if self._message.upgrade else ""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may serve another request after this one."""
        return not (
            self._message.should_close
            or self.chunked  # a trailer would leak into the next head
            or self._message.upgrade  # the parser does not come back from a switch
            or self._continue_due  # the client may or may not send the body now
            or self._connection.draining
        )

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives; answers `Expect: 100-continue` first.

        Raises ClientDisconnected, BadBodyError, or SlowBodyError when nothing arrives for `idle_timeout`.
        """
        if self._continue_due:
            self._continue_due = False
            self._connection.write(_CONTINUE)
        while True:
            try:
                if self.payload.is_eof():  # what has all arrived needs no clock, and most bodies have
                    chunk = await read_some(self.payload)
                else:
                    async with asyncio.timeout(self._connection.idle_timeout):
                        chunk = await read_some(self.payload)
            except TimeoutError:
                raise SlowBodyError from None
            except (RequestPayloadError, ConnectionError) as error:
                raise (ClientDisconnected if self.disconnected else BadBodyError) from error
            if not chunk:
                return
            yield chunk

    def arrived(self) -> bytes | None:
        """The body, if all of it is here, as a small one mostly is; None if it has to be read, be it for its size."""
        length = 0 if self.chunked else self.content_length or 0
        if not 0 < length <= FREE or not self.payload.is_eof() or self._continue_due:
            return None
        return self.payload.read_nowait() if self.payload.exception() is None else None

    async def read_at_most(self, limit: int, share: Share | None = None) -> tuple[bytes, bool]:
        """The body's first bytes, and whether that is all of it.

        It stops at the first read that goes over `limit`, or for which `share` has no room. All of it has
        `idle_timeout` to arrive, since it is held meanwhile. Raises what `body` raises.
        """
        if self.payload.is_eof() and not self._continue_due and self.payload.exception() is None:
            body = self.payload.read_nowait()  # it has all arrived, as most have
            return body, len(body) <= limit and (share is None or share.take(len(body)))
        read = bytearray()  # a list of parts would be many times their size, which is what is counted
        try:
            async with asyncio.timeout(self._connection.idle_timeout):
                async for chunk in self.body():
                    read += chunk
                    if len(read) > limit or not (share is None or share.take(len(chunk))):
                        return bytes(read), False
        except TimeoutError:
            raise SlowBodyError from None
        return bytes(read), True

    def inform(self, status: int, reason: bytes, fields: Iterable[RawField]) -> None:
        """Write an interim response (RFC 9110 section 15.2), if the client knows such and its answer has not begun."""
        if self.version >= (1, 1) and not self.writer.output_size and not self.disconnected:
            self._connection.write(render(b"HTTP/1.1 %d %b" % (status, reason), fields))

    async def flush(self) -> None:
        """Wait while the client reads more slowly than it is written to. Raises ClientDisconnected."""
        if not self._connection.writing_paused:
            return
        try:
            async with asyncio.timeout(self._connection.idle_timeout):
                await self.writer.drain()
        except TimeoutError:
            self.abort()
            raise ClientDisconnected from None

    def on_disconnect(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` called once if the client goes away while the request is handled."""
        self._on_disconnect = callback

    def tunnel(self) -> "Tunnel":
        """Leave HTTP: from here on the connection's bytes come from the tunnel that is returned."""
        return Tunnel.on(self._connection)

    def abort(self) -> None:
        """Cut the connection so that the client can't take a truncated body for a whole one."""
        self._connection.abort()

    # What aiohttp calls on its own Request class:

    def _cancel(self, exc: BaseException) -> None:
        self.disconnected = True
        self.payload.set_exception(exc)
        if self._on_disconnect is not None:
            callback, self._on_disconnect = self._on_disconnect, None
            callback()

    def _finish(self) -> None:
        self._on_disconnect = None


class Reply:
    """An answer with a body of known bytes; its head is written raw, with the body, in one go."""

    __slots__ = ("body", "close", "fields", "held", "keep_alive", "reason", "status")

    def __init__(
        self,
        status: int,
        fields: Iterable[RawField],
        body: bytes = b"",
        *,
        reason: bytes = b"",
        close: bool = False,
    ) -> None:
        self.status = status
        self.reason = reason or reason_phrase(status)
        self.fields = list(fields)
        self.body = body
        self.close = close
        self.keep_alive = False
        self.held: Share | None = None
        """What its body holds of the budget until the client has read it."""

    @classmethod
    def of_problem(cls, failure: Problem, *, close: bool = False) -> "Reply":
        """Problem details (RFC 9457)."""
        fields = [(b"Content-Type", problem.CONTENT_TYPE)]
        if failure.retry_after is not None:
            fields.append((b"Retry-After", b"%d" % failure.retry_after))
        return cls(failure.status, fields, failure.body(), close=close)

    async def prepare(self, request: Request) -> None:
        """Write the answer. Called by aiohttp."""
        try:
            self.keep_alive = request.keep_alive and not self.close
            fields = self.fields
            if not bodiless("GET", self.status):  # a HEAD is told the length that a GET would have had
                fields = [*fields, (b"Content-Length", b"%d" % len(self.body))]
            head = render_head(request, self.status, self.reason, fields, keep_alive=self.keep_alive)
            body = b"" if bodiless(request.method, self.status) else self.body
            if len(body) > FREE:  # put together with its head it would be in memory twice
                await request.writer.write(head, drain=False)
                await request.writer.write(body, drain=False)
            else:
                await request.writer.write(head + body, drain=False)
            await request.flush()
        finally:
            if self.held is not None:
                self.held.close()

    async def write_eof(self) -> None:
        """Everything is written. Called by aiohttp."""


class Streamed:
    """Says that the handler has written its answer by itself."""

    __slots__ = ("keep_alive", "status")

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        self.status = status
        self.keep_alive = keep_alive

    async def prepare(self, request: Request) -> None:
        """Nothing is left to do: the head has said whether the connection lives on, and a client that was promised it
        may have sent its next request. Called by aiohttp."""

    async def write_eof(self) -> None:
        """Nothing is left to do. Called by aiohttp."""


Answer = Reply | Streamed
Handler = Callable[[Request], Awaitable[Answer]]


def bodiless(method: str, status: int) -> bool:
    """Whether a response to this has no body whatever its fields say (RFC 9112 section 6.3)."""
    return method == "HEAD" or status in {204, 304} or status < 200  # noqa: PLR2004


def render_head(
    request: Request, status: int, reason: bytes, fields: Iterable[RawField], *, keep_alive: bool
) -> bytes:
    """A response head for this request, with the Connection field that its fate needs."""
    fields = list(fields)
    if not keep_alive:
        fields.append((b"Connection", b"close"))
    elif request.version < (1, 1):
        fields.append((b"Connection", b"keep-alive"))
    return render(b"HTTP/1.1 %d %s" % (status, reason), fields)


@lru_cache(maxsize=64)
def reason_phrase(status: int) -> bytes:
    """The reason phrase of a status, or nothing for one that has none."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
