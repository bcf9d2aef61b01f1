"""The one verb: "give me these entities, under these conditions".

Look up, decide, act. The policy (proxy/core/policy.py) decides; this is the only place that acts on its decisions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from cachetools import TTLCache

from proxy.core import policy
from proxy.core.http.directives import RequestDirectives
from proxy.core.http.fields import RawField
from proxy.core.policy import Asked, Bypass, Decision, Hit, Limits, Miss, Revalidate, Stale, Unsatisfied
from proxy.loader import Loader, Want
from proxy.metrics import EntityResult, Metrics
from proxy.outcomes import (
    Found,
    Resolution,
    as_data,
    combine,
    fallen_back,
    is_shown,
    not_ended,
    representations,
)
from store.base import StoreError
from store.entry import Entry, Key
from store.slot import Slot
from store.tiered import TieredStore

_ASKED = Asked()
_ONE_HIT: Mapping[EntityResult, int] = {"hit": 1}
_NO_CACHE = Asked(directives=RequestDirectives(no_cache=True))
# Who has just registered must be able to log in: an absence is doubted as often as this, in seconds, by those who may.
_DOUBT_EVERY = 1.0
# Ids of which it is remembered that they were asked for again. One beyond may be asked for more often.
_DOUBTED_IDS = 8192


class Resolver:
    """Resolves the entities of one resource. `patience`: how long a request waits that has a copy, in seconds.

    `on_invalidated(key, source)` is told of each invalidation. `own_for`: where each credential has copies of its own,
    the seconds after receipt for which one counts.
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
        own_for: float | None = None,
    ) -> None:
        self.name = loader.name
        self._loader = loader
        self._limits = limits
        self._store = store
        self._patience = patience
        self._on_invalidated = on_invalidated
        self._metrics = metrics
        self._clock = clock
        self._own_for = own_for
        self.on_served: Callable[[Iterable[Entry], float], None] | None = None
        """Told of the copies that answer a request, and when; of those that the fast lane answers with over and over
        again, once a second."""
        self.on_let_go: Callable[[str], None] = lambda _entity: None
        """Told of what is erased."""
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
            entries = {entity: entry for entity, entry in entries.items() if is_shown(entry)}
        decisions = self._decide(keys, entries, asked)
        for decision in decisions.values():
            if isinstance(decision, Bypass):
                return Resolution(bypass=decision.reason)
            if isinstance(decision, Unsatisfied):
                return Resolution(unsatisfied=True)
        if all(isinstance(decision, Hit) for decision in decisions.values()):
            return self._counted(decisions, combine(decisions, {}))
        want = Want(
            ids=[entity for entity, decision in decisions.items() if isinstance(decision, Miss | Revalidate)],
            held=representations(entries),
            variant=variant,
            fields=tuple(fields),
            single=single,
            usable=frozenset(
                entity for entity, decision in decisions.items() if isinstance(decision, Revalidate)
            ),
            patience=self._patience,
            forced=any(_is_forced(decision) for decision in decisions.values()),
        )
        self._refresh(decisions, want)
        results = await self._loader.load(want) if want.ids else {}
        if variant and self._own_for is not None:
            decisions, results = not_ended(decisions, results, self._clock() - self._own_for)
        return self._counted(decisions, combine(decisions, results))

    def hits(self, ids: Sequence[str], now: float) -> list[Slot] | None:
        """The places in memory of these ids if a plain request for them is a hit, each id of it: what is fresh answers
        whoever asks for no more (`policy.decide`). What memory lacks is read, if that takes no waiting."""
        if self._store.is_doubtful:
            return None
        memory = self._store.memory
        slots = memory.fresh(self.name, ids, now)
        if slots is not None:
            self._answer_with(slots, now)
            return slots
        lacking = memory.lacking(self.name, ids, now)
        keys = [Key(self.name, entity) for entity in lacking or ()]
        if not keys or not self._store.take_now(keys):
            return None
        slots = memory.fresh(self.name, ids, now)
        # Whoever looks next finds them in memory, and counts that.
        taken = keys if slots is not None else [key for key in keys if memory.look_at(key) is not None]
        self._metrics.read_ahead(self.name, len(taken))
        self._answer_with(slots or (), now)
        return slots

    @property
    def is_doubtful(self) -> bool:
        """Whether others may have changed what memory has, and nothing is heard of them."""
        return self._store.is_doubtful

    def use(self, slots: Sequence[Slot], now: float) -> None:
        """What is in these places has answered again."""
        self._store.memory.use(slots, now)
        self._answer_with(slots, now)

    def _answer_with(self, slots: Iterable[Slot], now: float) -> None:
        if self.on_served is not None:
            self.on_served([entry for slot in slots if (entry := slot.entry) is not None], now)

    def is_hit(self, entry: Entry) -> bool:
        """Whether what memory has answers a plain request; counted as a hit then, and not at all otherwise."""
        now = self._clock()
        entry = self._store.believed(entry, now)
        if not isinstance(policy.decide(entry, _ASKED, self._limits, now), Hit):
            return False
        self._metrics.looked_up(self.name, "memory", "hit")
        self._metrics.entities(self.name, _ONE_HIT)
        if self.on_served is not None:
            self.on_served((entry,), now)
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
        held = representations(entries)
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
        results = as_data(await self._loader.load(want)) if want.ids else {}
        final = fallen_back(decisions, results, entries, self._clock())
        return self._counted(decisions, combine(final, results))

    async def refresh(self, entity: str, *, fields: Iterable[RawField] = ()) -> Resolution:
        """Fetch an entity by a call that begins after this one did; nothing that is held stands in for it."""
        keys = {entity: Key(self.name, entity)}
        entries = await self._look_up(keys)
        decision = self._decide(keys, entries, _NO_CACHE)[entity]
        if isinstance(decision, Revalidate):
            decision = Miss(decision.reason)
        held = representations(entries)
        want = Want([entity], held, fields=tuple(fields), as_data=True, anew=True)
        results = as_data(await self._loader.load(want))
        return self._counted({entity: decision}, combine({entity: decision}, results))

    def refetch(self, entity: str) -> None:
        """Fetch an entity of which nothing is held any more, behind whatever goes on."""
        self._loader.refresh(Want([entity], {}))

    def let_go(self, entity: str) -> None:
        """The entity was erased: what has not been asked for yet on its behalf is not asked for."""
        self._loader.let_go(entity)
        self.on_let_go(entity)

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
            if entry is not None:
                entry = self._store.believed(entry, now)
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
        if self.on_served is not None and resolution.complete:  # what has failed has shown no copy
            copies = [
                outcome.entry
                for outcome in resolution.outcomes.values()
                if isinstance(outcome, Found) and outcome.source != "miss"
            ]
            self.on_served(copies, self._clock())
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


def _is_forced(decision: Decision) -> bool:
    """Whether the request wants the upstream asked, whoever has asked it before."""
    return isinstance(decision, Miss | Revalidate) and decision.reason == "no_cache"
