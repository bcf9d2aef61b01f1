"""What is counted and logged of each request, whoever answers it."""

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.core.budget import FREE, Budget
from proxy.core.problem import BAD_REQUEST, NO_ROOM, REQUEST_TIMEOUT
from proxy.log import Level, Refs, logger, trace_id
from proxy.messages import (
    Answer,
    AnswerCutError,
    BadBodyError,
    ClientDisconnected,
    Reply,
    Request,
    SlowBodyError,
)
from proxy.metrics import Cache, Metrics
from proxy.web.served import About, Served

if TYPE_CHECKING:
    from proxy.tracing import RequestSpan, RequestSpans

# What nginx writes for a client that went away before its answer.
_CLIENT_CLOSED = 499
_INTERNAL_ERROR, _BAD_GATEWAY = 500, 502


class Observer:
    """Sees the requests of one listener through to their answers.

    Failures are logged as warnings, answers with a cache result of `noted` at level info, others for debugging, and so
    are those of the routes in `unnoted`.
    `level` is what the log lets through: most lines are not even put together. `spans` trace each request, if given.
    What an answer holds until its client has read it is taken from `buffered`.
    """

    def __init__(
        self,
        metrics: Metrics,
        refs: Refs,
        *,
        buffered: Budget,
        level: Level,
        noted: frozenset[Cache] = frozenset(),
        unnoted: frozenset[str] = frozenset(),
        spans: "RequestSpans | None" = None,
    ) -> None:
        self._metrics = metrics
        self._refs = refs
        self._buffered = buffered
        self._spans = spans
        self._is_debugging = level == "debug"
        self._unnoted = unnoted
        # Those that are worth a line of their own: none of the transparent listener, which sees them by the thousand.
        self._noted = noted if level in {"debug", "info"} else frozenset[Cache]()

    async def answer(self, request: Request, route: str, work: Coroutine[None, None, Served]) -> Answer:
        """The answer that `work` gives to a request of that route."""
        start = time.perf_counter()
        span = None if self._spans is None else self._spans.begin(request)
        failure: str | None = None
        cache: Cache = "error"
        code = _INTERNAL_ERROR
        about: About = ()
        try:
            served = await self._framed(request, route, work)
            route, cache, code, about = served.route, served.cache, served.answer.status, served.about
        except AnswerCutError:
            code, failure = _BAD_GATEWAY, "answer_cut"
            raise
        except ConnectionError:  # the client went away before its answer, or in it
            cache, code, failure = "none", _CLIENT_CLOSED, "client_disconnected"
            raise
        except asyncio.CancelledError:  # cut at the end of the drain
            failure = "cancelled"
            raise
        finally:
            self._observe(request, route, cache, code, about, time.perf_counter() - start, span)
            if span is not None:
                span.end(route, cache, code, failure)
        return served.answer

    async def _framed(self, request: Request, route: str, work: Coroutine[None, None, Served]) -> Served:
        try:
            return self._held(await work)
        except BadBodyError as error:
            if request.writer.output_size:  # an answer has begun: another one can't be put into it
                request.abort()
                raise ClientDisconnected from None
            failure = REQUEST_TIMEOUT if isinstance(error, SlowBodyError) else BAD_REQUEST
            return Served(Reply.of_problem(failure, close=True), route, "error")

    def _held(self, served: Served) -> Served:
        """The same, once there is room for its body until the client has read it."""
        answer = served.answer
        if not isinstance(answer, Reply) or len(answer.body) <= FREE:
            return served
        share = self._buffered.share()
        if not share.take(len(answer.body)):
            return replace(served, answer=Reply.of_problem(NO_ROOM, close=answer.close), cache="error")
        answer.held = share
        return served

    def _is_noted(self, route: str, cache: Cache) -> bool:
        return cache in self._noted and (cache == "error" or route not in self._unnoted)

    def _observe(
        self,
        request: Request,
        route: str,
        cache: Cache,
        code: int,
        about: About,
        seconds: float,
        span: "RequestSpan | None",
    ) -> None:
        exemplar = None if span is None else span.exemplar
        self._metrics.request(route, request.method, code, cache, seconds, exemplar)
        failed = code >= _INTERNAL_ERROR
        noted = self._is_noted(route, cache)
        if not (failed or self._is_debugging or noted):
            return
        log = logger().warning if failed else logger().info if noted else logger().debug
        log(
            "request",
            route=route,
            code=code,
            cache=cache,
            ref=",".join(map(self._refs.of, about)) or None,
            trace_id=trace_id(request.header("traceparent")) if span is None else span.trace_id,
            duration=round(seconds, 6),
        )
