"""The single face: GET and HEAD of one entity, and what unsafe methods on its path mean for our copy."""

from proxy.core import cache_status
from proxy.core.http import directives
from proxy.core.http.fields import RawField
from proxy.messages import Reply, Request
from proxy.metrics import Cache
from proxy.resolver import Found, NotFound, Resolution
from proxy.web.passthrough import Passage
from proxy.web.resource import BAD_GATEWAY, GATEWAY_TIMEOUT, JSON, Resource, age, date
from proxy.web.served import Served, passed
from store.entry import Entry, Key

# RFC 9110 section 9.2.1, and the safe methods of the IANA registry that llhttp knows.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})


class SingleHandler:
    """Answers requests on `single.path` of one resource."""

    def __init__(self, resource: Resource) -> None:
        self.route = f"{resource.name}.single"
        self._resource = resource

    async def __call__(self, request: Request, entity: str) -> Served:
        """Answer one request about `entity`, the external id that its path names."""
        ref = self._resource.refs.of(Key(self._resource.name, entity))
        reason = self._refused(request)
        if reason is not None:
            return await self._pass_on(request, reason, entity, ref)
        resolution = await self._resource.resolver.resolve(
            (entity,),
            directives.of_request(request.fields),
            fields=self._resource.sharing.fill_fields(request),
            single=True,
            needs_representation=True,
        )
        if resolution.pass_on:
            return await self._pass_on(request, "uncacheable", entity, ref)
        if not resolution.complete:
            return Served(self._failed(resolution), self.route, "error", ref)
        return self._answered(resolution.outcomes[entity], ref)

    def _refused(self, request: Request) -> str | None:
        """Why a request can't be answered from the cache."""
        if request.method not in {"GET", "HEAD"}:
            return "method"
        if b"?" in request.target:
            return "bypass_query"
        if self._resource.sharing.bypasses(request):
            return "bypass_credential"
        if request.has_body or request.upgrade:
            return "bypass_shape"
        if directives.of_request(request.fields).no_store:
            return "no_cache"
        return None

    async def _pass_on(self, request: Request, reason: str, entity: str, ref: str) -> Served:
        if reason not in {"method", "uncacheable"}:
            self._resource.metrics.missed(self._resource.name, reason)
        detail = reason.removeprefix("bypass_").replace("_", "-")

        async def invalidate(status: int | None) -> None:
            # RFC 9111 section 4.4: after a non-error response; and when nobody knows what the request has done.
            if status is None or 200 <= status < 400:  # noqa: PLR2004
                await self._resource.resolver.invalidate(entity, "method")

        passage = Passage(
            self.route,
            note=cache_status.bypass(detail),
            on_outcome=None if request.method in _SAFE else invalidate,
        )
        return passed(await self._resource.passthrough.send(request, passage), self.route, "bypass", ref)

    def _failed(self, resolution: Resolution) -> Reply:
        if resolution.passed is not None:
            return self._resource.relay(resolution.passed, resolution.forward)
        timed_out = resolution.failure in {"timeout", "connect_timeout"}
        return Reply.of_problem(GATEWAY_TIMEOUT if timed_out else BAD_GATEWAY)

    def _answered(self, outcome: Found | NotFound, ref: str) -> Served:
        now = self._resource.clock()
        entry = outcome.entry
        cached = outcome.source != "miss"
        if cached:
            status = cache_status.hit(entry.ttl(now))
        else:
            status = cache_status.forwarded(
                outcome.forward, stored=outcome.stored, collapsed=outcome.collapsed
            )
        if isinstance(outcome, Found):
            self._resource.metrics.served_age(self._resource.name, entry.age(now))
        fields = [*_stored_fields(entry, now), (b"Via", b"1.1 " + self._resource.upstream.via)]
        if cached:
            fields.append(age(entry.age(now)))
        fields.append((cache_status.NAME, status))
        cache: Cache = outcome.source
        return Served(Reply(entry.status, fields, entry.item or b""), self.route, cache, ref)


def _stored_fields(entry: Entry, now: float) -> list[RawField]:
    """The stored fields, with Content-Type and Date where the item came out of a bulk answer."""
    names = {name.lower() for name, _ in entry.headers}
    fields = list(entry.headers)
    if b"content-type" not in names and entry.item:
        fields.append((b"Content-Type", JSON))
    if b"date" not in names:
        fields.append(date(now if not entry.received_at else entry.received_at))
    return fields
