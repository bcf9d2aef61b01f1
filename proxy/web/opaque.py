"""The face of an opaque resource: GET and HEAD of any target that it claims, by the rules of RFC 9111.

Look up, decide, act: the policy (proxy/core/policy.py) decides as it does for entities. What is not answered from what
is held goes to the origin as a call of its own (proxy/opaque.py), and comes back to the client as it arrives
(proxy/web/opaque_misses.py).
"""

import asyncio

from msgspec.structs import replace

from proxy.core import cache_status, policy
from proxy.core.http import directives, validation
from proxy.core.http import fields as raw
from proxy.core.http.fields import RawField
from proxy.core.policy import Asked, Bypass, Decision, Hit, Miss, Revalidate, Stale
from proxy.messages import Request
from proxy.opaque import Want, can_be_confirmed
from proxy.outcomes import FORWARD
from proxy.web.opaque_misses import Misses
from proxy.web.opaque_showing import Exchange, OpaqueResource, Showing, shown_of, word
from proxy.web.passthrough import Passage
from proxy.web.served import About, Served, passed
from store.entry import Entry, Key

_PARTIAL_CONTENT = 206


class OpaqueHandler:
    """Answers requests for the targets of one opaque resource."""

    def __init__(self, resource: OpaqueResource) -> None:
        self._resource = resource
        self._showing = Showing(resource)
        self._misses = Misses(resource, self._showing)
        self.route = self._showing.route
        self.hit_fields = self._showing.hit_fields

    async def __call__(self, request: Request) -> Served:
        """Answer one request."""
        about = (Key(self._resource.name, request.target.decode("latin-1")),)
        if request.method not in {"GET", "HEAD"}:
            return await self._pass_on(request, "method", about)
        asked = self._asked(request)
        past = policy.bypass(asked)
        if past is not None:
            return await self._past(request, past, about)
        return await self._answered(request, asked, about)

    async def _answered(self, request: Request, asked: Asked, about: About) -> Served:
        """Look up, decide, act."""
        resource, target, now = self._resource, about[0].id, self._resource.clock()
        # As the origin sees them: what Connection lists selects nothing.
        fields, scope = tuple(raw.end_to_end(request.causing_fields)), resource.sharing.variant(request)
        selected = resource.origin.shelf.select(target, fields, scope)
        whole, part = selected.whole, selected.part
        resource.metrics.looked_up(resource.name, "memory", "miss" if whole is None else "hit")
        decision = self._decide(whole, asked, now, target)
        if part is not None and isinstance(decision, Miss | Revalidate | policy.Unsatisfied):
            of_part = self._decide(part, asked, now, target)
            if isinstance(of_part, Hit) and (shown := shown_of(request, part, now)) is not None:
                return self._showing.of_held(of_part, shown, about, now)
        want = self._want(request, fields, scope, decision, whole, part)
        if (
            isinstance(decision, Hit | Stale)
            and (shown := shown_of(request, decision.entry, now)) is not None
        ):
            if isinstance(decision, Stale) and decision.refresh:
                self._refresh(want, decision.entry, now)
            return self._showing.of_held(decision, shown, about, now)
        if not isinstance(decision, Miss | Revalidate | Bypass):
            return self._showing.not_held(about)
        resource.metrics.missed(resource.name, decision.reason)
        if isinstance(decision, Bypass):
            resource.sharing.bypassed()
        started = asyncio.get_running_loop().time()
        forward = _forward(decision, want, is_varied=selected.is_varied)
        return await self._misses.fetched(Exchange(request, want, asked, decision, forward, about, started))

    def _refresh(self, want: Want, entry: Entry, now: float) -> None:
        """Ask about what is stale, behind the answer. While it may be used instead of a failure, none replaces it."""
        _, if_error = policy.windows(entry, self._resource.policy)
        self._resource.origin.refresh(
            replace(
                want, method="GET", is_ranged=False, is_alone=False, has_fallback=-entry.ttl(now) < if_error
            )
        )

    def _asked(self, request: Request) -> Asked:
        fields = request.fields
        return Asked(
            directives=directives.of_request(fields),
            other_shape=request.has_body
            or bool(request.upgrade)
            or not request.target.startswith(b"/")
            or self._resource.sharing.is_hidden(request)
            or validation.is_for_the_origin(fields),
            credential=self._resource.sharing.has_credential(request),
        )

    def _decide(self, entry: Entry | None, asked: Asked, now: float, target: str) -> Decision:
        resource = self._resource
        evicted = entry is None and resource.origin.shelf.was_evicted(target)
        return policy.decide(entry, asked, resource.policy, now, evicted=evicted)

    def _want(
        self,
        request: Request,
        fields: tuple[RawField, ...],
        scope: str,
        decision: Decision,
        whole: Entry | None,
        part: Entry | None,
    ) -> Want:
        sharing = self._resource.sharing
        is_stranger = isinstance(decision, Bypass)  # what is held says nothing about what he may see
        held = None if is_stranger else whole
        has_range = bool(raw.values(fields, b"range")) and request.method == "GET"
        is_ranged = has_range and not (held is not None and can_be_confirmed(held))
        if held is None and part is not None and not is_stranger:
            held = part
        return Want(
            method=request.method,
            target=request.target,
            version=request.version,
            fields=fields,
            scope=scope,
            is_authorized=sharing.is_authorized(request),
            own_credential=sharing.fills_by_itself(request),
            held=held,
            is_ranged=is_ranged,
            is_conditional=is_stranger,
            has_fallback=isinstance(decision, Revalidate),
            is_alone=is_stranger or is_ranged or request.method == "HEAD",
        )

    async def _past(self, request: Request, past: Bypass | policy.Unsatisfied, about: About) -> Served:
        if isinstance(past, policy.Unsatisfied):
            return self._showing.not_held(about)
        self._resource.metrics.missed(self._resource.name, past.reason)
        return await self._pass_on(request, word(past.reason), about)

    async def _pass_on(self, request: Request, detail: str, about: About) -> Served:
        passage = Passage(
            self.route,
            note=cache_status.bypass(detail),
            on_outcome=self._resource.invalidating.after(request),
        )
        return passed(await self._resource.passthrough.send(request, passage), self.route, "bypass", about)


def _forward(decision: Miss | Revalidate | Bypass, want: Want, *, is_varied: bool) -> str:
    """Why the origin is asked, in the words of RFC 9211 section 2.2."""
    if isinstance(decision, Bypass):
        return "bypass"
    if want.held is not None and want.held.status == _PARTIAL_CONTENT:
        return "partial"
    if is_varied and decision.reason in {"never_seen", "evicted"}:
        return "vary-miss"
    return FORWARD[decision.reason]
