"""Answers of an opaque resource: of what is held, or of the origin, and what each says of itself."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from config.model import LimitsConfig
from proxy.core import cache_status
from proxy.core.http import fields as raw
from proxy.core.http.answering import Answered as Shown
from proxy.core.http.answering import answered
from proxy.core.http.fields import RawField
from proxy.core.policy import Asked, Bypass, BypassReason, Hit, Limits, Miss, Revalidate, Stale
from proxy.fill import Answered
from proxy.messages import Answer, Reply, Request
from proxy.metrics import Cache, EntityResult, Metrics
from proxy.opaque import Opaque, Want
from proxy.upstream import Upstream
from proxy.web.invalidating import Invalidating
from proxy.web.passthrough import PassThrough
from proxy.web.resource import NOT_HELD, age, date
from proxy.web.served import About, Served
from proxy.web.sharing import Sharing
from store.entry import Entry

_NO_CONTENT = 204
# How a request counts, by what the cache had to do with it.
_RESULTS: dict[Cache, EntityResult] = {
    "hit": "hit",
    "stale": "stale",
    "miss": "miss",
    "revalidated": "miss",
    "error": "error",
}


class OpaqueResource(Struct, frozen=True):
    """One opaque resource with all that answers for it. `clock` gives epoch seconds."""

    name: str
    origin: Opaque
    upstream: Upstream
    policy: Limits
    patience: float
    """Seconds that a request waits for the origin which has a usable stale response."""
    sharing: Sharing
    passthrough: PassThrough
    invalidating: Invalidating
    limits: LimitsConfig
    metrics: Metrics
    clock: Callable[[], float]


class Exchange(Struct, frozen=True):
    """One request on its way to the origin."""

    request: Request
    want: Want
    asked: Asked
    decision: Miss | Revalidate | Bypass
    forward: str
    """Why the origin is asked, in the words of RFC 9211 section 2.2."""
    about: About
    started: float
    """The loop's time."""

    @property
    def target(self) -> str:
        """The raw target, byte for byte a character."""
        return self.about[0].id

    @property
    def usable(self) -> Entry | None:
        """The stale response that may answer it if the origin does not."""
        return self.decision.entry if isinstance(self.decision, Revalidate) else None

    @property
    def label(self) -> Cache:
        """How it counts if the origin answers."""
        return "bypass" if isinstance(self.decision, Bypass) else "miss"


class Showing:
    """Makes the answers of one resource, and counts them."""

    def __init__(self, resource: OpaqueResource) -> None:
        self.route = f"{resource.name}.single"
        self._resource = resource

    def of_held(self, decision: Hit | Stale, shown: Shown, about: About, now: float) -> Served:
        """What is held, as it is."""
        note = cache_status.hit(decision.entry.ttl(now))
        cache: Cache = "hit" if isinstance(decision, Hit) else "stale"
        return self.of_entry(decision.entry, shown, note, cache, about, now)

    def of_entry(
        self,
        entry: Entry,
        shown: Shown,
        note: bytes,
        cache: Cache,
        about: About,
        now: float,
        *,
        is_aged: bool = True,
    ) -> Served:
        """What a request gets of an entry; `is_aged`: the origin has not spoken to this very request."""
        self._resource.metrics.served_age(self._resource.name, entry.age(now))
        seconds = entry.age(now) if is_aged or entry.initial_age >= 1 else None
        fields = shown.fields + self._own_fields(entry, seconds, note)
        return self.counted(Reply(shown.status, fields, shown.body), cache, about)

    def hit_fields(self, entry: Entry, now: float) -> list[RawField]:
        """The fields of a hit of the whole, but for its length."""
        return list(entry.headers) + self._own_fields(entry, entry.age(now), cache_status.hit(entry.ttl(now)))

    def _own_fields(self, entry: Entry, seconds: float | None, note: bytes) -> list[RawField]:
        dated = [] if raw.values(entry.headers, b"date") else [date(entry.received_at)]
        via: RawField = (b"Via", b"1.1 " + self._resource.upstream.via)
        aged = [] if seconds is None else [age(seconds)]
        return [*dated, via, *aged, (cache_status.NAME, note)]

    def relayed(self, begun: Answered, exchange: Exchange, *, is_kept: bool) -> list[RawField]:
        """The fields of the origin's own answer, for who has caused it."""
        head = begun.head
        fields = raw.response_fields(
            head.fields, via=b"%d.%d %b" % (*head.version, self._resource.upstream.via)
        )
        if head.status == _NO_CONTENT:  # RFC 9110 section 8.6
            fields = [field for field in fields if field[0].lower() != b"content-length"]
        if not raw.values(head.fields, b"date"):
            fields.append(date(self._resource.clock()))  # RFC 9110 section 6.6.1
        if isinstance(exchange.decision, Bypass):
            note = cache_status.bypass(word(exchange.decision.reason), stored=is_kept)
        else:
            note = cache_status.forwarded(
                exchange.forward, stored=is_kept, fwd_status=None if is_kept else head.status
            )
        return [*fields, (cache_status.NAME, note)]

    def not_held(self, about: About) -> Served:
        """Only what is held was wanted, and that is nothing."""
        return self.counted(Reply.of_problem(NOT_HELD), "error", about)

    def counted(self, answer: Answer, cache: Cache, about: About) -> Served:
        """The answer, counted as how the request for one response was answered."""
        result = _RESULTS.get(cache)
        if result is not None:
            self._resource.metrics.entities(self._resource.name, {result: 1})
        return Served(answer, self.route, cache, about)


def shown_of(
    request: Request, entry: Entry, now: float, fields: Sequence[RawField] | None = None
) -> Shown | None:
    """What a request gets of a stored response, or of these fields of it; None if it is none for it."""
    return answered(
        request.method,
        request.fields,
        status=entry.status,
        stored=entry.headers if fields is None else fields,
        body=entry.item or b"",
        received_at=entry.received_at,
        now=now,
    )


def word(reason: BypassReason) -> str:
    """A reason as it stands in Cache-Status."""
    return reason.removeprefix("bypass_").replace("_", "-")
