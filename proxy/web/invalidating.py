"""What an unsafe request makes invalid, whichever resource holds it (RFC 9111 section 4.4)."""

from collections.abc import Awaitable, Callable, Sequence

from config.path_template import PathTemplate
from proxy.core.http.invalidation import targets
from proxy.exchange import ResponseHead
from proxy.messages import Request

# RFC 9110 section 9.2.1, and the safe methods of the IANA registry that llhttp knows.
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})

Forget = Callable[[str], Awaitable[None]]
"""Drops an entity by its external id, or the responses to a target."""


class Invalidating:
    """Knows the resources of one upstream: `singles` by the ids that their paths name, `opaques` by target.

    `origin` is the upstream's own, as `scheme://authority`.
    """

    def __init__(
        self,
        singles: Sequence[tuple[PathTemplate, Forget]],
        opaques: Sequence[tuple[PathTemplate, Forget]],
        *,
        origin: bytes,
    ) -> None:
        self._singles = singles
        self._opaques = opaques
        self._origin = origin

    def after(self, request: Request) -> Callable[[ResponseHead | None], Awaitable[None]] | None:
        """What is to be told of the answer to a request, None where there was none; None if the request is safe."""
        if request.method in SAFE:
            return None

        async def told(head: ResponseHead | None) -> None:
            # After a non-error response; and when nobody knows what the request has done.
            if head is None or 200 <= head.status < 400:  # noqa: PLR2004
                fields = () if head is None else head.fields
                for target in targets(request.target, fields, origins=self._origins(request)):
                    await self._forget(target)

        return told

    def _origins(self, request: Request) -> frozenset[bytes]:
        """This origin by all its names: the upstream's, and those that the client may know it by."""
        host = request.header("host").lower().encode("utf-8", "surrogateescape")
        if not host:
            return frozenset({self._origin})
        plain, secure = host.removesuffix(b":80"), host.removesuffix(b":443")
        return frozenset({self._origin, b"http://" + plain, b"https://" + secure})

    async def _forget(self, target: bytes) -> None:
        path = target.partition(b"?")[0]
        for template, forget in self._singles:
            entity = template.match(path)
            if entity is not None:
                await forget(entity)
        for template, forget in self._opaques:
            if template.claims(path):
                await forget(target.decode("latin-1"))
