"""One upstream fetch out of any number of overlapping wishes.

A flight is one upstream call for some ids of a resource. Whoever wants an id that is in the air waits for its flight;
the rest goes up in new flights, chunked as the upstream allows. Flights belong to the supervisor: a waiter that goes
away cancels nothing. An id that is invalidated in the meantime leaves its flight: nobody joins it any more, and what
it brings for that id is not stored.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

from config.model import ResourceConfig
from proxy.core import bulk
from proxy.core.http.fields import RawField, end_to_end
from proxy.core.http.freshness import lifetime
from proxy.core.policy import Limits, usable_until
from proxy.metrics import Metrics
from proxy.supervisor import Supervisor
from proxy.upstream import Fetched, Upstream, UpstreamError
from store.entry import Column, Entry, Key, Write
from store.tiered import TieredStore

# Upstream calls of one resource at a time: a quarter of the default pool, so that a huge bulk leaves room for others.
_PARALLEL = 24
# How long a resource whose answers can't be put together goes straight to its upstream before we look again.
_PASS_ON_SECONDS = 10.0
_GONE = (404, 410)


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


@dataclass(slots=True, eq=False)
class _Flight:
    ids: tuple[str, ...]
    landed: asyncio.Future[dict[str, Result]]
    dropped: set[str] = field(default_factory=set)
    """Ids that were invalidated while this was under way."""


class Loader:
    """Fetches entities of one resource."""

    def __init__(
        self,
        name: str,
        config: ResourceConfig,
        upstream: Upstream,
        store: TieredStore,
        *,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Callable[[], float],
        rng: Callable[[], float],
        max_body: int,
        warn: Callable[[str], None],
    ) -> None:
        if config.id is None:
            raise ValueError("an opaque resource has no entities to load")
        self.name = name
        self.config = config
        self.limits = Limits(stale_if_error=config.freshness.stale_if_error)
        self.shape = bulk.RequestShape(config.bulk.ids.tokens[0]) if config.bulk else None
        count = config.bulk.count if config.bulk else None
        self.answer = bulk.AnswerShape(
            items=config.bulk.items.tokens[0] if config.bulk else "",
            count=count.tokens[0] if count else None,
            id_pointer=config.id,
        )
        self._upstream = upstream
        self._store = store
        self._supervisor = supervisor
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._max_body = max_body
        self._warn = warn
        self._flights: dict[str, _Flight] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._pass_on_until = 0.0

    @property
    def passes_on(self) -> bool:
        """Whether bulk answers of this upstream were lately found to be beyond us."""
        return self._clock() < self._pass_on_until

    async def load(
        self, ids: Sequence[str], *, held: frozenset[str], fields: Iterable[RawField], single: bool
    ) -> dict[str, Result]:
        """Fetch ids, each once, however many callers want it; `held` are those of which we hold a representation.

        `fields` are what the causing request adds to the upstream's (key fields, trace context, credential).
        `single` prefers a GET of one entity where the resource knows both ways.
        """
        waited: dict[str, _Flight] = {}
        wanted: list[str] = []
        for entity in ids:
            flight = self._flights.get(entity)
            if flight is None:
                wanted.append(entity)
            else:
                waited[entity] = flight
        if waited:
            self._metrics.coalesced(self.name, len(waited))
        own = self._take_off(wanted, held, tuple(fields), single=single) if wanted else []
        flights = {*own, *waited.values()}
        await asyncio.wait({flight.landed for flight in flights})
        results: dict[str, Result] = {}
        for flight in own:
            results.update(flight.landed.result())
        for entity, flight in waited.items():
            results[entity] = _for_waiter(flight.landed.result()[entity])
        return results

    def invalidate(self, entity: str) -> None:
        """Let a flight under way bring nothing for this id any more, and let nobody join it."""
        flight = self._flights.pop(entity, None)
        if flight is not None:
            flight.dropped.add(entity)

    def _take_off(
        self, ids: list[str], held: frozenset[str], fields: tuple[RawField, ...], *, single: bool
    ) -> list[_Flight]:
        loop = asyncio.get_running_loop()
        by_bulk = self.config.bulk is not None and not (single and self.config.single is not None)
        size = self.config.bulk.max_ids if by_bulk and self.config.bulk else 1
        fetch = self._fetch_bulk if by_bulk else self._fetch_single
        flights = []
        for chunk in bulk.chunked(ids, size):
            flight = _Flight(tuple(chunk), loop.create_future())
            for entity in chunk:
                self._flights[entity] = flight
            self._supervisor.spawn(f"flight {self.name}", self._fly(flight, fetch, held, fields))
            flights.append(flight)
        return flights

    async def _fly(
        self, flight: _Flight, fetch: "_Fetch", held: frozenset[str], fields: tuple[RawField, ...]
    ) -> None:
        # Whatever happens, cancellation by a shutdown included, every waiter gets an answer.
        results: dict[str, Result] = dict.fromkeys(flight.ids, Failure("aborted"))
        try:
            async with self._slots:
                self._metrics.upstream_asked(self.name, len(flight.ids))
                results = await fetch(flight, held, fields)
        except UpstreamError as error:
            # An answer beyond `limits.cached_response` may be a good one: it can be streamed, but not held.
            result = PassOn() if error.reason == "too_large" else Failure(error.reason)
            results = dict.fromkeys(flight.ids, result)
        finally:
            for entity in flight.ids:
                if self._flights.get(entity) is flight:
                    del self._flights[entity]
            flight.landed.set_result(results)

    async def _fetch_bulk(
        self, flight: _Flight, held: frozenset[str], fields: tuple[RawField, ...]
    ) -> dict[str, Result]:
        config = self.config.bulk
        if config is None or self.shape is None:
            raise RuntimeError("the resource has no bulk call")
        head = [(b"Accept", b"application/json"), (b"Content-Type", b"application/json"), *_IDENTITY, *fields]
        fetched = await self._upstream.fetch(
            f"{self.name}.bulk",
            config.method,
            str(config.path).encode(),
            head,
            self.shape.render(flight.ids),
            max_body=self._max_body,
        )
        if not fetched.ok:
            return dict.fromkeys(flight.ids, self._not_ok(fetched))
        try:
            items = self.answer.parse(fetched.body)
        except bulk.NotUnderstood:
            return dict.fromkeys(flight.ids, self._failure("invalid_answer"))
        except bulk.NotAssemblable:
            if not self.passes_on:
                self._warn("bulk_answer_not_assemblable")
            self._pass_on_until = self._clock() + _PASS_ON_SECONDS
            return dict.fromkeys(flight.ids, PassOn())
        found, repeated = bulk.take_requested(items, flight.ids)
        ours = held.intersection(flight.ids)
        if bulk.is_implausible_absence(held=len(ours), missing=len(ours - found.keys())):
            return dict.fromkeys(flight.ids, self._failure("implausible_absence"))
        fresh = self._lifetime(fetched)
        results: dict[str, Result] = {}
        for entity in flight.ids:
            item = found.get(entity)
            if item is None:
                results[entity] = self._absent(flight, entity, is_held=entity in ours)
            else:
                results[entity] = self._keep(flight, item, None if entity in repeated else fresh)
        return results

    async def _fetch_single(
        self, flight: _Flight, held: frozenset[str], fields: tuple[RawField, ...]
    ) -> dict[str, Result]:
        if self.config.single is None:
            raise RuntimeError("the resource has no single call")
        (entity,) = flight.ids
        path = self.config.single.path.expand(entity).encode()
        head = [(b"Accept", b"application/json"), *_IDENTITY, *fields]
        fetched = await self._upstream.fetch(
            f"{self.name}.single", "GET", path, head, b"", max_body=self._max_body
        )
        if fetched.head.status in _GONE:
            return {entity: self._absent(flight, entity, is_held=entity in held, response=fetched)}
        if fetched.head.status != 200:  # noqa: PLR2004
            return {entity: PassOn() if fetched.ok else self._not_ok(fetched)}
        try:
            item = self.answer.item(fetched.body)
        except bulk.NotUnderstood:
            return {entity: self._failure("invalid_answer")}
        if item.id != entity:
            return {entity: self._failure("invalid_answer")}
        return {entity: self._keep(flight, item, self._lifetime(fetched), _stored_fields(fetched))}

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
        self, flight: _Flight, item: bulk.Item, fresh: float | None, fields: tuple[RawField, ...] = ()
    ) -> Loaded:
        now = self._clock()
        pointer = self.config.source_version
        version = _column(pointer.resolve(item.document)) if pointer else None
        entry = Entry(
            key=Key(self.name, item.id),
            item=item.raw,
            received_at=now,
            lifetime=fresh or 0.0,
            headers=fields,
            last_synced_at=now,
            source_version=None if version is None else str(version),
        )
        stored = fresh is not None and item.id not in flight.dropped
        if stored:
            columns = {name: _column(at.resolve(item.document)) for name, at in self.config.columns.items()}
            self._store.put(Write(entry, columns))
        return Loaded(entry, stored)

    def _absent(
        self, flight: _Flight, entity: str, *, is_held: bool, response: Fetched | None = None
    ) -> Missing:
        now = self._clock()
        entry = Entry(
            key=Key(self.name, entity),
            item=response.body if response else None,
            received_at=now,
            lifetime=self.config.freshness.negative_ttl,
            absent=True,
            status=response.head.status if response else 404,
            headers=_stored_fields(response) if response else (),
            last_synced_at=now,
        )
        if entity not in flight.dropped:
            if is_held:
                self._store.invalidate([entry.key])
            self._store.put(Write(entry, {}))
        return Missing(entry)

    def usable_until(self, entry: Entry) -> float:
        """When an entry of this resource is of no use any more (epoch seconds)."""
        return usable_until(entry, self.limits, negative_ttl=self.config.freshness.negative_ttl)


_Fetch = Callable[[_Flight, frozenset[str], tuple[RawField, ...]], Coroutine[None, None, dict[str, Result]]]
_IDENTITY: tuple[RawField, ...] = ((b"Accept-Encoding", b"identity"),)
# Made anew for each answer, or never replayed: a cookie belongs to the one who got it.
_NOT_STORED = frozenset({b"age", b"content-length", b"set-cookie"})


def _stored_fields(fetched: Fetched) -> tuple[RawField, ...]:
    """The fields of a single's answer that are stored with it (RFC 9111 section 3.1)."""
    return tuple(field for field in end_to_end(fetched.head.fields) if field[0].lower() not in _NOT_STORED)


def _column(value: object) -> Column:
    """A value for a person to read; what is not a scalar stays in the item alone."""
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, str | int | float) else None


def _for_waiter(result: Result) -> Result:
    """What a flight means for somebody who joined it: an answer that may not be stored is not shared either."""
    match result:
        case Loaded(entry, stored):
            return Loaded(entry, stored, collapsed=True) if stored else PassOn()
        case Missing(entry):
            return Missing(entry, collapsed=True)
        case _:
            return result
