"""One upstream fetch out of any number of overlapping wishes.

A flight is one upstream call for some ids of a resource. Whoever wants an id that is in the air waits for its flight;
the rest goes up in new flights, chunked as the upstream allows. Flights belong to the supervisor: a waiter that goes
away cancels nothing. An id that is invalidated in the meantime leaves its flight: nobody joins it any more, and what
it brings for that id is not stored.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass

from proxy.core import bulk
from proxy.core.http.fields import RawField
from proxy.fetcher import Failure, Fetcher, Loaded, Missing, PassOn, Refused, Result, Wish
from proxy.metrics import Metrics
from proxy.supervisor import Supervisor
from proxy.upstream import UpstreamError

# Upstream calls of one resource at a time: a quarter of the default pool, so that a huge bulk leaves room for others.
_PARALLEL = 24

_Fetch = Callable[[Wish, float], Coroutine[None, None, dict[str, Result]]]


@dataclass(slots=True, eq=False)
class _Flight:
    ids: tuple[str, ...]
    landed: asyncio.Future[dict[str, Result]]
    dropped: set[str]
    """Ids that were invalidated while this was under way."""


class Loader:
    """Loads entities of one resource, each at most once at a time."""

    def __init__(self, fetcher: Fetcher, *, supervisor: Supervisor, metrics: Metrics) -> None:
        self.name = fetcher.name
        self._fetcher = fetcher
        self._supervisor = supervisor
        self._metrics = metrics
        self._flights: dict[str, _Flight] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)

    async def load(
        self, ids: Sequence[str], *, held: frozenset[str], fields: Iterable[RawField], single: bool
    ) -> dict[str, Result]:
        """Fetch ids, each once, however many callers want it; `held` are those of which we hold a representation.

        `fields` are what the causing request adds to the upstream's (key fields, trace context, credential).
        `single` prefers a GET of one entity where the resource knows both ways.
        """
        by_bulk = self._by_bulk(single=single)
        results: dict[str, Result] = {}
        waited: dict[str, _Flight] = {}
        wanted: list[str] = []
        for entity in ids:
            flight = self._flights.get(entity)
            if flight is not None:
                waited[entity] = flight
            elif entity not in held and self._fetcher.passes_on(entity, by_bulk=by_bulk):
                results[entity] = PassOn()  # of what we hold the copy may be needed: it has to be tried
            else:
                wanted.append(entity)
        if waited:
            self._metrics.coalesced(self.name, len(waited))
        own = self._take_off(wanted, held, tuple(fields), by_bulk=by_bulk)
        landings = {flight.landed for flight in (*own, *waited.values())}
        if landings:
            await asyncio.wait(landings)
        for flight in own:
            results.update(flight.landed.result())
        for entity, flight in waited.items():
            results[entity] = _for_waiter(flight.landed.result()[entity])
        return results

    def _by_bulk(self, *, single: bool) -> bool:
        config = self._fetcher.config
        return config.bulk is not None and not (single and config.single is not None)

    def invalidate(self, entity: str) -> None:
        """Let a flight under way bring nothing for this id any more, and let nobody join it."""
        flight = self._flights.pop(entity, None)
        if flight is not None:
            flight.dropped.add(entity)

    def _take_off(
        self, ids: list[str], held: frozenset[str], fields: tuple[RawField, ...], *, by_bulk: bool
    ) -> list[_Flight]:
        loop = asyncio.get_running_loop()
        config = self._fetcher.config.bulk
        size = config.max_ids if by_bulk and config else 1
        fetch = self._fetcher.by_bulk if by_bulk else self._fetcher.by_single
        flights = []
        for chunk in bulk.chunked(ids, size):
            flight = _Flight(tuple(chunk), loop.create_future(), set())
            for entity in chunk:
                self._flights[entity] = flight
            wish = Wish(flight.ids, held, flight.dropped, fields)
            self._supervisor.spawn(f"flight {self.name}", self._fly(flight, fetch, wish))
            flights.append(flight)
        return flights

    async def _fly(self, flight: _Flight, fetch: _Fetch, wish: Wish) -> None:
        # Whatever happens, cancellation by a shutdown included, every waiter gets an answer.
        results: dict[str, Result] = dict.fromkeys(flight.ids, Failure("aborted"))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._fetcher.timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
            try:
                results = await fetch(wish, deadline - loop.time())
            finally:
                self._slots.release()
        except TimeoutError:  # no slot became free: those who have one wait for a slow upstream
            results = dict.fromkeys(flight.ids, self._fetcher.timed_out())
        except UpstreamError as error:
            # An answer beyond `limits.cached_response` may be a good one: it can be streamed, but not held.
            result = PassOn() if error.reason == "too_large" else Failure(error.reason)
            results = dict.fromkeys(flight.ids, result)
        finally:
            for entity in flight.ids:
                if self._flights.get(entity) is flight:
                    del self._flights[entity]
            flight.landed.set_result(results)


def _for_waiter(result: Result) -> Result:
    """What a flight means for somebody who joined it.

    An answer that may not be stored is not shared either, and a refusal was meant for who caused the flight.
    """
    match result:
        case Loaded(entry, stored):
            return Loaded(entry, stored, collapsed=True) if stored else PassOn()
        case Missing(entry, stored):
            return Missing(entry, stored, collapsed=True) if stored else PassOn()
        case Refused():
            return PassOn()
        case _:
            return result
