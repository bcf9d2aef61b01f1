"""The bulk face: split a body into ids, resolve them, put the answer together in order."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from proxy.core import cache_status, policy
from proxy.core.http import directives
from proxy.core.http.fields import RawField
from proxy.core.http.plain import is_json
from proxy.core.http.validation import is_conditional
from proxy.core.policy import Asked, BypassReason, Unsatisfied
from proxy.messages import Reply, Request
from proxy.metrics import Cache
from proxy.outcomes import Found, Resolution
from proxy.web.passthrough import Passage, ReadAhead
from proxy.web.resource import JSON, NOT_HELD, Resource, age, date
from proxy.web.served import About, Served, passed
from store.entry import Entry, Key

_NOT_MODIFIED = 304


class BulkHandler:
    """Answers `POST <bulk.path>` of one resource."""

    def __init__(self, resource: Resource) -> None:
        config = resource.config.bulk
        if config is None or resource.request_shape is None:
            raise ValueError(f"resources.{resource.name} has no bulk call")
        self.route = f"{resource.name}.bulk"
        self.claim = config.method, str(config.path).encode()
        """Method and path of the calls that it answers."""
        self._resource = resource
        self._config = config
        self._request = resource.request_shape
        self._answer = resource.answer_shape

    async def __call__(self, request: Request) -> Served:
        """Answer one request: from the cache, by a fill, or by passing it on as it is."""
        resource = self._resource
        asked = self._asked(request)
        past = policy.bypass(asked)
        if isinstance(past, Unsatisfied):
            return Served(Reply.of_problem(NOT_HELD), self.route, "error")
        if past is not None:
            return await self._passed_on(request, self._bypass(past.reason))
        with resource.buffered.share() as share:
            read = ReadAhead(*await request.read_at_most(resource.limits.bulk_body, share), share)
            found = await self._looked_into(request, asked, read)
            if isinstance(found, Served):
                return found
            # Here, where what was made of the body is gone: the body itself goes, too, when it is sent.
            return await self._passed_on(request, *found)

    async def _looked_into(
        self, request: Request, asked: Asked, read: ReadAhead
    ) -> Served | tuple[Passage, About]:
        """Answer a request of which that was read, or say how it is passed on: what is too much to be held is."""
        resource = self._resource
        ids = self._request.parse(read.data) if read.is_whole else None
        if ids is None or (self._config.duplicates == "forward" and len(set(ids)) != len(ids)):
            return self._bypass("bypass_shape", read), ()
        unique = tuple(dict.fromkeys(ids))
        started = asyncio.get_running_loop().time()
        resolution = await resource.resolver.resolve(
            unique,
            asked,
            fields=resource.sharing.fill_fields(request),
            variant=resource.sharing.variant(request),
        )
        about = (Key(resource.name, unique[0]),) if len(unique) == 1 else ()
        if resolution.bypass is not None:
            return self._bypass(resolution.bypass, read), about
        if resolution.pass_on:
            return self._passage("uncacheable", read, within=resource.time_left(started)), about
        if not resolution.complete:
            # A partial list would read as "not found", so the whole request fails.
            served = Served(resource.failure(resolution, single=False), self.route, "error")
        else:
            served = self._assembled(ids if self._config.duplicates == "repeat" else unique, resolution)
        return replace(served, about=about)

    def _asked(self, request: Request) -> Asked:
        """The request, as far as its head says."""
        length = request.content_length
        media_type = request.header("content-type").encode("utf-8", "surrogateescape")
        plain = (
            is_json(media_type)
            and not request.header("content-encoding")
            and not is_conditional(request.fields)
        )
        return Asked(
            directives=directives.of_request(request.fields),
            query=b"?" in request.target,
            other_shape=not plain or (length is not None and length > self._resource.limits.bulk_body),
            credential=self._resource.sharing.has_credential(request),
        )

    def _bypass(self, reason: BypassReason, read: ReadAhead | None = None) -> Passage:
        self._resource.bypassed(reason)
        return self._passage(reason, read)

    def _passage(self, reason: str, read: ReadAhead | None, *, within: float | None = None) -> Passage:
        detail = reason.removeprefix("bypass_").replace("_", "-")
        return Passage(self.route, read=read, note=cache_status.bypass(detail), within=within)

    async def _passed_on(self, request: Request, passage: Passage, about: About = ()) -> Served:
        """Stream a request on as it is, with what was read of it."""
        answer = await self._resource.passthrough.send(request, passage)
        return passed(answer, self.route, "bypass", about)

    def _assembled(self, ids: Sequence[str], resolution: Resolution) -> Served:
        now = self._resource.clock()
        outcomes = resolution.outcomes
        listed = [outcome.entry for entity in ids if isinstance(outcome := outcomes[entity], Found)]
        body = self._answer.assemble(entry.item for entry in listed if entry.item is not None)
        oldest = max((entry.age(now) for entry in listed), default=0.0)
        if listed:
            self._resource.metrics.served_age(self._resource.name, oldest)
        fields = _fields(oldest, _cache_status(resolution, now), now)
        return Served(Reply(self._config.status, fields, body), self.route, _cache_label(resolution))

    @staticmethod
    def hit_fields(oldest: Entry, soonest: Entry, now: float) -> list[RawField]:
        """The fields of an answer of hits alone, but for its length: of its entries `oldest` has the greatest age, and
        the freshness of `soonest` ends first."""
        return _fields(oldest.age(now), cache_status.hit(soonest.ttl(now)), now)


def _fields(oldest: float, status: bytes, now: float) -> list[RawField]:
    return [(b"Content-Type", JSON), date(now), age(oldest), (cache_status.NAME, status)]


def _is_validated(resolution: Resolution) -> bool:
    """Whether the upstream said 304 to all that was asked: to a bulk of one, that is."""
    return all(isinstance(found, Found) and found.validated for found in resolution.outcomes.values())


def _cache_status(resolution: Resolution, now: float) -> bytes:
    counts, outcomes = resolution.counts, resolution.outcomes.values()
    if not counts["miss"]:
        return cache_status.hit(min(outcome.entry.ttl(now) for outcome in outcomes))
    fetched = [outcome for outcome in outcomes if outcome.source == "miss"]
    if _is_validated(resolution):
        return cache_status.forwarded(fetched[0].forward, stored=False, fwd_status=_NOT_MODIFIED)
    if len(fetched) == len(outcomes):
        stored = all(outcome.stored for outcome in fetched)
        collapsed = any(outcome.collapsed for outcome in fetched)
        reasons = {outcome.forward for outcome in fetched}
        reason = reasons.pop() if len(reasons) == 1 else "miss"
        return cache_status.forwarded(reason, stored=stored, collapsed=collapsed)
    return cache_status.partial(
        hit=counts["hit"], stale=counts["stale"], negative=counts["negative"], miss=counts["miss"]
    )


def _cache_label(resolution: Resolution) -> Cache:
    """One word for the answer as a whole."""
    counts = resolution.counts
    if _is_validated(resolution):
        return "revalidated"
    if counts["miss"]:
        return "miss" if counts["miss"] == len(resolution.outcomes) else "partial"
    if counts["stale"]:
        return "stale"
    return "hit" if counts["hit"] else "negative"
