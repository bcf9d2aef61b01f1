"""One request and its response on one connection, and the one place where the client's exceptions are mapped.

It works on aiohttp's own parser, below ClientSession: a session would repeat a request by itself, outside any
budget, and would not let a head through as it is.
"""

import asyncio
import errno
import re
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Literal

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EofStream, StreamReader
from msgspec import Struct

from proxy.bodies import read_some
from proxy.core.http.fields import RawField, is_safe_value, tokens, values
from proxy.head_first import HeadFirst
from proxy.tunnel import Tunnel

# Field lines that an upstream may send; more is a broken server.
_MAX_FIELDS = 512
# Interim responses to one request: hints, and a sign of life now and then; more is a broken server, which would keep
# the event loop busy until the deadline.
_MAX_INTERIM = 64
# What a field line has besides its name and its value: colon, blank, CR and LF.
_FIELD_OVERHEAD = 4

# A log-in that some servers take for the connection's, whosever request comes next on it (RFC 4559 section 6).
_CONNECTION_BOUND = re.compile(rb"(?im)^authorization:[ \t]*(?:ntlm|negotiate)\b")

_CONTINUE, _SWITCHING = 100, 101
_BODILESS = frozenset({204, 304})
CUT = frozenset({"disconnected", "reset"})
"""Reasons that the connection has ended by itself."""
AGAIN_IN = 1.0
"""Seconds after which it is worth asking again where too many ask at a time."""
# The process, or its host, has run out of what a connection takes. The upstream was not asked.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})

OnInterim = Callable[[int, bytes, tuple[RawField, ...]], None]
"""Told of an interim response: its status, reason phrase and fields."""

Reason = Literal[
    "dns",
    "connect",
    "connect_timeout",
    "tls",
    "timeout",
    "disconnected",
    "reset",
    "protocol",
    "body",
    "too_large",
    "invalid_answer",
    "implausible_absence",
    "status",
    "circuit_open",
    "overloaded",
]


_UNCONNECTED = frozenset({"dns", "connect"})
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Reason], ...] = (
    # aiohttp's own ones concern the connect; the deadline of an exchange is a cancellation at this depth.
    ((TimeoutError,), "connect_timeout"),
    ((aiohttp.ClientConnectorDNSError,), "dns"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
    ((aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError), "connect"),
    ((aiohttp.ServerDisconnectedError,), "disconnected"),
    ((aiohttp.ClientPayloadError,), "body"),
    ((HttpProcessingError,), "protocol"),
    ((EofStream,), "disconnected"),
    ((aiohttp.ClientError, OSError), "reset"),
)
"""What the client raises, the first that fits; many are subclasses of a later one."""


class UpstreamError(Exception):
    """The upstream did not answer, or not with something that can be used. Carries no data of the exchange."""

    def __init__(self, reason: Reason, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.retry_after = retry_after
        """Seconds after which it is worth asking again, if that is known."""


class StaleConnectionError(UpstreamError):
    """A kept-alive connection that the server had closed before the request reached it: worth one more try."""


class ResponseHead(Struct, frozen=True):
    """The head of an upstream's response, raw."""

    status: int
    reason: bytes
    fields: tuple[RawField, ...]
    chunked: bool
    version: tuple[int, int]


class Fetched(Struct, frozen=True):
    """A whole response of the upstream."""

    head: ResponseHead
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.head.status < 300  # noqa: PLR2004


class Exchange:
    """One request and its response on one connection."""

    def __init__(self, connection: aiohttp.connector.Connection, *, reused: bool, header_bytes: int) -> None:
        protocol = connection.protocol
        if protocol is None:
            raise UpstreamError("disconnected")
        self.reused = reused
        self.aborted = False
        self._header_bytes = header_bytes
        self._connection = connection
        self._protocol: ResponseHandler = protocol
        self._writer = StreamWriter(protocol, asyncio.get_running_loop())
        self._payload: StreamReader | None = None
        self._closed: asyncio.Future[None] | None = None
        self._is_sent = False
        self._is_received = False

    def _failed_before_answer(self, error: Exception) -> None:
        """Raise what stands for an exception that came before the answer, if something does."""
        known = error if isinstance(error, UpstreamError) else _as_upstream_error(error)
        if known is not None and self.reused and not self.aborted and known.reason in CUT:
            raise StaleConnectionError(known.reason) from error
        if known is not None and known is not error:
            raise known from error

    async def send_head(self, head: bytes, body: bytes = b"") -> None:
        """Write a rendered request head, and the body, or its beginning, as far as that is known."""
        # The expression alone would take a tenth of a microsecond for every ten bytes, of each head.
        if b"authorization:" in head.lower() and _CONNECTION_BOUND.search(head):
            self._protocol.force_close()
        try:
            await self._writer.write(head + body)
        except Exception as error:
            self._failed_before_answer(error)
            raise

    async def send_body(self, chunk: bytes, *, chunked: bool) -> None:
        """Write some of the body; waits while the upstream does not read."""
        with mapped():
            await self._writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)

    async def end_request(self, *, chunked: bool = False) -> None:
        """The request is whole; `chunked` writes the last chunk. Without this the connection is not used again."""
        if chunked:
            with mapped():
                await self._writer.write(b"0\r\n\r\n")
        self._is_sent = True

    async def receive_head(
        self,
        method: str,
        *,
        upgrade: bool = False,
        forgiving: bool = False,
        on_interim: OnInterim | None = None,
    ) -> ResponseHead:
        """Wait for the final response head; interim responses are dropped, but for those that `on_interim` is told of.

        `upgrade`: a 101 is final, too. `forgiving`: what follows the response is no fault of the response.
        """
        try:
            self._expect(method, forgiving=forgiving)
            message, payload = await self._final(upgrade=upgrade, on_interim=on_interim)
        except Exception as error:
            self._failed_before_answer(error)
            raise
        self._payload = payload
        if not payload.is_eof():
            self._watch()
        fields = tuple(message.raw_headers)
        reason = message.reason.encode("utf-8", "surrogateescape")
        if _is_miscoded(message.chunked, fields) or not _is_sound(fields, reason, self._header_bytes):
            raise UpstreamError("protocol")
        if (method == "HEAD" or message.code in _BODILESS) and _declares_body(fields):
            # Where the upstream sends it after all, it would be the answer to the next request.
            self._protocol.force_close()
        return ResponseHead(message.code, reason, fields, bool(message.chunked), message.version)

    def _expect(self, method: str, *, forgiving: bool) -> None:
        self._protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=self._header_bytes,
            max_field_size=self._header_bytes,
            max_headers=_MAX_FIELDS,
        )
        if forgiving:
            protocol: Any = self._protocol
            protocol._parser = HeadFirst(protocol)  # noqa: SLF001

    async def _final(
        self, *, upgrade: bool, on_interim: OnInterim | None
    ) -> tuple[RawResponseMessage, StreamReader]:
        for _ in range(_MAX_INTERIM + 1):
            message, payload = await self._protocol.read()
            if message.code >= 200 or (upgrade and message.code == _SWITCHING):  # noqa: PLR2004
                return message, payload
            if message.code == _SWITCHING:  # nobody has asked for it
                break
            fields = tuple(message.raw_headers)
            reason = message.reason.encode("utf-8", "surrogateescape")
            # A 100 is an answer to an Expect that was this hop's (RFC 9110 section 10.1.1).
            if on_interim is not None and message.code > _CONTINUE:
                if not _is_sound(fields, reason, self._header_bytes):
                    break
                on_interim(message.code, reason, fields)
        raise UpstreamError("protocol")

    def arrived(self) -> bytes | None:
        """The response's body if all of it is here, as that of most is that came with its head; else None, and `body`
        has it."""
        payload = self._payload
        if payload is None or not payload.is_eof() or payload.exception() is not None:
            return None
        self._is_received = True
        return payload.read_nowait()

    async def body(self) -> AsyncIterator[bytes]:
        """The response's body as it arrives; raises UpstreamError when it ends too early."""
        if self._payload is None:
            raise RuntimeError("the head comes first")
        while True:
            with mapped():
                chunk = await read_some(self._payload)
            if not chunk:
                self._is_received = True
                return
            yield chunk

    def _watch(self) -> None:
        """See to it that the end of the connection is the end of the body.

        aiohttp closes a connection on which a body breaks its framing, and leaves whoever reads the body waiting.
        """
        self._closed = self._protocol.closed
        if self._closed is None:
            self._ended()
        else:
            self._closed.add_done_callback(self._ended)

    def _ended(self, closed: "asyncio.Future[None] | None" = None) -> None:
        if closed is not None and not closed.cancelled():
            closed.exception()  # it is not for us, but must have been seen
        if self._payload is not None and not self._payload.is_eof() and self._payload.exception() is None:
            self._payload.set_exception(aiohttp.ClientPayloadError())

    def tunnel(self) -> tuple[Tunnel, StreamWriter]:
        """Leave HTTP after a 101."""
        return Tunnel.on(self._protocol), self._writer

    def abort(self) -> None:
        """Cut the connection; whoever waits on it gets UpstreamError("disconnected")."""
        self.aborted = True
        if self._protocol.transport is not None:
            self._protocol.transport.abort()

    def close(self) -> None:
        """Give the connection back if request and response came to their ends, else cut it."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._ended)
        if self._is_sent and self._is_received and not self._protocol.should_close:
            # What comes while nobody has asked is no answer. Without a parser it is put aside, and no more of it is
            # read than 256 KiB; with one, answers would pile up for as long as the connection is idle.
            self._protocol._parser = None  # noqa: SLF001
            self._connection.release()
        else:
            self._connection.close()


class Opened:
    """The context of one exchange: `begin` opens it, `end` is called with it, and with what has ended it if it
    failed."""

    __slots__ = ("_begin", "_end", "_exchange")

    def __init__(
        self, begin: Coroutine[None, None, Exchange], end: Callable[[Exchange, BaseException | None], None]
    ) -> None:
        self._begin = begin
        self._end = end

    async def __aenter__(self) -> Exchange:
        self._exchange = await self._begin
        return self._exchange

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self._exchange, error)


def _is_miscoded(chunked: bool, fields: tuple[RawField, ...]) -> bool:  # noqa: FBT001
    """Whether a transfer coding besides chunked would be taken off without being named (RFC 9112 section 6.1)."""
    if not values(fields, b"transfer-encoding"):
        return False
    return not chunked or tokens(fields, b"transfer-encoding") != [b"chunked"]


def _is_sound(fields: tuple[RawField, ...], reason: bytes, most: int) -> bool:
    """Whether a head can be kept and written again: of so many bytes at most, and of nothing that would split it."""
    names = [name for name, _ in fields]
    values = b"".join([value for _, value in fields])
    # The parser bounds each line; all of them would be 512 times as much, and are kept with what is stored.
    if sum(map(len, names)) + len(values) + _FIELD_OVERHEAD * len(fields) > most:
        return False
    return is_safe_value(values) and is_safe_value(reason) and all(map(_is_plain, names))


def _is_plain(name: bytes) -> bool:
    """Whether a field's name is no other one with a blank, which no rule would know it by (RFC 9112 section 5.1)."""
    return name.split() == [name]


def _declares_body(fields: tuple[RawField, ...]) -> bool:
    lengths = values(fields, b"content-length")
    return lengths not in ([], [b"0"]) or bool(values(fields, b"transfer-encoding"))


class _Mapped:
    """A context in which what aiohttp raises becomes an UpstreamError. It keeps nothing, so that one is enough."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and (known := _as_upstream_error(error)) is not None:
            raise known from error


_MAPPED = _Mapped()


def mapped() -> _Mapped:
    """Turn what aiohttp raises into an UpstreamError; nothing of the message is kept, it may quote data."""
    return _MAPPED


def _as_upstream_error(error: Exception) -> UpstreamError | None:
    """The UpstreamError that stands for what aiohttp has raised, or None for what is no word about the upstream."""
    for kinds, reason in _MEANINGS:
        if isinstance(error, kinds):
            return _not_connected(reason, error) if reason in _UNCONNECTED else UpstreamError(reason)
    return None


def _not_connected(reason: Reason, error: Exception) -> UpstreamError:
    if isinstance(error, OSError) and error.errno in _OURS:
        return UpstreamError("overloaded", retry_after=AGAIN_IN)
    return UpstreamError(reason)
