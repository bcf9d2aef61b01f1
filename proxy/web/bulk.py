"""The bulk face: split a body into ids, resolve them, put the answer together in order."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from proxy.core import cache_status
from proxy.core.http import directives
from proxy.messages import Reply, Request
from proxy.metrics import Cache
from proxy.resolver import Found, NotFound, Resolution
from proxy.web.passthrough import Passage
from proxy.web.resource import JSON, UNAVAILABLE, Resource, age, date
from proxy.web.served import Served, passed
from store.entry import Key


class BulkHandler:
    """Answers `POST <bulk.path>` of one resource."""

    def __init__(self, resource: Resource) -> None:
        config = resource.config.bulk
        if config is None or resource.request_shape is None:
            raise ValueError(f"resources.{resource.name} has no bulk call")
        self.route = f"{resource.name}.bulk"
        self._resource = resource
        self._config = config
        self._request = resource.request_shape
        self._answer = resource.answer_shape

    async def __call__(self, request: Request) -> Served:
        """Answer one request: from the cache, by a fill, or by passing it on as it is."""
        reason = self._refused_by_head(request)
        if reason is not None:
            return await self._pass_on(request, reason)
        body, whole = await request.read_at_most(self._resource.limits.bulk_body)
        ids = self._request.parse(body) if whole else None
        if ids is None or (self._config.duplicates == "forward" and len(set(ids)) != len(ids)):
            return await self._pass_on(request, "bypass_shape", body, whole=whole)
        unique = tuple(dict.fromkeys(ids))
        resolution = await self._resource.resolver.resolve(
            unique, directives.of_request(request.fields), fields=self._resource.sharing.fill_fields(request)
        )
        if resolution.pass_on:
            served = await self._pass_on(request, None, body, whole=True)
        elif not resolution.complete:
            served = self._failed(resolution)
        else:
            served = self._assembled(ids if self._config.duplicates == "repeat" else unique, resolution)
        if len(unique) > 1:
            return served
        return replace(served, ref=self._resource.refs.of(Key(self._resource.name, unique[0])))

    def _refused_by_head(self, request: Request) -> str | None:
        """Why a request can't be answered from the cache, as far as its head says."""
        if b"?" in request.target:
            return "bypass_query"
        if self._resource.sharing.bypasses(request):
            return "bypass_credential"
        media_type = request.header("content-type").partition(";")[0].strip().lower()
        length = request.content_length
        is_json = media_type in {"", "application/json"} or media_type.endswith("+json")
        plain = is_json and not request.header("content-encoding")
        if not plain or (length is not None and length > self._resource.limits.bulk_body):
            return "bypass_shape"
        if directives.of_request(request.fields).no_store:
            return "no_cache"
        return None

    async def _pass_on(
        self, request: Request, reason: str | None, read: bytes = b"", *, whole: bool = False
    ) -> Served:
        """Stream a request on as it is; `reason` is a miss reason, or None if the answer's shape is at fault."""
        if reason is not None:
            self._resource.metrics.missed(self._resource.name, reason)
        detail = (reason or "uncacheable").removeprefix("bypass_").replace("_", "-")
        passage = Passage(self.route, read=read, read_all=whole, note=cache_status.bypass(detail))
        return passed(await self._resource.passthrough.send(request, passage), self.route, "bypass")

    def _failed(self, resolution: Resolution) -> Served:
        """Some id has no answer: a partial list would read as "not found", so the whole request fails."""
        if resolution.passed is not None:
            return Served(self._resource.relay(resolution.passed, resolution.forward), self.route, "error")
        return Served(Reply.of_problem(UNAVAILABLE), self.route, "error")

    def _assembled(self, ids: Sequence[str], resolution: Resolution) -> Served:
        now = self._resource.clock()
        outcomes = resolution.outcomes
        listed = [outcome.entry for entity in ids if isinstance(outcome := outcomes[entity], Found)]
        body = self._answer.assemble(entry.item for entry in listed if entry.item is not None)
        oldest = max((entry.age(now) for entry in listed), default=0.0)
        if listed:
            self._resource.metrics.served_age(self._resource.name, oldest)
        fields = [
            (b"Content-Type", JSON),
            date(now),
            age(oldest),
            (cache_status.NAME, _cache_status(outcomes.values(), resolution, now)),
        ]
        return Served(Reply(self._config.status, fields, body), self.route, _cache_label(resolution))


def _cache_status(outcomes: Iterable[Found | NotFound], resolution: Resolution, now: float) -> bytes:
    counts = resolution.counts
    fetched = [outcome for outcome in outcomes if outcome.source == "miss"]
    if not fetched:
        return cache_status.hit(min(outcome.entry.ttl(now) for outcome in resolution.outcomes.values()))
    if len(fetched) == len(resolution.outcomes):
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
    if counts["miss"]:
        return "miss" if counts["miss"] == len(resolution.outcomes) else "partial"
    if counts["stale"]:
        return "stale"
    return "hit" if counts["hit"] else "negative"
