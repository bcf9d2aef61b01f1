"""Requests for an opaque resource that go to the origin: by a call of their own, or by one that is under way."""

import asyncio
from functools import partial
from typing import Any

from proxy.core import cache_status, policy
from proxy.core.http import fields as raw
from proxy.core.http import validation
from proxy.core.http.fields import RawField
from proxy.core.policy import Hit, Miss, Stale
from proxy.core.problem import Problem
from proxy.exchange import UpstreamError
from proxy.fill import Answered, Begun, Confirmed, Failed, Fill
from proxy.keeping import is_of_the_server
from proxy.messages import AnswerCutError, ClientDisconnected, Reply, Request, Streamed
from proxy.web.opaque_showing import Exchange, OpaqueResource, Showing, shown_of
from proxy.web.passthrough import time_left
from proxy.web.resource import BAD_GATEWAY, GATEWAY_TIMEOUT, UNAVAILABLE
from proxy.web.served import Served
from proxy.web.streaming import stream

_NOT_MODIFIED = 304
# Of the origin's own answer, for who has caused it.
_WITH_NOT_MODIFIED = validation.WITH_NOT_MODIFIED | {b"set-cookie", b"via", b"cache-status"}
_TIMED_OUT = frozenset({"timeout", "connect_timeout"})
_NO_ANSWER = frozenset({"protocol", "body", "too_large"})
# Calls of others that a request waits for, one after the other, before it makes its own: the first may turn out to be
# for another variant, or may have been invalidated.
_WAITS = 2


class Misses:
    """Has the requests of one resource answered by its origin."""

    def __init__(self, resource: OpaqueResource, showing: Showing) -> None:
        self._resource = resource
        self._showing = showing

    async def fetched(self, exchange: Exchange) -> Served:
        """What the origin says, or, where that may be, what is held."""
        origin, want = self._resource.origin, exchange.want
        within = None
        # Who wants the origin asked has not asked for an answer to an earlier question.
        waits = 0 if exchange.asked.directives.no_cache else _WAITS
        while waits and (under_way := origin.under_way(want)) is not None:
            served = await self._by_another(under_way, exchange)
            if served is not None:
                return served
            waits -= 1
            within = self._time_left(exchange)
        fill = origin.begin(want, within=within)
        try:
            fill.on_interim = partial(self._informed, exchange.request)
            patience = self._resource.patience if exchange.usable else None
            is_begun = await _waited(exchange.request, fill.begun, patience)
            return await self._brought(fill.begun.result() if is_begun else None, fill, exchange)
        finally:
            fill.left()

    def _informed(self, request: Request, status: int, reason: bytes, fields: tuple[RawField, ...]) -> None:
        """Pass an interim response on (RFC 9110 section 15.2)."""
        passed = raw.response_fields(fields, via=b"1.1 " + self._resource.upstream.via)
        # It has no content of which that could be the length (section 8.6).
        request.inform(status, reason, [field for field in passed if field[0].lower() != b"content-length"])

    async def _by_another(self, fill: Fill, exchange: Exchange) -> Served | None:
        """The answer by a call that somebody else has caused; None if that has none for this request."""
        resource, request = self._resource, exchange.request
        resource.metrics.coalesced(resource.name, 1)
        fill.join()
        try:
            patience = resource.patience if exchange.usable else self._time_left(exchange)
            if not await _waited(request, fill.begun, patience):
                return self._stale(exchange)
            # What has begun is worth waiting for: it comes, or is given up.
            await _waited(request, fill.landed, resource.patience if exchange.usable else None)
        finally:
            fill.part()
        if not fill.landed.done():
            return self._stale(exchange)
        if isinstance(begun := fill.begun.result(), Failed):
            return None if fill.is_given_up else self._failed(begun, exchange)
        return self._landed(fill, exchange)

    def _landed(self, fill: Fill, exchange: Exchange) -> Served | None:
        resource, want, now = self._resource, exchange.want, self._resource.clock()
        # It may not be for this request: another variant, or one that has to be confirmed for each.
        whole = resource.origin.shelf.select(exchange.target, want.fields, want.scope).whole
        decision = policy.decide(whole, exchange.asked, resource.policy, now)
        if fill.landed.result() is not None and whole is not None and isinstance(decision, Hit):
            shown = shown_of(exchange.request, whole, now)
            if shown is not None:
                note = cache_status.forwarded(exchange.forward, stored=True, collapsed=True)
                return self._showing.of_entry(whole, shown, note, "miss", exchange.about, now)
        if whole is not None or not fill.is_shareable:
            resource.origin.go_alone(want)
        return None

    async def _brought(self, begun: Begun | None, fill: Fill, exchange: Exchange) -> Served:
        request, now = exchange.request, self._resource.clock()
        if begun is None or isinstance(begun, Failed):
            return self._failed(begun, exchange)
        if isinstance(begun, Confirmed):
            shown = shown_of(request, begun.entry, now, begun.fields)
            if shown is None:
                raise RuntimeError("a whole response answers any request")
            if shown.status == _NOT_MODIFIED:
                cookies = [field for field in begun.fields if field[0].lower() == b"set-cookie"]
                shown = shown._replace(fields=shown.fields + cookies)
            is_new = begun.status != _NOT_MODIFIED
            note = cache_status.forwarded(exchange.forward, stored=is_new, fwd_status=begun.status)
            return self._showing.of_entry(
                begun.entry, shown, note, "revalidated", exchange.about, now, is_aged=False
            )
        if is_of_the_server(begun.head.status) and (served := self._stale(exchange)) is not None:
            return served
        if not (exchange.want.is_ranged or exchange.want.is_conditional):
            served = await self._cut_down(begun, fill, exchange)
            if served is not None:
                return served
        return await self._relayed(begun, fill, exchange)

    async def _cut_down(self, begun: Answered, fill: Fill, exchange: Exchange) -> Served | None:
        """As much of the origin's answer as the client has asked for, whose conditions and range have not gone with the
        call; None: all of it."""
        request, head, now = exchange.request, begun.head, self._resource.clock()
        is_success = 200 <= head.status < 300  # noqa: PLR2004
        if is_success and validation.is_not_modified(request.fields, head.fields, received_at=now, now=now):
            own = self._showing.relayed(begun, exchange, is_kept=fill.is_shareable)
            fields = [field for field in own if field[0].lower() in _WITH_NOT_MODIFIED]
            return self._showing.counted(Reply(_NOT_MODIFIED, fields), exchange.label, exchange.about)
        if begun.is_kept and raw.values(request.fields, b"range"):
            # A range is cut from the whole; where that takes too long, the whole is an answer, too.
            await _waited(request, fill.landed, self._time_left(exchange))
            entry = fill.landed.result() if fill.landed.done() else None
            own = self._showing.relayed(begun, exchange, is_kept=entry is not None)
            if entry is not None and (shown := shown_of(request, entry, now, own)) is not None:
                fields = [field for field in shown.fields if field[0].lower() != b"content-length"]
                return self._showing.counted(
                    Reply(shown.status, fields, shown.body), exchange.label, exchange.about
                )
        return None

    async def _relayed(self, begun: Answered, fill: Fill, exchange: Exchange) -> Served:
        """The origin's own answer, as it arrives."""
        resource, request, head = self._resource, exchange.request, begun.head
        if not exchange.want.is_alone and not fill.is_shareable:
            resource.origin.go_alone(exchange.want)
        is_kept = begun.is_kept and not (fill.landed.done() and fill.landed.result() is None)
        fields = self._showing.relayed(begun, exchange, is_kept=is_kept)
        request.on_disconnect(fill.left)
        try:
            keep_alive = await stream(request, head, fields, fill, idle=resource.limits.idle_timeout)
        except UpstreamError as error:
            if request.disconnected:
                raise ClientDisconnected from error
            request.abort()
            raise AnswerCutError from error
        finally:
            request.on_disconnect(None)
        answer = Streamed(head.status, keep_alive=keep_alive)
        return self._showing.counted(answer, exchange.label, exchange.about)

    def _failed(self, begun: Begun | None, exchange: Exchange) -> Served:
        """There is no answer of the origin: what is held, or a problem."""
        served = self._stale(exchange)
        if served is not None:
            return served
        reason = begun.reason if isinstance(begun, Failed) else "timeout"
        return self._showing.counted(Reply.of_problem(_problem(reason, exchange)), "error", exchange.about)

    def _stale(self, exchange: Exchange) -> Served | None:
        entry, now = exchange.usable, self._resource.clock()
        shown = None if entry is None else shown_of(exchange.request, entry, now)
        if entry is None or shown is None:
            return None
        return self._showing.of_held(Stale(entry, "stale_if_error"), shown, exchange.about, now)

    def _time_left(self, exchange: Exchange) -> float:
        spent = asyncio.get_running_loop().time() - exchange.started
        return time_left(self._resource.upstream.config.timeout, spent)


async def _waited(request: Request, future: "asyncio.Future[Any]", patience: float | None) -> bool:
    """Wait for a future, for so many seconds at the most; whether it is done. Raises ClientDisconnected."""
    if future.done():
        return True
    if request.disconnected:
        raise ClientDisconnected
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request.on_disconnect(partial(gone.set_result, None))  # which is called once
    try:
        await asyncio.wait((future, gone), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    finally:
        request.on_disconnect(None)
    if gone.done() and not future.done():
        raise ClientDisconnected
    return future.done()


def _problem(reason: str, exchange: Exchange) -> Problem:
    if reason in {"overloaded", "circuit_open"}:
        return UNAVAILABLE
    # What must be revalidated and can't be (section 5.2.2.2).
    decision = exchange.decision
    is_unconfirmed = isinstance(decision, Miss) and decision.reason in {"expired", "no_cache"}
    is_silent = reason in _TIMED_OUT or (is_unconfirmed and reason not in _NO_ANSWER)
    return GATEWAY_TIMEOUT if is_silent else BAD_GATEWAY
