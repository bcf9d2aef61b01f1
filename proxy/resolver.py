"""The one verb: "give me these entities, under these conditions".

Look up, decide, act. The policy (proxy/core/policy.py) decides; this is the only place that acts on its decisions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from cachetools import TTLCache

from proxy.core import policy
from proxy.core.http.directives import RequestDirectives
from proxy.core.http.fields import RawField
from proxy.core.policy import (
    Absent,
    Asked,
    Bypass,
    BypassReason,
    Decision,
    Hit,
    Limits,
    Miss,
    MissReason,
    Revalidate,
    Stale,
    Unsatisfied,
)
from proxy.exchange import Fetched
from proxy.loader import Loader, Want
from proxy.metrics import EntityResult, Metrics
from proxy.results import Failure, Loaded, Missing, PassOn, Refused, Result
from store.base import StoreError
from store.entry import Entry, Key
from store.tiered import TieredStore

_ASKED = Asked()
_ONE_HIT: Mapping[EntityResult, int] = {"hit": 1}
_NO_CACHE = Asked(directives=RequestDirectives(no_cache=True))
# Who has just registered must be able to log in: an absence is doubted as often as this, in seconds, by those who may.
_DOUBT_EVERY = 1.0
# Ids of which it is remembered that they were asked for again. One beyond may be asked for more often.
_DOUBTED_IDS = 8192


@dataclass(frozen=True, slots=True)
class Found:
    """The entity, and where it came from."""

    entry: Entry
    source: Literal["hit", "stale", "miss"]
    forward: str = ""
    """Why it was fetched, in the words of RFC 9211 section 2.2, if it was."""
    stored: bool = True
    collapsed: bool = False
    validated: bool = False
    """The upstream said 304: what we hold is still good."""


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

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    passed: Fetched | None = None
    """The upstream's own answer, which is the answer to the request."""
    failure: str | None = None
    """There is no usable answer, for this reason, and no copy to fall back on."""
    retry_after: float | None = None
    """Seconds after which it is worth asking again, if the failure says so."""
    bypass: BypassReason | None = None
    """The request has to go through as it is: what is held is not for it."""
    pass_on: bool = False
    """The same: the upstream's answer is beyond this cache."""
    unsatisfied: bool = False
    """The request wants what is held alone, and that is not enough."""
    forward: str = "uri-miss"
    """Why the upstream was asked for what can't be answered, in the words of RFC 9211 section 2.2."""
    counts: Counter[EntityResult] = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether every id has its outcome."""
        return not (self.passed or self.failure or self.bypass or self.pass_on or self.unsatisfied)


class Resolver:
    """Resolves the entities of one resource. `patience`: how long a request waits that has a copy, in seconds.

    `on_invalidated(key, source)` is told of each invalidation.
    """

    def __init__(
        self,
        loader: Loader,
        store: TieredStore,
        limits: Limits,
        *,
        patience: float,
        metrics: Metrics,
        on_invalidated: Callable[[Key, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.name = loader.name
        self._loader = loader
        self._limits = limits
        self._store = store
        self._patience = patience
        self._on_invalidated = on_invalidated
        self._metrics = metrics
        self._clock = clock
        self._doubted: TTLCache[str, None] = TTLCache(_DOUBTED_IDS, _DOUBT_EVERY, timer=clock)

    async def resolve(
        self,
        ids: Sequence[str],
        asked: Asked = _ASKED,
        *,
        fields: Iterable[RawField] = (),
        variant: str = "",
        single: bool = False,
    ) -> Resolution:
        """Resolve ids, each of them once. `fields` go with a fill; `variant` is the digest of the key fields.

        `single`: one id is asked for, its representation is to be shown, and the resource's single call preferred.
        """
        keys = {entity: Key(self.name, entity, variant) for entity in ids}
        entries = await self._look_up(keys)
        if single:
            entries = {entity: entry for entity, entry in entries.items() if _is_shown(entry)}
        decisions = self._decide(keys, entries, asked)
        for decision in decisions.values():
            if isinstance(decision, Bypass):
                return Resolution(bypass=decision.reason)
            if isinstance(decision, Unsatisfied):
                return Resolution(unsatisfied=True)
        if all(isinstance(decision, Hit) for decision in decisions.values()):
            return self._counted(decisions, _combine(decisions, {}))
        want = Want(
            ids=[entity for entity, decision in decisions.items() if isinstance(decision, Miss | Revalidate)],
            held=_held(entries),
            variant=variant,
            fields=tuple(fields),
            single=single,
            usable=frozenset(
                entity for entity, decision in decisions.items() if isinstance(decision, Revalidate)
            ),
            patience=self._patience,
        )
        self._refresh(decisions, want)
        results = await self._loader.load(want) if want.ids else {}
        return self._counted(decisions, _combine(decisions, results))

    def is_hit(self, entry: Entry) -> bool:
        """Whether what memory has answers a plain request; counted as a hit then, and not at all otherwise."""
        if not isinstance(policy.decide(entry, _ASKED, self._limits, self._clock()), Hit):
            return False
        self._metrics.looked_up(self.name, "memory", "hit")
        self._metrics.entities(self.name, _ONE_HIT)
        return True

    async def ensure(self, ids: Sequence[str], *, fields: Iterable[RawField] = ()) -> Resolution:
        """Resolve ids, each of them once, for who keeps them as its local copy.

        Differs from `resolve` in what it takes for an answer: any copy, however old, rather than a failure; what can't
        be held as well as what can; but an absence only if the upstream was asked not long ago. When some id has no
        outcome, the others have theirs all the same.
        """
        keys = {entity: Key(self.name, entity) for entity in ids}
        entries = await self._look_up(keys)
        decisions = self._decide(keys, entries, _ASKED, doubting=True)
        held = _held(entries)
        wanted = [entity for entity, decision in decisions.items() if isinstance(decision, Miss | Revalidate)]
        want = Want(
            ids=wanted,
            held=held,
            fields=tuple(fields),
            usable=frozenset(held).intersection(wanted),
            patience=self._patience,
            as_data=True,
        )
        self._refresh(decisions, want)
        results = _as_data(await self._loader.load(want)) if want.ids else {}
        final = _fallen_back(decisions, results, entries, self._clock())
        return self._counted(decisions, _combine(final, results))

    async def refresh(self, entity: str, *, fields: Iterable[RawField] = ()) -> Resolution:
        """Fetch an entity by a call that begins after this one did; nothing that is held stands in for it."""
        keys = {entity: Key(self.name, entity)}
        entries = await self._look_up(keys)
        decision = self._decide(keys, entries, _NO_CACHE)[entity]
        if isinstance(decision, Revalidate):
            decision = Miss(decision.reason)
        held = _held(entries)
        want = Want([entity], held, fields=tuple(fields), as_data=True, anew=True)
        results = _as_data(await self._loader.load(want))
        return self._counted({entity: decision}, _combine({entity: decision}, results))

    def let_go(self, entity: str) -> None:
        """The entity was erased: what has not been asked for yet on its behalf is not asked for."""
        self._loader.let_go(entity)

    async def explain(self, entity: str) -> tuple[Entry | None, Decision, bool]:
        """What is held of an entity; what a plain request for it would come to now; and whether, the upstream having
        to be asked, the request would be passed on as it is. Nothing is fetched."""
        keys = {entity: Key(self.name, entity)}
        entries = await self._look_up(keys)
        decision = self._decide(keys, entries, _ASKED)[entity]
        return entries.get(entity), decision, self._loader.passes_on(entity)

    def _decide(
        self, keys: Mapping[str, Key], entries: Mapping[str, Entry], asked: Asked, *, doubting: bool = False
    ) -> dict[str, Decision]:
        now = self._clock()
        backing_off = self._loader.backing_off
        decisions: dict[str, Decision] = {}
        for entity, key in keys.items():
            entry = entries.get(entity)
            evicted = entry is None and self._store.evicted_recently(key)
            decisions[entity] = policy.decide(
                entry,
                asked,
                self._limits,
                now,
                evicted=evicted,
                backing_off=backing_off,
                doubted=doubting and entry is not None and entry.absent and self._doubt(entity, entry, now),
            )
        return decisions

    def _doubt(self, entity: str, absence: Entry, now: float) -> bool:
        """Whether to ask again about what is remembered as absent: once a second, or with whoever asks already."""
        if self._loader.is_under_way(entity):
            return True
        if absence.age(now) < _DOUBT_EVERY or entity in self._doubted:
            return False
        self._doubted[entity] = None
        return True

    def _refresh(self, decisions: Mapping[str, Decision], want: Want) -> None:
        """Have what is stale fetched behind the answer."""
        ids = [entity for entity, found in decisions.items() if isinstance(found, Stale) and found.refresh]
        if ids:
            self._loader.refresh(Want(ids, want.held, want.variant, want.fields, want.single))

    def _counted(self, decisions: Mapping[str, Decision], resolution: Resolution) -> Resolution:
        if resolution.pass_on:
            return resolution
        reasons = Counter(
            decision.reason for decision in decisions.values() if isinstance(decision, Miss | Revalidate)
        )
        for reason, count in reasons.items():
            self._metrics.missed(self.name, reason, count)
        self._metrics.entities(self.name, resolution.counts)
        return resolution

    async def invalidate(self, entity: str, source: str) -> None:
        """Drop an entity for every use; return once that is durable, or the database has failed to make it so.

        In this process it holds from the start of the call, whatever the database does.
        """
        key = Key(self.name, entity)
        self._on_invalidated(key, source)
        with suppress(StoreError):  # counted where it happened
            await self._store.invalidate([key])

    async def _look_up(self, keys: Mapping[str, Key]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        absent: list[Key] = []
        for entity, key in keys.items():
            entry = self._store.peek(key)
            if entry is None:
                absent.append(key)
            else:
                entries[entity] = entry
        if absent:
            loaded = await self._store.load(absent)
            # What memory had before the wait may have been dropped since.
            entries = {entity: entry for entity in entries if (entry := self._store.memory.get(keys[entity]))}
            entries |= {key.id: entry for key, entry in loaded.items()}
        return entries


_FORWARD: dict[MissReason, str] = {
    "never_seen": "uri-miss",
    "evicted": "uri-miss",
    "invalidated": "uri-miss",
    "expired": "stale",
    "absence_expired": "stale",
    "no_cache": "request",
}


def _held(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The representations among them."""
    return {entity: entry for entity, entry in entries.items() if _is_held(entry)}


def _is_held(entry: Entry) -> bool:
    return entry.item is not None and not entry.absent


def _is_shown(entry: Entry) -> bool:
    """An absence that came out of a bulk answer has no representation: it does not answer a GET."""
    return not entry.absent or entry.item is not None


def _as_data(results: Mapping[str, Result]) -> dict[str, Result]:
    """Results for who wants the entities and not the responses."""
    return {
        entity: result.answer or Failure("uncacheable") if isinstance(result, PassOn) else result
        for entity, result in results.items()
    }


def _fallen_back(
    decisions: Mapping[str, Decision], results: Mapping[str, Result], entries: Mapping[str, Entry], now: float
) -> dict[str, Decision]:
    """The decisions, with what is held in place of what failed."""
    changed: dict[str, Decision] = {}
    for entity, result in results.items():
        entry = entries.get(entity)
        if entry is None or isinstance(result, Loaded | Missing):
            continue
        if entry.absent and entry.ttl(now) > 0:
            changed[entity] = Absent(entry)
        elif _is_held(entry):
            changed[entity] = Stale(entry, "stale_if_error")
    return {**decisions, **changed}


def _combine(decisions: Mapping[str, Decision], results: Mapping[str, Result]) -> Resolution:
    """Put what was held and what was fetched together, in the order that was asked for."""
    outcomes: dict[str, Outcome] = {}
    counts: Counter[EntityResult] = Counter()
    passed: Fetched | None = None
    failure: Failure | None = None
    forward: str | None = None
    for entity, decision in decisions.items():
        if isinstance(decision, Hit):  # most are, and there may be many
            outcomes[entity] = Found(decision.entry, "hit")
            counts["hit"] += 1
            continue
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
            case Failure():
                # The first failure speaks for all; one that the upstream put into words is preferred.
                failure = failure or outcome
                passed = passed or outcome.response
            case PassOn():
                return Resolution(pass_on=True)
    reason, wait = (None, None) if failure is None else (failure.reason, failure.retry_after)
    return Resolution(outcomes, passed, reason, wait, forward=forward or "uri-miss", counts=counts)


def _outcome(decision: Decision, result: Result | None) -> Outcome | Refused | Failure | PassOn:
    match decision, result:
        case Stale(entry), _:
            return Found(entry, "stale")
        case Absent(entry), _:
            return NotFound(entry, "negative")
        case Miss() | Revalidate(), Loaded(entry, stored, collapsed, validated):
            return Found(entry, "miss", _FORWARD[decision.reason], stored, collapsed, validated)
        case Miss() | Revalidate(), Missing(entry, stored, collapsed):
            return NotFound(entry, "miss", _FORWARD[decision.reason], stored, collapsed)
        case Revalidate(entry), Failure():
            return Found(entry, "stale")
        case _, Refused() | Failure() | PassOn():
            return result
        case _:
            raise RuntimeError("an id was asked for and got no result")
