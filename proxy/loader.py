"""One upstream fetch out of any number of overlapping wishes.

A flight is one upstream call for some entities of a resource. It boards those that are wanted within one turn of the
event loop (a refresh behind an answer: within half a second, for nobody waits for it), then takes off; when it is full
it takes off at once, and the next one boards. Whoever wants an entity that has boarded or is in the air waits for its
flight. Flights belong to the supervisor: a waiter that goes away cancels nothing. What is invalidated while it is in
the air has left its flight: nobody joins it any more, and what the flight brings for it is not stored.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from cachetools import TTLCache
from msgspec import Struct

from proxy.core.http.fields import TRACE_CONTEXT, RawField
from proxy.exchange import UpstreamError
from proxy.fetcher import Fetcher
from proxy.fleet import Fleet
from proxy.flight import Flight
from proxy.metrics import Metrics
from proxy.results import Failure, Missing, PassOn, Refused, Result, Wish, for_waiter
from proxy.supervisor import Supervisor
from proxy.turns import Turns
from store.entry import Entry, Key
from store.generation import Watch

# Refreshes that call the upstream at a time, beside those whom somebody waits for: they must not be in the way.
_PARALLEL_REFRESHES = 4
# Refreshes that may wait their turn. What comes beyond is wished for again when it is asked for again.
_MAX_REFRESHES = 100
# What a refresh was refused is left alone for a while, or each request for it would cause another.
_REFUSED_SECONDS = 5.0
_REFUSED_KEYS = 4096
# Seconds for which refreshes gather into one call.
_REFRESH_GATHERS = 0.5
# What answers whom nobody can be asked for, for too many ask.
_NOT_MADE = Failure("aborted")
_OVERLOADED = Failure("overloaded", retry_after=1.0)

OnWait = Callable[[tuple[RawField, ...], tuple[RawField, ...]], None]
"""Called with the fields of who waits for a flight, and of who has caused it."""


class Want(Struct, frozen=True):
    """Entities of one resource that somebody wants fetched."""

    ids: Sequence[str]
    held: Mapping[str, Entry]
    """Representations that we hold of some of them, however old."""
    variant: str = ""
    fields: tuple[RawField, ...] = ()
    """What the request adds to the upstream's own fields (key fields, trace context, credential)."""
    single: bool = False
    """A GET of one entity is preferred where the resource knows both ways, and the answer is one to show."""
    usable: frozenset[str] = frozenset()
    """Those whose copy answers the request when the upstream is late."""
    patience: float = 0.0
    """Seconds after take-off for which one of those is waited for."""
    as_data: bool = False
    """The entities are wanted, and not the upstream's response: what can't be held will do as well."""
    anew: bool = False
    """A fetch that is under way already is too old."""
    forced: bool = False
    """What another replica has stored, or is fetching, is not enough."""

    @property
    def scope(self) -> tuple[RawField, ...]:
        """Who asks, as far as the upstream can tell."""
        return tuple(field for field in self.fields if field[0].lower() not in TRACE_CONTEXT)


class Loader:
    """Loads entities of one resource, each at most once at a time.

    `watch` begins to watch keys for changes. At most `parallel` calls are made at a time, besides refreshes. While
    `max_pending` flights wait for their turn, half as long as a call may take, nobody may add another one, and at most
    `max_waiters` requests wait, each at most as long as a call may take. `on_wait` hears of each flight that somebody
    waits for. `fleet`: where replicas share the store.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        watch: Callable[[Iterable[Key]], Watch],
        supervisor: Supervisor,
        metrics: Metrics,
        monotonic: Callable[[], float],
        parallel: int,
        max_waiters: int,
        max_pending: int,
        refresh_gathers: float = _REFRESH_GATHERS,
        on_wait: OnWait | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        self.name = fetcher.name
        self._fleet = fleet
        self._fetcher = fetcher
        self._watch = watch
        self._supervisor = supervisor
        self._metrics = metrics
        self._max_waiters = max_waiters
        self._refresh_gathers = refresh_gathers
        self._on_wait = on_wait
        self._max_pending = max_pending
        self.renewals = 0
        """Calls that requests have caused for copies at their end, which a refresher would have saved."""
        self._waiters = 0
        self._refreshes = 0
        self._refused: TTLCache[tuple[object, ...], None] = TTLCache(
            _REFUSED_KEYS, _REFUSED_SECONDS, timer=monotonic
        )
        bulk = fetcher.config.bulk
        self._has_bulk = bulk is not None
        self._seats = bulk.max_ids if bulk else 1
        self._flights: dict[Key, Flight] = {}
        self._boarding: dict[tuple[object, ...], Flight] = {}
        self._turns = Turns(parallel)
        self._refresh_turns = Turns(_PARALLEL_REFRESHES)

    @property
    def gathers(self) -> float:
        """Seconds for which refreshes gather into one call; none do where each takes a call of its own."""
        return self._refresh_gathers if self._has_bulk else 0.0

    @property
    def is_crowded(self) -> bool:
        """Whether somebody stands in line for a call."""
        return bool(self._turns.waiting or self._refresh_turns.waiting)

    @property
    def backing_off(self) -> bool:
        """Whether the upstream is not to be asked for what there is a copy of."""
        return self._fetcher.backing_off

    async def load(self, want: Want) -> dict[str, Result]:
        """Fetch entities, each once, however many callers want it."""
        if not want.as_data and any(self._goes_past(want, entity) for entity in want.ids):
            # One that can't be answered here sends the whole request on: the others need not be fetched.
            return dict.fromkeys(want.ids, PassOn())
        if self._waiters >= self._max_waiters or self._is_one_too_many(want):
            self._fetcher.overloaded()
            return dict.fromkeys(want.ids, _OVERLOADED)
        self._waiters += 1
        try:
            started = asyncio.get_running_loop().time()
            if want.anew and not await self._earlier_have_landed(want):
                return dict.fromkeys(want.ids, Failure("timeout"))
            flights, joined = self._boarded(want)
            if self._on_wait is not None:
                for flight in set(flights.values()):
                    self._on_wait(want.fields, flight.fields)
            await self._wait(want, flights, started + self._fetcher.timeout)
        finally:
            self._waiters -= 1
        results: dict[str, Result] = {}
        for entity, flight in flights.items():
            if flight.landed.done():
                result = flight.landed.result()[entity]
            else:  # one that still stands in line has asked nobody
                result = _OVERLOADED if flight.seen is None else Failure("timeout")
            if entity in joined:
                result = for_waiter(result, is_same_caller=flight.scope == want.scope)
            if want.single and isinstance(result, Missing) and result.entry.item is None:
                result = PassOn()  # an absence that a bulk call brought is no answer to show
            results[entity] = result
        return results

    def _is_one_too_many(self, want: Want) -> bool:
        """Whether it would need a flight while too many wait for their turn. The bound is looked at here, not for each
        flight: what one request asks for, however much it is, is fetched as a whole or not at all."""
        return self._turns.waiting >= self._max_pending and any(
            self._joinable(Key(self.name, entity, want.variant), hurry=False) is None for entity in want.ids
        )

    def _boarded(self, want: Want) -> tuple[dict[str, Flight], set[str]]:
        """The flight of each entity, and those that were wanted before."""
        flights: dict[str, Flight] = {}
        joined: set[str] = set()
        for entity in want.ids:
            flight = self._joinable(Key(self.name, entity, want.variant))
            if flight is None:
                flight = self._board(want, entity, is_refresh=False)
            else:
                joined.add(entity)
                flight.is_forced |= want.forced
            flights[entity] = flight
        if joined:
            self._metrics.coalesced(self.name, len(joined))
        return flights, joined

    async def _earlier_have_landed(self, want: Want) -> bool:
        """Wait for what is in the air; whoever waits so shares the flight that follows. Two at a time for an entity
        could land in the wrong order."""
        flights = (self._flights.get(Key(self.name, entity, want.variant)) for entity in want.ids)
        landed = {flight.landed for flight in flights if flight is not None and flight.seen is not None}
        if landed:
            await asyncio.wait(landed, timeout=self._fetcher.timeout)
        return all(one.done() for one in landed)

    def let_go(self, entity: str) -> None:
        """The entity was erased: a call that is yet to be made leaves it out, and nobody joins one for it any more."""
        for key in [key for key in self._flights if key.id == entity]:
            del self._flights[key]

    def is_under_way(self, entity: str) -> bool:
        """Whether a fetch of the entity is under way that may be joined."""
        return self._joinable(Key(self.name, entity), hurry=False) is not None

    def passes_on(self, entity: str) -> bool:
        """Whether what is not held of the entity goes straight to the upstream for a while."""
        return self._fetcher.passes_on(Key(self.name, entity), by_bulk=self._has_bulk)

    def refresh(self, want: Want) -> None:
        """Fetch entities behind an answer: soon, with others, and to nobody's cost."""
        for entity in want.ids:
            key = Key(self.name, entity, want.variant)
            is_known = self._place(want, entity) in self._refused
            is_wanted = not is_known and self._joinable(key, hurry=False) is None
            if is_wanted and self._refreshes < _MAX_REFRESHES:
                self._board(want, entity, is_refresh=True)

    async def renew(self, held: Mapping[str, Entry]) -> dict[str, Result]:
        """Fetch these again, as many as one call may ask for, at once and from the upstream, whatever other replicas
        have stored. What is under way or was lately refused is left out, and all of it while the upstream is backed off
        from: that has no result."""
        want = Want((), held)
        ids = [e for e in held if not (self.is_under_way(e) or self.passes_on(e))]
        ids = [entity for entity in ids if self._place(want, entity) not in self._refused]
        if not ids or self.backing_off:
            return {}
        landed = asyncio.get_running_loop().create_future()
        flight = Flight("", (), (), landed, is_refresh=True, is_forced=True, is_ahead=True)
        self._refreshes += 1
        for entity in ids:
            self._seat(flight, want, entity)
        self._take_off(flight)
        results = await asyncio.shield(landed)
        return {entity: result for entity, result in results.items() if result != _NOT_MADE}

    @staticmethod
    def _place(who: "Want | Flight", entity: str) -> tuple[object, ...]:
        """What one caller is refused, another may have. By hash: a credential is not to be kept."""
        return (entity, who.variant, hash(who.scope))

    def _goes_past(self, want: Want, entity: str) -> bool:
        # Of what we hold the copy may be needed: it has to be tried.
        by_bulk = self._has_bulk and not want.single
        return entity not in want.held and self._fetcher.passes_on(
            Key(self.name, entity, want.variant), by_bulk=by_bulk
        )

    def _joinable(self, key: Key, *, hurry: bool = True) -> Flight | None:
        """The flight that will bring an entity as it is from now on."""
        flight = self._flights.get(key)
        if flight is None:
            return None
        if flight.seen is None:  # whatever has happened, it has happened before the call
            if hurry and flight.is_refresh and not flight.is_waited_for:
                if flight.timer is None:
                    return None  # it stands in the refreshes' own line, where nobody should wait
                flight.is_waited_for = True
                self._take_off_soon(flight)
            return flight
        return flight if flight.seen.is_current(key) else None

    def _board(self, want: Want, entity: str, *, is_refresh: bool) -> Flight:
        place = (want.variant, want.scope, is_refresh)
        flight = self._boarding.get(place)
        loop = asyncio.get_running_loop()
        if flight is None:
            flight = Flight(want.variant, want.fields, want.scope, loop.create_future(), is_refresh)
            self._boarding[place] = flight
            self._refreshes += is_refresh
            if is_refresh:
                flight.timer = loop.call_later(self._refresh_gathers, self._take_off, flight)
            else:
                flight.timer = loop.call_soon(self._take_off, flight)
        self._seat(flight, want, entity)
        if len(flight.ids) >= self._seats:
            del self._boarding[place]
            self._take_off_soon(flight)
        return flight

    def _seat(self, flight: Flight, want: Want, entity: str) -> None:
        flight.ids.append(entity)
        flight.is_single = flight.is_single and want.single
        flight.is_forced |= want.forced or want.anew
        key = Key(self.name, entity, want.variant)
        if entity in want.held:
            flight.held[entity] = (want.held[entity], self._watch([key]))
        self._flights[key] = flight

    def _take_off_soon(self, flight: Flight) -> None:
        """Somebody waits for it, or it is full."""
        if flight.timer is not None:
            flight.timer.cancel()
        flight.timer = asyncio.get_running_loop().call_soon(self._take_off, flight)

    def _take_off(self, flight: Flight) -> None:
        place = (flight.variant, flight.scope, flight.is_refresh)
        if self._boarding.get(place) is flight:
            del self._boarding[place]
        flight.timer = None
        flight.took_off = asyncio.get_running_loop().time()
        try:
            task = self._supervisor.spawn(f"flight {self.name}", self._fly(flight))
        except RuntimeError:  # the program ends
            self._land(flight, {})
        else:
            # Whatever happens, cancellation by a shutdown included, every waiter gets an answer.
            task.add_done_callback(lambda _: self._land(flight, {}))

    async def _fly(self, flight: Flight) -> None:
        if flight.is_ahead:  # whoever wants it bounds them
            self._land(flight, await self._called(flight))
            return
        behind = flight.is_refresh and not flight.is_waited_for
        turns = self._refresh_turns if behind else self._turns
        try:
            async with turns.turn(self._fetcher.timeout):
                self._land(flight, await self._called(flight))
        except UpstreamError:  # of the line alone: what is called says what has failed, and raises nothing
            self._fetcher.overloaded()
            self._land(flight, dict.fromkeys(flight.ids, _OVERLOADED))

    async def _called(self, flight: Flight) -> dict[str, Result]:
        keys = {entity: Key(self.name, entity, flight.variant) for entity in flight.ids}
        # A refresh that stood in line leaves out what somebody else has fetched meanwhile.
        keys = {entity: key for entity, key in keys.items() if self._flights.get(key) is flight}
        if not keys or (flight.is_refresh and not flight.is_waited_for and self.backing_off):
            return {}
        held = {
            entity: entry
            for entity, (entry, watch) in flight.held.items()
            if entity in keys and watch.is_current(keys[entity])
        }
        # From here on it may bring what was true before, and no longer is.
        flight.seen = self._watch(keys.values())
        wish = Wish(tuple(keys), flight.variant, held, flight.seen, flight.fields)
        if self._fleet is None or wish.variant:  # one with a variant is in memory alone
            return await self._call(flight, wish)
        return await self._fleet.fetch(wish, partial(self._call, flight), is_forced=flight.is_forced)

    async def _call(self, flight: Flight, wish: Wish) -> dict[str, Result]:
        self.renewals += bool(wish.held) and self._is_late(flight)
        # It has the whole time of a call, however long it stood in line: or that would look like a slow upstream.
        return await self._fetcher.fetch(wish, single=self._by_single(flight, wish))

    def _is_late(self, flight: Flight) -> bool:
        """Whether it is made for a copy that a refresher would have renewed by now: what was not asked for until it is
        not even shown stale it leaves alone (`proxy.core.refreshing.Survey`)."""
        if flight.is_ahead or flight.variant or flight.is_forced:
            return False
        return flight.is_refresh or not self._fetcher.config.freshness.stale_while_revalidate

    def _by_single(self, flight: Flight, wish: Wish) -> bool:
        config = self._fetcher.config
        if config.bulk is None or config.single is None or len(wish.ids) > 1:
            return config.bulk is None
        return flight.is_single or self._fetcher.prefers_single(wish)

    def _land(self, flight: Flight, results: dict[str, Result]) -> None:
        """Tell the waiters; the first landing is the landing. What has no result was given up."""
        if flight.landed.done():
            return
        results = dict.fromkeys(flight.ids, _NOT_MADE) | results
        self._refreshes -= flight.is_refresh
        for entity in flight.ids:
            key = Key(self.name, entity, flight.variant)
            if self._flights.get(key) is flight:
                del self._flights[key]
            if flight.is_refresh and isinstance(results[entity], Refused):
                self._refused[self._place(flight, entity)] = None
        for _, watch in flight.held.values():
            watch.close()
        if flight.seen is not None:
            flight.seen.close()
        flight.land(results)

    async def _wait(self, want: Want, flights: Mapping[str, Flight], until: float) -> None:
        """Wait for all that is needed, until then (the loop's time); then, as far as patience goes, for what there is
        a copy of."""
        needed = {flight for entity, flight in flights.items() if entity not in want.usable}
        if len(needed) == 1:
            await needed.pop().wait(until)
        elif needed:
            landings = [flight.landed for flight in needed]
            await asyncio.wait(landings, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        if want.usable:
            late = {flight for entity, flight in flights.items() if entity in want.usable}
            await self._wait_a_while(late, want.patience)

    async def _wait_a_while(self, flights: Collection[Flight], patience: float) -> None:
        loop = asyncio.get_running_loop()
        # A call that has been under way for long is not waited for again by everybody who comes.
        until = max((flight.took_off or loop.time()) + patience for flight in flights) if flights else 0.0
        pending = {flight.landed for flight in flights if not flight.landed.done()}
        left = until - loop.time()
        if pending and left > 0:
            await asyncio.wait(pending, timeout=left)
