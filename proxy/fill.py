"""One call of an origin for an opaque resource: its answer goes to who has caused it as it arrives, and is kept.

The call belongs to the supervisor: who has caused it may go away, and what is kept is read to its end all the same.
What can't be kept is read as fast as that client reads, and cut when he goes. Others who want the same wait for what is
kept (`landed`), and go on by themselves when that is nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from proxy.core.budget import FREE_FILL, Budget, Share
from proxy.core.http.fields import RawField
from proxy.exchange import (
    Exchange,
    OnInterim,
    Reason,
    ResponseHead,
    StaleConnectionError,
    UpstreamError,
)
from proxy.inflow import Inflow
from proxy.upstream import Upstream
from store.entry import Entry, RawHeaders

_NOT_MODIFIED = 304


class Asked(Struct, frozen=True):
    """What is asked of the origin: a GET or HEAD of `target`."""

    route: str
    method: str
    target: bytes
    fields: tuple[RawField, ...]
    """All of its fields, but for what `conditions` has and the credential."""
    conditions: tuple[RawField, ...] = ()
    """What is asked about a response that is held: whether it is still good, or for the rest of it."""
    own_credential: bool = False
    """Whether the call bears the upstream's own credential."""
    may_be_confirmed: bool = False
    """Whether a 304 may be the answer, for the client's conditions go with it."""
    within: float | None = None
    """Seconds that the response's head may take, instead of the upstream's `timeout`."""


class Keeping(Protocol):
    """What is done with an answer."""

    def asked(self) -> None:
        """The request whose answer it is goes out now."""
        ...

    def is_kept(self, head: ResponseHead) -> bool:
        """Whether the answer with this head, which has just come, may be kept."""
        ...

    def keep(self, body: bytes) -> Entry | None:
        """Keep the answer of which `is_kept` was told, now that it is whole."""
        ...

    def give_up(self) -> None:
        """It can't be kept after all."""
        ...

    def is_about_held(self, head: ResponseHead) -> bool:
        """Whether an answer to `conditions` speaks of the response that is held, and has to be whole to be of use."""
        ...

    def confirm(self, head: ResponseHead, body: bytes) -> "Confirmed | None":
        """What such an answer makes of the response that is held; None: nothing, so it has to be asked without."""
        ...


class Confirmed(Struct, frozen=True):
    """A response that is held, and good: as it is after the origin's answer."""

    entry: Entry
    fields: RawHeaders
    """Its fields, with those that are not stored: they are for who has caused the call."""
    status: int
    """Of that answer."""
    is_kept: bool


class Answered(Struct, frozen=True):
    """The origin's own answer."""

    head: ResponseHead
    is_kept: bool


class Failed(Struct, frozen=True):
    """There is no answer."""

    reason: Reason


Begun = Confirmed | Answered | Failed


class Fill:
    """One call, which runs by `fly`; `task` is that, once it does.

    It is wanted by who has caused it and by those who wait for it. When nobody does any more it is given up, if the
    origin was not asked yet; else what can be kept has as long as the upstream's `timeout` to come.
    """

    def __init__(
        self,
        upstream: Upstream,
        asked: Asked,
        keeping: Keeping,
        *,
        max_body: int,
        idle: float,
        buffered: Budget,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[Begun] = loop.create_future()
        """What the call comes to, as soon as that is known."""
        self.landed: asyncio.Future[Entry | None] = loop.create_future()
        """What was kept of it, when it is whole."""
        self.task: asyncio.Task[None] | None = None
        self.on_interim: OnInterim | None = None
        self.is_given_up = False
        self._loop = loop
        self._upstream = upstream
        self._asked = asked
        self._keeping = keeping
        self._max_body = max_body
        self._idle = idle
        self._share: Share = buffered.share(FREE_FILL)
        self._inflow = Inflow(self._share, max_body)
        self._error: UpstreamError | None = None
        self._exchange: Exchange | None = None
        """While its body is read."""
        self._wanted = 1
        self._is_sent = False
        self._timer: asyncio.TimerHandle | None = None
        self._behind: asyncio.TimerHandle | None = None
        self.arrived, self.body = self._inflow.arrived, self._inflow.body

    async def fly(self) -> None:
        """Make the call. Raises nothing but cancellation."""
        try:
            await self._called()
        except UpstreamError as error:
            self._error = error
        finally:
            self.end()

    def end(self) -> None:
        """Whatever has not come by now does not come. Idempotent."""
        # Cancelled: its reader must not take that for the end.
        error = self._error or UpstreamError("overloaded")
        self._inflow.fail(error)
        if not self.begun.done():
            self.begun.set_result(Failed(error.reason))
        self._land(None)
        for timer in (self._timer, self._behind):
            if timer is not None:
                timer.cancel()
        self._release()

    @property
    def is_shareable(self) -> bool:
        """Whether what came, or is to come, is kept for others, as far as that is known."""
        return not self.begun.done() or not isinstance(self.begun.result(), Answered) or self._inflow.is_kept

    def join(self) -> None:
        """Somebody else waits for it."""
        self._wanted += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def part(self) -> None:
        """Somebody who wanted it does not any more."""
        self._wanted -= 1
        if self._wanted or self.landed.done():
            return
        if not self._is_sent and self.task is not None:
            self.is_given_up = True
            self.task.cancel()
        else:
            self._timer = self._loop.call_later(self._upstream.config.timeout, self._abort)

    def left(self) -> None:
        """Whoever has caused it reads no more of it. Idempotent."""
        if not self._inflow.has_reader:
            return
        self._leave()
        self.part()

    def go_behind(self) -> None:
        """Nobody reads it, but it is wanted, for as long as a call may take."""
        self._leave()
        self._behind = self._loop.call_later(self._upstream.config.timeout, self.part)

    def _leave(self) -> None:
        self.on_interim = None
        self._inflow.left()
        if self.begun.done() and not self._inflow.is_kept:
            self._abort()
        self._release()

    async def _called(self) -> None:
        asked, spans = self._asked, self._upstream.spans
        within = self._upstream.config.timeout if asked.within is None else asked.within
        deadline = self._loop.time() + within
        for conditions in [asked.conditions, ()] if asked.conditions else [()]:
            if spans is None:
                is_over = await self._tried(asked.fields, conditions, deadline)
            else:
                with spans.call(asked.route, asked.method, asked.fields) as span:
                    is_over = await self._tried(tuple(span.fields), conditions, deadline)
                    if self.begun.done() and isinstance(begun := self.begun.result(), Answered | Confirmed):
                        span.answered(begun.head.status if isinstance(begun, Answered) else begun.status)
            if is_over:
                return

    async def _tried(
        self, fields: Sequence[RawField], conditions: Sequence[RawField], deadline: float
    ) -> bool:
        """One request, and another where a kept-alive connection turns out to be closed."""
        try:
            return await self._exchanged(fields, conditions, deadline, fresh=False)
        except StaleConnectionError:
            return await self._exchanged(fields, conditions, deadline, fresh=True)

    async def _exchanged(
        self, fields: Sequence[RawField], conditions: Sequence[RawField], deadline: float, *, fresh: bool
    ) -> bool:
        asked, upstream = self._asked, self._upstream
        started = self._loop.time()
        async with upstream.open(fresh=fresh, within=max(0.0, deadline - started)) as exchange:
            credential = upstream.credential() if asked.own_credential else []
            request = upstream.render(asked.method, asked.target, [*fields, *conditions, *credential])
            self._is_sent = True
            try:
                async with asyncio.timeout_at(deadline):
                    self._keeping.asked()
                    await exchange.send_head(request)
                    await exchange.end_request()
                    head = await exchange.receive_head(asked.method, forgiving=True, on_interim=self._inform)
            except TimeoutError:
                raise UpstreamError("timeout") from None
            upstream.answered(asked.route, head.status, self._loop.time() - started)
            if conditions and self._keeping.is_about_held(head):
                body = await self._whole(exchange)
                return body is not None and self._confirmed(head, body)
            if head.status == _NOT_MODIFIED and not (conditions or asked.may_be_confirmed):
                raise UpstreamError("protocol")  # nobody has asked whether anything was
            self._exchange = exchange
            try:
                await self._take(head, exchange)
            finally:
                self._exchange = None
            return True

    def _inform(self, status: int, reason: bytes, fields: tuple[RawField, ...]) -> None:
        if self.on_interim is not None:
            self.on_interim(status, reason, fields)

    def _confirmed(self, head: ResponseHead, body: bytes) -> bool:
        confirmed = self._keeping.confirm(head, body)
        if confirmed is None:
            return False
        self._inflow.end()
        self.begun.set_result(confirmed)
        self._land(confirmed.entry if confirmed.is_kept else None)
        return True

    async def _take(self, head: ResponseHead, exchange: Exchange) -> None:
        self._inflow.is_kept = is_kept = self._keeping.is_kept(head)
        if not is_kept:
            self._land(None)  # whoever waits for it need not wait for its end
        arrived = exchange.arrived()
        if arrived is not None and self._inflow.take(arrived):
            self._end()
            self.begun.set_result(Answered(head, is_kept))
            return
        self.begun.set_result(Answered(head, is_kept))
        if arrived is not None:  # it can't be kept for want of room
            await self._feed(arrived)
        else:
            async for chunk in self._chunks(exchange):
                await self._feed(chunk)
        self._end()

    async def _feed(self, chunk: bytes) -> None:
        if not self._inflow.makes_room(len(chunk)):
            self._keeping.give_up()
            self._land(None)
        if not await self._inflow.feed(chunk):
            self._abort()
            raise UpstreamError("disconnected")

    async def _whole(self, exchange: Exchange) -> bytes | None:
        """A body that is of no use before it is whole; None if there is no room for it."""
        body = bytearray(exchange.arrived() or b"")
        if not self._share.take(len(body)):
            return None
        async for chunk in self._chunks(exchange):
            body += chunk
            if len(body) > self._max_body or not self._share.take(len(chunk)):
                return None
        return bytes(body)

    async def _chunks(self, exchange: Exchange) -> AsyncIterator[bytes]:
        body = exchange.body()
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await anext(body, b"")
            except TimeoutError:
                raise UpstreamError("timeout") from None
            if not chunk:
                return
            yield chunk

    def _abort(self) -> None:
        """What still comes is of nobody's concern, and no failure of the origin."""
        if self._exchange is not None:
            self.is_given_up = True
            self._exchange.abort()

    def _end(self) -> None:
        body = self._inflow.end()
        self._land(self._keeping.keep(body) if self._inflow.is_kept else None)

    def _land(self, entry: Entry | None) -> None:
        if not self.landed.done():
            self.landed.set_result(entry)

    def _release(self) -> None:
        """Give the room back once nobody holds the body here."""
        if self.landed.done() and not self._inflow.has_reader:
            self._share.close()
