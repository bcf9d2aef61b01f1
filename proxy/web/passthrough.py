"""Everything that is not answered from the cache: streamed to the upstream and back, unchanged.

Neither body is ever held as a whole: each side is read as fast as the other is written, and a body that stops
moving for `limits.idle_timeout` ends its exchange. The upstream has `timeout` for its response head, counted from
the end of the request; the body after that may take as long as it moves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp.http import StreamWriter
from aiohttp.streams import StreamReader
from msgspec import Struct

from config.model import LimitsConfig
from proxy.core import cache_status
from proxy.core.budget import FREE, Share
from proxy.core.http import fields as raw
from proxy.core.http.fields import RawField, render
from proxy.core.problem import Problem
from proxy.exchange import Exchange, ResponseHead, StaleConnectionError, UpstreamError
from proxy.messages import (
    Answer,
    AnswerCutError,
    BadBodyError,
    ClientDisconnected,
    Reply,
    Request,
    Streamed,
)
from proxy.upstream import Upstream
from proxy.web.streaming import stream

if TYPE_CHECKING:
    from proxy.tracing import CallSpans

# Methods that may be sent again when a kept-alive connection turns out to be closed (RFC 9110 section 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_GATEWAY_TIMEOUT = Problem(504, "The upstream did not answer in time.")
_BAD_GATEWAY = Problem(502, "The upstream could not be reached, or did not speak HTTP.")
_BAD_TARGET = Problem(400, "The request target has no path of an HTTP service.")
_OVERLOADED = Problem(503, "Too many requests wait for this upstream already.", retry_after=1)

# What a request has at the least that has spent its time on a fill, or on waiting for a connection: that leaves it a
# chance, and the sum stays below a client's own 5 s.
_LEAST_SECONDS = 0.5

OnOutcome = Callable[[ResponseHead | None], Awaitable[None]]


class ReadAhead(Struct):
    """What was read of a body before its request is passed on, and what it holds of the budget."""

    data: bytes
    is_whole: bool
    share: Share

    def drop(self) -> None:
        """Hold it no longer."""
        self.data = b""
        self.share.close()


class Passage(Struct, frozen=True):
    """How one request is passed on."""

    route: str
    read: ReadAhead | None = None
    """What was already read of the body; dropped once it is sent, for the rest may take as long as it moves."""
    note: bytes | None = None
    """A Cache-Status member, where a resource claims the path."""
    on_outcome: OnOutcome | None = None
    """Called with the response's head before that goes to the client; with None if the request was sent, at
    least in part, and there was no response: what it has done is unknown then."""
    within: float | None = None
    """Seconds that the response's head may take, instead of the upstream's `timeout`: for a request that has spent
    some of those already."""


class PassThrough:
    """Passes requests on to one upstream."""

    def __init__(self, upstream: Upstream, limits: LimitsConfig, *, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._limits = limits
        self._clock = clock

    async def send(self, request: Request, passage: Passage) -> Answer:
        """Pass a request on and its answer back. Raises ClientDisconnected."""
        if not self._upstream.takes(request.method, request.target):
            return Reply.of_problem(_BAD_TARGET, close=request.has_body)
        spans = self._upstream.spans
        try:
            if spans is not None:
                return await self._traced(spans, request, passage)
            return await self._tried(request, passage)
        except UpstreamError as error:
            if request.disconnected:
                raise ClientDisconnected from error
            if request.writer.output_size:
                request.abort()
                raise AnswerCutError from error
            if error.reason == "overloaded":  # it was not asked
                return Reply.of_problem(_OVERLOADED, close=request.has_body)
            timed_out = error.reason in {"timeout", "connect_timeout"}
            return Reply.of_problem(_GATEWAY_TIMEOUT if timed_out else _BAD_GATEWAY, close=request.has_body)

    async def _traced(self, spans: "CallSpans", request: Request, passage: Passage) -> Answer:
        # The span's own context stays here: what is passed on is passed on untouched.
        with spans.call(passage.route, request.method, request.trace_context or ()) as span:
            try:
                answer = await self._tried(request, passage)
            except UpstreamError as error:
                if request.disconnected:
                    raise ClientDisconnected from error
                raise
            span.answered(answer.status)
            return answer

    async def _tried(self, request: Request, passage: Passage) -> Answer:
        started = self._clock()
        tell = _once(passage.on_outcome)
        again = request.method in _IDEMPOTENT and not request.has_body
        try:
            return await self._attempt(request, passage, tell, started, again=again, fresh=False)
        except StaleConnectionError as error:
            if not again:
                self._upstream.failed(error.reason)
                raise
        try:
            return await self._attempt(request, passage, tell, started, again=False, fresh=True)
        except BaseException:
            await tell(None)  # nobody knows what the first try has done
            raise

    async def _attempt(
        self, request: Request, passage: Passage, tell: OnOutcome, started: float, *, again: bool, fresh: bool
    ) -> Answer:
        """One try; `again`: a kept-alive connection that turns out to be closed is not the end."""
        async with self._upstream.open(fresh=fresh, within=passage.within) as exchange:
            # What it waited for a connection is gone: the client counts it, too.
            timeout = self._upstream.config.timeout
            spent = self._clock() - started
            left = time_left(timeout, spent) if passage.within is None else max(0.0, passage.within - spent)
            request.on_disconnect(exchange.abort)
            upload = await self._send(exchange, request, passage)
            try:
                head = await self._answered(exchange, request, tell, upload, left, again=again)
                self._upstream.answered(passage.route, head.status, self._clock() - started)
                if head.status == 101:  # noqa: PLR2004
                    return await self._tunnel(exchange, request, head)
                fields = raw.response_fields(head.fields, via=self._via(head.version))
                if passage.note is not None:
                    fields.append((cache_status.NAME, passage.note))
                keep_alive = await stream(request, head, fields, exchange, idle=self._limits.idle_timeout)
                # An upload that goes on after the answer is of no use to anybody.
                complete = upload is None or upload.done()
                return Streamed(head.status, keep_alive=keep_alive and complete)
            finally:
                request.on_disconnect(None)
                if upload is not None:
                    await _settle(upload)

    async def _answered(
        self,
        exchange: Exchange,
        request: Request,
        tell: OnOutcome,
        upload: asyncio.Task[None] | None,
        within: float,
        *,
        again: bool,
    ) -> ResponseHead:
        """Wait for the head, and tell of the outcome before anybody sees it."""
        try:
            head = await self._receive(exchange, request, upload, within)
        except BaseException as error:
            if not (again and isinstance(error, StaleConnectionError)):
                await tell(None)
            raise
        await tell(head)
        return head

    async def _send(
        self, exchange: Exchange, request: Request, passage: Passage
    ) -> asyncio.Task[None] | None:
        fields = raw.request_fields(request.fields, host=self._upstream.host, via=self._via(request.version))
        if request.chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        if request.upgrade == "websocket":
            fields += [(b"Connection", b"Upgrade"), (b"Upgrade", request.header("upgrade").encode())]
        head = self._upstream.render(request.method, request.target, fields)
        body = _known_body(request, passage.read)
        if body is not None:
            await exchange.send_head(head, body)
            if passage.read is not None:
                passage.read.drop()
            await exchange.end_request()
            return None
        await exchange.send_head(head)
        return asyncio.create_task(self._upload(exchange, request, passage), name="upload")

    def _via(self, version: tuple[int, int]) -> bytes:
        return b"%d.%d %b" % (*version, self._upstream.via)

    async def _upload(self, exchange: Exchange, request: Request, passage: Passage) -> None:
        try:
            read = passage.read
            if read is not None:
                if read.data:
                    await self._send_some(exchange, read.data, request)
                read.drop()
            if read is None or not read.is_whole:
                async for chunk in request.body():
                    await self._send_some(exchange, chunk, request)
            await exchange.end_request(chunked=request.chunked)
        except StalledError:
            exchange.abort()
            raise UpstreamError("timeout") from None
        except UpstreamError:
            return  # an upstream that reads no further may have answered: whoever waits for its head will see
        except (ClientDisconnected, BadBodyError):
            exchange.abort()  # half a body must never look like a whole one
            raise

    async def _send_some(self, exchange: Exchange, chunk: bytes, request: Request) -> None:
        try:
            async with asyncio.timeout(self._limits.idle_timeout):
                await exchange.send_body(chunk, chunked=request.chunked)
        except TimeoutError:
            raise StalledError from None

    async def _receive(
        self,
        exchange: Exchange,
        request: Request,
        upload: asyncio.Task[None] | None,
        within: float,
    ) -> ResponseHead:
        loop = asyncio.get_running_loop()
        upgrade = request.upgrade == "websocket"
        try:
            async with asyncio.timeout(within if upload is None else None) as deadline:
                if upload is None:
                    return await exchange.receive_head(request.method, upgrade=upgrade)

                def start_clock(_: object) -> None:
                    if not deadline.expired():
                        deadline.reschedule(loop.time() + within)

                upload.add_done_callback(start_clock)
                try:
                    return await exchange.receive_head(request.method, upgrade=upgrade)
                finally:
                    upload.remove_done_callback(start_clock)
        except TimeoutError:
            raise UpstreamError("timeout") from None

    async def _tunnel(self, exchange: Exchange, request: Request, head: ResponseHead) -> Answer:
        """Join the two connections until either side ends (RFC 9110 section 7.8)."""
        request.on_disconnect(None)  # what the client sent before it left is still delivered
        fields: list[RawField] = raw.response_fields(head.fields, via=self._via(head.version))
        fields += [(b"Connection", b"Upgrade")]
        fields += [(b"Upgrade", value) for value in raw.values(head.fields, b"upgrade")]
        await request.writer.write(render(b"HTTP/1.1 101 " + head.reason, fields))
        upstream, to_upstream = exchange.tunnel()
        client = request.tunnel()
        pumps = [
            asyncio.create_task(_pump(client.reader, to_upstream), name="tunnel up"),
            asyncio.create_task(_pump(upstream.reader, request.writer), name="tunnel down"),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        return Streamed(101, keep_alive=False)


def time_left(timeout: float, spent: float) -> float:
    """Seconds that a request may still take which has `spent` some of its `timeout`."""
    return max(_LEAST_SECONDS, timeout - spent)


def _once(on_outcome: OnOutcome | None) -> OnOutcome:
    """The first outcome is the outcome."""
    told = on_outcome is None

    async def tell(head: ResponseHead | None) -> None:
        nonlocal told
        if not told and on_outcome is not None:
            told = True
            await on_outcome(head)

    return tell


class StalledError(Exception):
    """The upstream reads no further."""


async def _settle(upload: asyncio.Task[None]) -> None:
    """End an upload. Raises what it failed with: the client's fault comes before what it did to the upstream."""
    upload.cancel()
    try:
        await upload
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise


async def _pump(source: StreamReader, sink: StreamWriter) -> None:
    while data := await source.readany():
        await sink.write(data)
    await sink.drain()


def _known_body(request: Request, read: ReadAhead | None) -> bytes | None:
    """The body of a request if all of it is here and it is small, so that it can go with its head; else None."""
    if not request.has_body:
        return b""
    if read is None:
        return request.arrived()
    return read.data if read.is_whole and not request.chunked and len(read.data) <= FREE else None
