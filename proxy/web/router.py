"""The transparent listener of one upstream: which resource claims a request."""

from collections.abc import Coroutine, Mapping, Sequence

from config.path_template import PathTemplate
from proxy.core.http.fields import via_names
from proxy.core.problem import LOOP, METHOD_NOT_ALLOWED, Problem
from proxy.messages import Answer, Reply, Request
from proxy.web.bulk import BulkHandler
from proxy.web.framing import framing_refusal
from proxy.web.invalidating import Invalidating
from proxy.web.observer import Observer
from proxy.web.opaque import OpaqueHandler
from proxy.web.passthrough import Passage, PassThrough
from proxy.web.served import Served, passed
from proxy.web.single import SingleHandler

_PASSTHROUGH = "passthrough"


class Router:
    """Hands each request to the face that claims it."""

    def __init__(
        self,
        bulks: Mapping[tuple[str, bytes], BulkHandler],
        singles: Sequence[tuple[PathTemplate, SingleHandler]],
        opaques: Sequence[tuple[PathTemplate, OpaqueHandler]],
        invalidating: Invalidating,
        passthrough: PassThrough,
        observer: Observer,
        *,
        via: bytes,
    ) -> None:
        self._bulks = bulks
        self._singles = singles
        self._opaques = opaques
        self._invalidating = invalidating
        self._passthrough = passthrough
        self._observer = observer
        self._via = via

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        route, work = self._dispatch(request)
        return await self._observer.answer(request, route, work)

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
            for template, opaque in self._opaques:
                if template.claims(path):
                    return opaque.route, opaque(request)
        return _PASSTHROUGH, self._pass(request)

    async def _pass(self, request: Request) -> Served:
        # What it changes may be held under another target, which its answer names.
        passage = Passage(_PASSTHROUGH, on_outcome=self._invalidating.after(request))
        return passed(await self._passthrough.send(request, passage), _PASSTHROUGH, "none")

    def _refusal(self, request: Request) -> Problem | None:
        """Why a request is not for anybody."""
        if request.method == "CONNECT":
            return METHOD_NOT_ALLOWED
        misframed = framing_refusal(request)
        if misframed is None and request.header("via") and via_names(request.fields, self._via):
            return LOOP  # before anything is resolved: a fill that came back here would wait for itself
        return misframed


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
