"""The transparent listener of one upstream: which resource claims a request, and what is counted and logged of it."""

import time
from collections.abc import Mapping, Sequence

from config.path_template import PathTemplate
from proxy.core.http.fields import tokens, via_names
from proxy.core.problem import BAD_REQUEST, LOOP, METHOD_NOT_ALLOWED, UNKNOWN_CODING, Problem
from proxy.log import logger, trace_id
from proxy.messages import Answer, BadBodyError, ClientDisconnected, Reply, Request
from proxy.metrics import Metrics
from proxy.web.bulk import BulkHandler
from proxy.web.passthrough import Passage, PassThrough
from proxy.web.served import Served
from proxy.web.single import SingleHandler

_PASSTHROUGH = "passthrough"
# What nginx writes for a client that went away before its answer.
_CLIENT_CLOSED = 499
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
        served = Served(_no_connect(), _PASSTHROUGH, "error")
        code = _CLIENT_CLOSED
        try:
            if request.method != "CONNECT":
                served = await self._dispatch(request)
            code = served.answer.status
        except BadBodyError:
            served = Served(Reply.of_problem(BAD_REQUEST, close=True), _PASSTHROUGH, "error")
            code = served.answer.status
        except ClientDisconnected:
            served = Served(served.answer, _PASSTHROUGH, "none")
            raise
        finally:
            self._observe(request, served, code, time.perf_counter() - start)
        return served.answer

    async def _dispatch(self, request: Request) -> Served:
        refusal = self._refusal(request)
        if refusal is not None:
            return Served(Reply.of_problem(refusal, close=True), _PASSTHROUGH, "error")
        path = claimed_path(request.target)
        if path is not None:
            bulk = self._bulks.get((request.method, path))
            if bulk is not None:
                return await bulk(request)
            for template, single in self._singles:
                entity = template.match(path)
                if entity is not None:
                    return await single(request, entity)
        answer = await self._passthrough.send(request, Passage(_PASSTHROUGH))
        return Served(answer, _PASSTHROUGH, "none")

    def _refusal(self, request: Request) -> Problem | None:
        """Why a request is not for anybody."""
        if request.version not in _VERSIONS:
            return BAD_REQUEST
        if request.chunked and tokens(request.fields, b"transfer-encoding") != [b"chunked"]:
            return UNKNOWN_CODING  # RFC 9112 section 6.1: we would take the coding off and lose its name
        if request.header("via") and via_names(request.fields, self._via):
            return LOOP  # before anything is resolved: a fill that came back here would wait for itself
        return None

    def _observe(self, request: Request, served: Served, code: int, seconds: float) -> None:
        self._metrics.request(served.route, request.method, code, served.cache, seconds)
        if self._log_requests or code >= 500:  # noqa: PLR2004
            log = logger().warning if code >= 500 else logger().debug  # noqa: PLR2004
            log(
                "request",
                route=served.route,
                code=code,
                cache=served.cache,
                ref=served.ref,
                trace_id=trace_id(request.header("traceparent")),
                duration=round(seconds, 6),
            )


def _no_connect() -> Reply:
    reply = Reply.of_problem(METHOD_NOT_ALLOWED, close=True)
    reply.fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"))
    return reply


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
