"""One upstream call for entities of a resource, and what its answer means: stored, absent, refused, failed.

What may be kept is put into the store here. Ids that were invalidated while the call was under way are left out.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cachetools import TTLCache

from config.model import ResourceConfig
from proxy.core import bulk
from proxy.core.http.fields import RawField, end_to_end
from proxy.core.http.freshness import is_for_one_caller, lifetime
from proxy.metrics import Metrics
from proxy.upstream import Fetched, Upstream
from store.entry import Column, Entry, Key, Write
from store.tiered import TieredStore

# How long what can't be held or put together goes straight to its upstream before we look again.
_PASS_ON_SECONDS = 5.0
# Ids that are marked so; an upstream that allows nothing to be stored would mark every one.
_UNCACHEABLE_KEYS = 4096
_GONE = (404, 410)
_IDENTITY: tuple[RawField, ...] = ((b"Accept-Encoding", b"identity"),)
# Made anew for each answer, or never replayed: a cookie belongs to the one who got it.
_NOT_STORED = frozenset({b"age", b"content-length", b"set-cookie"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """The upstream has the entity."""

    entry: Entry
    stored: bool
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """The upstream has no such entity."""

    entry: Entry
    stored: bool
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The upstream's word to the caller (401, 403, a redirect, …): passed on, and no failure of the upstream."""

    response: Fetched


@dataclass(frozen=True, slots=True)
class Failure:
    """The upstream gave no usable answer; `response` is what it said, if it spoke HTTP."""

    reason: str
    response: Fetched | None = None


@dataclass(frozen=True, slots=True)
class PassOn:
    """The answer is valid, but not one that this cache can hold or put together: ask for yourself."""


Result = Loaded | Missing | Refused | Failure | PassOn


@dataclass(frozen=True, slots=True)
class Wish:
    """What one call is to bring."""

    ids: Sequence[str]
    held: frozenset[str]
    """Those of which we hold a representation."""
    dropped: Collection[str]
    """Those that are not to be stored any more; more may be added while the call is under way."""
    fields: tuple[RawField, ...]
    """What the causing request adds to the proxy's own fields (key fields, trace context, credential)."""


class Fetcher:
    """Calls one resource's upstream."""

    def __init__(
        self,
        name: str,
        config: ResourceConfig,
        upstream: Upstream,
        store: TieredStore,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        rng: Callable[[], float],
        max_body: int,
        warn: Callable[[str], None],
    ) -> None:
        if config.id is None:
            raise ValueError("an opaque resource has no entities to fetch")
        self.name = name
        self.config = config
        self.shape = bulk.RequestShape(config.bulk.ids.tokens[0]) if config.bulk else None
        count = config.bulk.count if config.bulk else None
        self.answer = bulk.AnswerShape(
            items=config.bulk.items.tokens[0] if config.bulk else "",
            count=count.tokens[0] if count else None,
            id_pointer=config.id,
        )
        self._upstream = upstream
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._max_body = max_body
        self._warn = warn
        self._warned = False
        self._pass_on_until = 0.0
        self._uncacheable: TTLCache[str, None] = TTLCache(_UNCACHEABLE_KEYS, _PASS_ON_SECONDS, timer=clock)

    @property
    def timeout(self) -> float:
        """Seconds that a fill may take, from the wish to the whole answer."""
        return self._upstream.config.timeout

    def passes_on(self, entity: str, *, by_bulk: bool) -> bool:
        """Whether an answer about this was lately found to be one that can't be held or put together."""
        return entity in self._uncacheable or (by_bulk and self._clock() < self._pass_on_until)

    def timed_out(self) -> Failure:
        """The time was over before a call could be made."""
        return self._failure("timeout")

    async def by_bulk(self, wish: Wish, within: float) -> dict[str, Result]:
        """One bulk call, `within` so many seconds. Raises UpstreamError."""
        config = self.config.bulk
        if config is None or self.shape is None:
            raise RuntimeError("the resource has no bulk call")
        self._metrics.upstream_asked(self.name, len(wish.ids))
        head = [
            (b"Accept", b"application/json"),
            (b"Content-Type", b"application/json"),
            *_IDENTITY,
            *wish.fields,
        ]
        fetched = await self._upstream.fetch(
            f"{self.name}.bulk",
            config.method,
            str(config.path).encode(),
            head,
            self.shape.render(wish.ids),
            max_body=self._max_body,
            within=within,
        )
        if not fetched.ok:
            return dict.fromkeys(wish.ids, self._not_ok(fetched))
        try:
            return self._bulk_results(wish, fetched)
        except bulk.NotUnderstood:
            return dict.fromkeys(wish.ids, self._failure("invalid_answer"))
        except bulk.TooDeep:
            self._uncacheable.update(dict.fromkeys(wish.ids))
            return dict.fromkeys(wish.ids, PassOn())
        except bulk.NotAssemblable:
            if not self._warned:
                self._warned = True
                self._warn("bulk_answer_not_assemblable")
            # The envelope is at fault, not the ids: let requests through as they are for a while.
            self._pass_on_until = self._clock() + _PASS_ON_SECONDS
            return dict.fromkeys(wish.ids, PassOn())

    def _bulk_results(self, wish: Wish, fetched: Fetched) -> dict[str, Result]:
        items = self.answer.parse(fetched.body)
        found, repeated = bulk.take_requested(items, wish.ids)
        held = wish.held.intersection(wish.ids)
        if bulk.is_implausible_absence(held=len(held), missing=len(held - found.keys())):
            return dict.fromkeys(wish.ids, self._failure("implausible_absence"))
        if self.config.freshness.origin == "honour" and is_for_one_caller(fetched.head.fields):
            self._uncacheable.update(dict.fromkeys(wish.ids))
            return dict.fromkeys(wish.ids, PassOn())
        fresh = self._lifetime(fetched)
        results: dict[str, Result] = {}
        for entity in wish.ids:
            item = found.get(entity)
            if item is None:
                results[entity] = self._absent(wish, entity, fresh)
            elif entity in repeated:
                results[entity] = Loaded(self._entry(item, fresh), stored=False)
            else:
                results[entity] = self._keep(wish, item, fresh)
        return results

    async def by_single(self, wish: Wish, within: float) -> dict[str, Result]:
        """One GET of one entity, `within` so many seconds. Raises UpstreamError."""
        if self.config.single is None:
            raise RuntimeError("the resource has no single call")
        (entity,) = wish.ids
        self._metrics.upstream_asked(self.name, 1)
        path = self.config.single.path.expand(entity).encode()
        head = [(b"Accept", b"application/json"), *_IDENTITY, *wish.fields]
        fetched = await self._upstream.fetch(
            f"{self.name}.single", "GET", path, head, max_body=self._max_body, within=within
        )
        return {entity: self._single_result(wish, entity, fetched)}

    def _single_result(self, wish: Wish, entity: str, fetched: Fetched) -> Result:
        is_gone = fetched.head.status in _GONE
        if not is_gone and not fetched.ok:
            return self._not_ok(fetched)
        fresh = self._lifetime(fetched)
        if fresh is None or not (is_gone or fetched.head.status == 200):  # noqa: PLR2004
            # Whoever asks gets the upstream's own answer, with all that is meant for that caller alone.
            self._uncacheable[entity] = None
            if entity in wish.held and fetched.head.status == 200:  # noqa: PLR2004
                self._store.invalidate([Key(self.name, entity)])  # there is a newer answer than ours
            return PassOn()
        if is_gone:
            return self._absent(wish, entity, fresh, fetched)
        try:
            item = self.answer.item(fetched.body)
        except bulk.NotUnderstood:
            return self._failure("invalid_answer")
        except bulk.TooDeep:
            self._uncacheable[entity] = None
            return PassOn()
        if item.id != entity:
            return self._failure("invalid_answer")
        return self._keep(wish, item, fresh, _stored_fields(fetched))

    def _not_ok(self, fetched: Fetched) -> Result:
        status = fetched.head.status
        if status >= 500 or status == 429:  # noqa: PLR2004 - RFC 9110 section 15.6, RFC 6585 section 4
            return self._failure("status", fetched)
        return Refused(fetched)

    def _failure(self, reason: str, response: Fetched | None = None) -> Failure:
        self._metrics.upstream_failed(self._upstream.name, reason)
        return Failure(reason, response)

    def _lifetime(self, fetched: Fetched) -> float | None:
        freshness = self.config.freshness
        return lifetime(
            fetched.head.fields,
            ttl=freshness.ttl,
            jitter=freshness.jitter,
            origin=freshness.origin,
            rng=self._rng,
        )

    def _keep(
        self, wish: Wish, item: bulk.Item, fresh: float | None, fields: tuple[RawField, ...] = ()
    ) -> Loaded:
        entry = self._entry(item, fresh, fields)
        if item.id in wish.dropped:
            return Loaded(entry, stored=False)
        if fresh is not None:
            columns = {name: _column(at.resolve(item.document)) for name, at in self.config.columns.items()}
            self._store.put(Write(entry, columns))
        elif item.id in wish.held:  # what may not be stored is newer than what was
            self._store.invalidate([entry.key])
        return Loaded(entry, stored=fresh is not None)

    def _entry(self, item: bulk.Item, fresh: float | None, fields: tuple[RawField, ...] = ()) -> Entry:
        now = self._clock()
        pointer = self.config.source_version
        version = _column(pointer.resolve(item.document)) if pointer else None
        return Entry(
            key=Key(self.name, item.id),
            item=item.raw,
            received_at=now,
            lifetime=fresh or 0.0,
            headers=fields,
            last_synced_at=now,
            # A lone surrogate could not be written anywhere.
            source_version=None
            if version is None
            else str(version).encode(errors="backslashreplace").decode(),
        )

    def _absent(
        self, wish: Wish, entity: str, fresh: float | None, response: Fetched | None = None
    ) -> Missing:
        now = self._clock()
        entry = Entry(
            key=Key(self.name, entity),
            item=response.body if response else None,
            received_at=now,
            lifetime=min(self.config.freshness.negative_ttl, fresh or 0.0),
            absent=True,
            status=response.head.status if response else 404,
            headers=_stored_fields(response) if response else (),
            last_synced_at=now,
        )
        if entity in wish.dropped:
            return Missing(entry, stored=False)
        if entity in wish.held:
            self._store.invalidate([entry.key])
        if fresh is not None:
            self._store.put(Write(entry, {}))
        return Missing(entry, stored=fresh is not None)


def _stored_fields(fetched: Fetched) -> tuple[RawField, ...]:
    """The fields of a single's answer that are stored with it (RFC 9111 section 3.1)."""
    return tuple(field for field in end_to_end(fetched.head.fields) if field[0].lower() not in _NOT_STORED)


def _column(value: object) -> Column:
    """A value for a person to read; what is not a scalar stays in the item alone."""
    return value if isinstance(value, str | int | float) else None
