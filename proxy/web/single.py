"""The single face: GET and HEAD of one entity, and what unsafe methods on its path mean for our copy."""

import asyncio

from proxy.core import cache_status, policy
from proxy.core.http import directives
from proxy.core.http.answering import answered
from proxy.core.http.fields import RawField
from proxy.core.http.validation import is_for_the_origin
from proxy.core.policy import Asked, BypassReason, Unsatisfied
from proxy.messages import Reply, Request
from proxy.metrics import Cache
from proxy.outcomes import Found, NotFound
from proxy.web.invalidating import Invalidating
from proxy.web.passthrough import Passage
from proxy.web.resource import JSON, NOT_HELD, Resource, age, date
from proxy.web.served import About, Served, passed
from store.entry import Entry, Key

_NOT_MODIFIED = 304


class SingleHandler:
    """Answers requests on `single.path` of one resource."""

    def __init__(self, resource: Resource, invalidating: Invalidating) -> None:
        self.route = f"{resource.name}.single"
        self._resource = resource
        self._invalidating = invalidating

    async def __call__(self, request: Request, entity: str) -> Served:
        """Answer one request about `entity`, the external id that its path names."""
        resource = self._resource
        about = (Key(resource.name, entity),)
        if request.method not in {"GET", "HEAD"}:
            return await self._pass_on(request, "method", about)
        asked = self._asked(request)
        past = policy.bypass(asked)
        if isinstance(past, Unsatisfied):
            return Served(Reply.of_problem(NOT_HELD), self.route, "error", about)
        if past is not None:
            return await self._bypass(request, past.reason, about)
        started = asyncio.get_running_loop().time()
        resolution = await resource.resolver.resolve(
            (entity,),
            asked,
            fields=resource.sharing.fill_fields(request),
            variant=resource.sharing.variant(request),
            single=True,
        )
        if resolution.bypass is not None:
            return await self._bypass(request, resolution.bypass, about)
        if resolution.pass_on:
            within = resource.time_left(started)
            return await self._pass_on(request, "uncacheable", about, within=within)
        if not resolution.complete:
            return Served(resource.failure(resolution, single=True), self.route, "error", about)
        return self._answered(request, resolution.outcomes[entity], about)

    def _asked(self, request: Request) -> Asked:
        return Asked(
            directives=directives.of_request(request.fields),
            query=b"?" in request.target,
            other_shape=request.has_body or bool(request.upgrade) or is_for_the_origin(request.fields),
            credential=self._resource.sharing.has_credential(request),
        )

    async def _bypass(self, request: Request, reason: BypassReason, about: About) -> Served:
        self._resource.bypassed(reason)
        return await self._pass_on(request, reason, about)

    async def _pass_on(
        self, request: Request, reason: str, about: About, *, within: float | None = None
    ) -> Served:
        detail = reason.removeprefix("bypass_").replace("_", "-")

        passage = Passage(
            self.route,
            note=cache_status.bypass(detail),
            on_outcome=self._invalidating.after(request),
            within=within,
        )
        return passed(await self._resource.passthrough.send(request, passage), self.route, "bypass", about)

    def _answered(self, request: Request, outcome: Found | NotFound, about: About) -> Served:
        now = self._resource.clock()
        entry = outcome.entry
        if isinstance(outcome, Found):
            self._resource.metrics.served_age(self._resource.name, entry.age(now))
        fields, body, status = _stored_fields(entry), entry.item or b"", entry.status
        if isinstance(outcome, Found):
            shown = answered(
                request.method,
                request.fields,
                status=status,
                stored=fields,
                body=body,
                received_at=entry.received_at,
                now=now,
            )
            if shown is not None:  # always so of a whole one
                status, fields, body = shown
        is_aged = outcome.source != "miss" or entry.initial_age >= 1
        fields += self._own_fields(entry.age(now) if is_aged else None, _cache_status(outcome, now))
        cache: Cache = "revalidated" if isinstance(outcome, Found) and outcome.validated else outcome.source
        return Served(Reply(status, fields, body), self.route, cache, about)

    def hit_fields(self, entry: Entry, now: float) -> list[RawField]:
        """The fields of a hit without conditions, but for its length."""
        fields = _stored_fields(entry)
        return fields + self._own_fields(entry.age(now), cache_status.hit(entry.ttl(now)))

    def _own_fields(self, seconds: float | None, status: bytes) -> list[RawField]:
        via: RawField = (b"Via", b"1.1 " + self._resource.upstream.via)
        aged = [] if seconds is None else [age(seconds)]
        return [via, *aged, (cache_status.NAME, status)]


def _cache_status(outcome: Found | NotFound, now: float) -> bytes:
    if outcome.source != "miss":
        return cache_status.hit(outcome.entry.ttl(now))
    validated = isinstance(outcome, Found) and outcome.validated
    return cache_status.forwarded(
        outcome.forward,
        stored=outcome.stored and not validated,
        collapsed=outcome.collapsed,
        fwd_status=_NOT_MODIFIED if validated else None,
    )


def _stored_fields(entry: Entry) -> list[RawField]:
    """The stored fields, with Content-Type and Date where the item came out of a bulk answer."""
    names = {name.lower() for name, _ in entry.headers}
    fields = list(entry.headers)
    if b"content-type" not in names and entry.item:
        fields.append((b"Content-Type", JSON))
    if b"date" not in names:
        fields.append(date(entry.received_at))
    return fields
