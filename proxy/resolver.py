"""The one verb: "give me these entities, under these conditions".

Look up, decide, act. The policy (proxy/core/policy.py) decides; this is the only place that acts on its decisions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from proxy.core import policy
from proxy.core.http.directives import PLAIN, RequestDirectives
from proxy.core.http.fields import RawField
from proxy.core.policy import Absent, Decision, Hit, Limits, Miss, MissReason, Revalidate
from proxy.fetcher import Failure, Loaded, Missing, PassOn, Refused, Result
from proxy.loader import Loader
from proxy.metrics import EntityResult, Metrics
from proxy.upstream import Fetched
from store.base import StoreError
from store.entry import Entry, Key
from store.tiered import TieredStore


@dataclass(frozen=True, slots=True)
class Found:
    """The entity, and where it came from."""

    entry: Entry
    source: Literal["hit", "stale", "miss"]
    forward: str = ""
    """Why it was fetched, in the words of RFC 9211 section 2.2, if it was."""
    stored: bool = True
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class NotFound:
    """The upstream says that there is none: just now (`miss`), or a moment ago (`negative`)."""

    entry: Entry
    source: Literal["negative", "miss"]
    forward: str = ""
    stored: bool = True
    collapsed: bool = False


Outcome = Found | NotFound


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of every id; when some id has no outcome, why the request as a whole can't be answered."""

    outcomes: dict[str, Outcome]
    passed: Fetched | None = None
    """The upstream's own answer, which is the answer to the request."""
    failure: str | None = None
    """The upstream failed for this reason, and there is no copy to fall back on."""
    pass_on: bool = False
    """The upstream's answer is beyond this cache: the request has to go through as it is."""
    forward: str = "uri-miss"
    """Why the upstream was asked for what can't be answered, in the words of RFC 9211 section 2.2."""
    counts: Counter[EntityResult] = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether every id has its outcome."""
        return self.passed is None and self.failure is None and not self.pass_on


class Resolver:
    """Resolves the entities of one resource."""

    def __init__(
        self,
        loader: Loader,
        store: TieredStore,
        limits: Limits,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.name = loader.name
        self._loader = loader
        self._limits = limits
        self._store = store
        self._metrics = metrics
        self._clock = clock

    async def resolve(
        self,
        ids: Sequence[str],
        directives: RequestDirectives = PLAIN,
        *,
        fields: Iterable[RawField] = (),
        single: bool = False,
        needs_representation: bool = False,
    ) -> Resolution:
        """Resolve ids, each of them once. `fields` go with a fill; `single` prefers the resource's single call.

        `needs_representation`: an absence that came without a body of its own does not answer this request.
        """
        entries = await self._look_up(ids)
        now = self._clock()
        decisions: dict[str, Decision] = {}
        for entity in ids:
            entry = entries.get(entity)
            if needs_representation and entry is not None and entry.absent and entry.item is None:
                entry = None
            decisions[entity] = self._decide(entity, entry, directives, now)
        asked = [entity for entity, decision in decisions.items() if isinstance(decision, Miss | Revalidate)]
        results: dict[str, Result] = {}
        if asked:
            self._count_misses(decisions[entity] for entity in asked)
            held = frozenset(entity for entity in asked if _is_held(entries.get(entity)))
            results = await self._loader.load(asked, held=held, fields=fields, single=single)
        resolution = _combine(decisions, results)
        self._metrics.entities(self.name, resolution.counts)
        return resolution

    async def invalidate(self, entity: str, source: str) -> None:
        """Drop an entity for every use; return once that is durable, or the database has failed to make it so.

        In this process it holds from the start of the call, whatever the database does.
        """
        self._loader.invalidate(entity)
        self._metrics.invalidated(self.name, source)
        with suppress(StoreError):  # counted where it happened
            await self._store.invalidate([Key(self.name, entity)])

    async def _look_up(self, ids: Sequence[str]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        absent: list[Key] = []
        for entity in ids:
            key = Key(self.name, entity)
            entry = self._store.peek(key)
            if entry is None:
                absent.append(key)
            else:
                entries[entity] = entry
        if absent:
            for key, entry in (await self._store.load(absent)).items():
                entries[key.id] = entry
        return entries

    def _decide(
        self, entity: str, entry: Entry | None, directives: RequestDirectives, now: float
    ) -> Decision:
        evicted = entry is None and self._store.evicted_recently(Key(self.name, entity))
        return policy.decide(entry, directives, self._limits, now, evicted=evicted)

    def _count_misses(self, decisions: Iterable[Decision]) -> None:
        reasons = Counter(
            decision.reason for decision in decisions if isinstance(decision, Miss | Revalidate)
        )
        for reason, count in reasons.items():
            self._metrics.missed(self.name, reason, count)


_FORWARD: dict[MissReason, str] = {
    "never_seen": "uri-miss",
    "evicted": "uri-miss",
    "invalidated": "uri-miss",
    "expired": "stale",
    "absence_expired": "stale",
    "no_cache": "request",
}


def _is_held(entry: Entry | None) -> bool:
    return entry is not None and entry.item is not None and not entry.absent


def _combine(decisions: dict[str, Decision], results: dict[str, Result]) -> Resolution:
    """Put what was held and what was fetched together, in the order that was asked for."""
    outcomes: dict[str, Outcome] = {}
    counts: Counter[EntityResult] = Counter()
    passed: Fetched | None = None
    failure: str | None = None
    pass_on = False
    forward: str | None = None
    for entity, decision in decisions.items():
        outcome = _outcome(decision, results.get(entity))
        if isinstance(outcome, Found | NotFound):
            outcomes[entity] = outcome
            counts[outcome.source] += 1
            continue
        counts["error"] += 1
        if forward is None and isinstance(decision, Miss | Revalidate):
            forward = _FORWARD[decision.reason]
        match outcome:
            case Refused(response):
                passed = response
            case Failure(reason, response):
                # The first failure speaks for all; one that the upstream put into words is preferred.
                failure = failure or reason
                passed = passed or response
            case PassOn():
                pass_on = True
    return Resolution(outcomes, passed, failure, pass_on, forward or "uri-miss", counts)


def _outcome(decision: Decision, result: Result | None) -> Outcome | Refused | Failure | PassOn:
    match decision, result:
        case Hit(entry), _:
            return Found(entry, "hit")
        case Absent(entry), _:
            return NotFound(entry, "negative")
        case Miss() | Revalidate(), Loaded(entry, stored, collapsed):
            return Found(entry, "miss", _FORWARD[decision.reason], stored=stored, collapsed=collapsed)
        case Miss() | Revalidate(), Missing(entry, stored, collapsed):
            return NotFound(entry, "miss", _FORWARD[decision.reason], stored, collapsed)
        case Revalidate(entry), Failure():
            return Found(entry, "stale")
        case _, Refused() | Failure() | PassOn():
            return result
        case _:
            raise RuntimeError("an id was asked for and got no result")
