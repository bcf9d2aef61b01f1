"""The calls that fill an opaque resource: one for all who want the same, as long as its answer may be shared."""

import asyncio
from collections.abc import Callable
from functools import partial

from cachetools import TTLCache
from msgspec import Struct

from config.model import LimitsConfig
from proxy.core.budget import Budget
from proxy.core.http import ranges, validation
from proxy.core.http.fields import RawField, request_fields
from proxy.core.http.freshness import Freshness, Rules
from proxy.fill import Asked, Fill
from proxy.keeping import Clocks, Deposit, Request
from proxy.metrics import Metrics
from proxy.representations import Representations
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from store.entry import Entry, Key
from store.generation import Watch

# How long those who want what could not be kept go to the origin by themselves, and of how many targets that is known.
_ALONE_SECONDS, _ALONE_TARGETS = 5.0, 4096
_PARTIAL_CONTENT = 206
# Of a request without a body it says nothing.
_NOT_SENT = frozenset({b"content-length"})


class Want(Struct, frozen=True):
    """What a request wants of the origin. `target`, `version` and `fields` as they stood on the wire."""

    method: str
    target: bytes
    version: tuple[int, int]
    fields: tuple[RawField, ...]
    scope: str = ""
    """What sets its caller apart from others, as a digest; empty: nothing does."""
    is_authorized: bool = False
    """Whether it bears a credential that sets nobody apart."""
    own_credential: bool = False
    """Whether the upstream's own credential takes the place of the caller's."""
    held: Entry | None = None
    """The response, or the part of one, to ask about."""
    is_ranged: bool = False
    """Whether the client's Range goes with it."""
    is_conditional: bool = False
    """Whether the client's conditions do, for nothing that is held here can answer them."""
    has_fallback: bool = False
    """Whether what is held answers instead of a failure."""
    is_alone: bool = False
    """Whether nobody else may be answered with it before it is kept."""


class _Flight(Struct, eq=False):
    """A call that others may wait for."""

    fill: Fill
    seen: Watch


class Opaque:
    """Calls the origin for one opaque resource. `monotonic` gives seconds that never step; `bound` says how long what
    is one caller's own may be used."""

    def __init__(
        self,
        shelf: Representations,
        rules: Rules,
        upstream: Upstream,
        *,
        limits: LimitsConfig,
        buffered: Budget,
        supervisor: Supervisor,
        metrics: Metrics,
        clocks: Clocks,
        monotonic: Callable[[], float],
        bound: Callable[[Freshness], Freshness] = lambda fresh: fresh,
    ) -> None:
        self.shelf = shelf
        self._rules = rules
        self._upstream = upstream
        self._limits = limits
        self._buffered = buffered
        self._supervisor = supervisor
        self._metrics = metrics
        self._clocks = clocks
        self._bound = bound
        self._flights: dict[tuple[str, bytes, str], _Flight] = {}
        # By hash: a target may be long, and to be taken for another does no harm.
        self._alone: TTLCache[int, None] = TTLCache(_ALONE_TARGETS, _ALONE_SECONDS, timer=monotonic)

    def under_way(self, want: Want) -> Fill | None:
        """The call that will bring what is wanted, if there is one that began after the last invalidation and others
        may wait for."""
        flight = self._flights.get(_place(want))
        if (
            flight is None
            or want.is_alone
            or flight.fill.is_given_up
            or hash((want.target, want.scope)) in self._alone
        ):
            return None
        return (
            flight.fill
            if flight.seen.is_current(Key(self.shelf.name, want.target.decode("latin-1")))
            else None
        )

    def begin(self, want: Want, *, within: float | None = None) -> Fill:
        """Call the origin, whose response may take `within` so many seconds to begin, else its `timeout`. The fill has
        a reader until its `left` is called."""
        self._metrics.upstream_asked(self.shelf.name, 1)
        deposit, seen = self._deposit(want)
        fill = Fill(
            self._upstream,
            Asked(
                f"{self.shelf.name}.single",
                want.method,
                want.target,
                tuple(self._sent(want)),
                _conditions(want, self._limits.cached_response),
                want.own_credential,
                want.is_ranged or want.is_conditional,
                within,
            ),
            deposit,
            max_body=self._limits.cached_response,
            idle=self._limits.idle_timeout,
            buffered=self._buffered,
        )
        place = _place(want)
        if not want.is_alone and want.method == "GET":
            self._flights[place] = _Flight(fill, seen)
        try:
            task = self._supervisor.spawn(f"fill {self.shelf.name}", fill.fly())
        except RuntimeError:  # the program ends
            fill.end()
            deposit.close()
        else:
            fill.task = task
            task.add_done_callback(partial(self._done, place, fill, deposit))
        return fill

    def refresh(self, want: Want) -> None:
        """Ask about what is held, behind the answer, unless somebody does."""
        if _place(want) not in self._flights:
            self.begin(want).go_behind()

    def go_alone(self, want: Want) -> None:
        """What came could not be shared: for a while each who wants it asks by himself."""
        self._alone[hash((want.target, want.scope))] = None

    def _sent(self, want: Want) -> list[RawField]:
        """The fields that go with the call: all of the request's, for any of them may be what Vary names."""
        left_out = _NOT_SENT
        if not (want.is_ranged or want.is_conditional):
            left_out |= validation.CONDITIONAL
        if want.own_credential:
            left_out |= {b"authorization"}
        via = b"%d.%d %b" % (*want.version, self._upstream.via)
        sent = request_fields(want.fields, host=self._upstream.host, via=via)
        return [field for field in sent if field[0].lower() not in left_out]

    def _deposit(self, want: Want) -> tuple[Deposit, Watch]:
        target = want.target.decode("latin-1")
        seen = self.shelf.watch(target)
        request = Request(
            want.method,
            target,
            want.fields,
            want.scope,
            want.is_authorized,
            want.is_ranged,
            want.held,
            want.has_fallback,
        )
        deposit = Deposit(
            self.shelf,
            self._rules,
            request,
            self._clocks,
            max_body=self._limits.cached_response,
            bound=self._bound,
            seen=seen,
        )
        return deposit, seen

    def _done(
        self, place: tuple[str, bytes, str], fill: Fill, deposit: Deposit, _task: asyncio.Task[None]
    ) -> None:
        flight = self._flights.get(place)
        if flight is not None and flight.fill is fill:
            del self._flights[place]
        fill.end()
        deposit.close()


def can_be_confirmed(held: Entry) -> bool:
    """Whether the origin can be asked if a response is still good: a 304 says that a success is (RFC 9110 section
    15.4.5)."""
    is_success = 200 <= held.status < 300 and held.status != _PARTIAL_CONTENT  # noqa: PLR2004
    return is_success and validation.has_validator(held.headers)


def _place(want: Want) -> tuple[str, bytes, str]:
    """What is held, if anything, says by its key which fields select: who differs in them does not wait for this."""
    return want.scope, want.target, "" if want.held is None else want.held.key.variant


def _conditions(want: Want, max_body: int) -> tuple[RawField, ...]:
    held = want.held
    if held is None or want.is_ranged or want.method != "GET":
        return ()
    if can_be_confirmed(held):
        return tuple(validation.conditions(held.headers))
    if held.status != _PARTIAL_CONTENT:
        return ()
    part, etag = ranges.content_range(held.headers), ranges.strong_etag(held.headers)
    # The rest of what would be too large to keep is of no use.
    is_small = part is not None and part.complete is not None and part.complete <= max_body
    rest = ranges.missing(part) if part is not None and is_small else None
    # Another representation than the one that the part is of comes whole (RFC 9110 section 13.1.5).
    return () if rest is None or etag is None else ((b"Range", rest), (b"If-Range", etag))
