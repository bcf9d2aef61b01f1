"""The transparent listener of one upstream: which resource claims a request, and what is counted and logged of it."""

import time
from collections.abc import Coroutine, Mapping, Sequence

from config.path_template import PathTemplate
from proxy.core.http.fields import tokens, via_names
from proxy.core.problem import BAD_REQUEST, LOOP, METHOD_NOT_ALLOWED, UNKNOWN_CODING, Problem
from proxy.log import logger, trace_id
from proxy.messages import Answer, AnswerCutError, BadBodyError, ClientDisconnected, Reply, Request
from proxy.metrics import Cache, Metrics
from proxy.web.bulk import BulkHandler
from proxy.web.passthrough import Passage, PassThrough
from proxy.web.served import Served, passed
from proxy.web.single import SingleHandler

_PASSTHROUGH = "passthrough"
# What nginx writes for a client that went away before its answer.
_CLIENT_CLOSED = 499
_INTERNAL_ERROR, _BAD_GATEWAY = 500, 502
_VERSIONS = frozenset({(1, 0), (1, 1)})


class Router:
    """Hands each request to the face that claims it, and counts and logs the answer."""

    def __init__(
        self,
        bulks: Mapping[tuple[str, bytes], BulkHandler],
        singles: Sequence[tuple[PathTemplate, SingleHandler]],
        passthrough: PassThrough,
        metrics: Metrics,
        *,
        via: bytes,
        log_requests: bool,
    ) -> None:
        self._bulks = bulks
        self._singles = singles
        self._passthrough = passthrough
        self._metrics = metrics
        self._via = via
        self._log_requests = log_requests

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        start = time.perf_counter()
        route, work = self._dispatch(request)
        cache: Cache = "error"
        code, ref = _INTERNAL_ERROR, None
        try:
            served = await self._framed(request, work)
            route, cache, code, ref = served.route, served.cache, served.answer.status, served.ref
        except AnswerCutError:
            code = _BAD_GATEWAY
            raise
        except ConnectionError:  # the client went away before its answer, or in it
            cache, code = "none", _CLIENT_CLOSED
            raise
        finally:
            self._observe(request, route, cache, code, ref, time.perf_counter() - start)
        return served.answer

    async def _framed(self, request: Request, work: Coroutine[None, None, Served]) -> Served:
        try:
            return await work
        except BadBodyError:
            if request.writer.output_size:  # an answer has begun: another one can't be put into it
                request.abort()
                raise ClientDisconnected from None
            return _refused(BAD_REQUEST)

    def _dispatch(self, request: Request) -> tuple[str, Coroutine[None, None, Served]]:
        """Who answers a request: the route, and the answer to come."""
        refusal = self._refusal(request)
        if refusal is not None:
            return _PASSTHROUGH, _refuse(refusal)
        path = claimed_path(request.target)
        if path is not None:
            bulk = self._bulks.get((request.method, path))
            if bulk is not None:
                return bulk.route, bulk(request)
            for template, single in self._singles:
                entity = template.match(path)
                if entity is not None:
                    return single.route, single(request, entity)
        return _PASSTHROUGH, self._pass(request)

    async def _pass(self, request: Request) -> Served:
        return passed(await self._passthrough.send(request, Passage(_PASSTHROUGH)), _PASSTHROUGH, "none")

    def _refusal(self, request: Request) -> Problem | None:
        """Why a request is not for anybody."""
        if request.method == "CONNECT":
            return METHOD_NOT_ALLOWED
        if request.version not in _VERSIONS:
            return BAD_REQUEST
        if request.chunked and tokens(request.fields, b"transfer-encoding") != [b"chunked"]:
            return UNKNOWN_CODING  # RFC 9112 section 6.1: we would take the coding off and lose its name
        if request.header("via") and via_names(request.fields, self._via):
            return LOOP  # before anything is resolved: a fill that came back here would wait for itself
        return None

    def _observe(
        self, request: Request, route: str, cache: Cache, code: int, ref: str | None, seconds: float
    ) -> None:
        self._metrics.request(route, request.method, code, cache, seconds)
        failed = code >= _INTERNAL_ERROR
        if self._log_requests or failed:
            log = logger().warning if failed else logger().debug
            log(
                "request",
                route=route,
                code=code,
                cache=cache,
                ref=ref,
                trace_id=trace_id(request.header("traceparent")),
                duration=round(seconds, 6),
            )


def _refused(failure: Problem) -> Served:
    reply = Reply.of_problem(failure, close=True)
    if failure is METHOD_NOT_ALLOWED:
        reply.fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"))
    return Served(reply, _PASSTHROUGH, "error")


async def _refuse(failure: Problem) -> Served:
    return _refused(failure)


def claimed_path(target: bytes) -> bytes | None:
    """The path of a request target, as spelled, or None where no resource could claim it.

    An absolute-form target (RFC 9112 section 3.2.2) reaches the upstream as it is, so its path counts: a PUT in
    that form has to invalidate like any other.
    """
    if b"#" in target:
        return None
    path = target.partition(b"?")[0]
    if path.startswith(b"/"):
        return path
    scheme, separator, rest = path.partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        return None
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"
