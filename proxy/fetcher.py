"""One upstream call for entities of a resource, and what its answer means: stored, absent, refused, failed."""

from collections.abc import Callable, Mapping

from cachetools import TTLCache

from config.model import ResourceConfig
from proxy.core import bulk
from proxy.core.backoff import Backoff
from proxy.core.http.fields import RawField
from proxy.core.http.retry_after import retry_after
from proxy.core.http.validation import conditions, freshened, has_validator, is_about, without_validators
from proxy.exchange import Fetched, Reason, UpstreamError
from proxy.keeper import Keeper, is_own_copy
from proxy.metrics import Metrics
from proxy.results import Failure, Loaded, PassOn, Refused, Result, Wish
from proxy.upstream import Upstream
from store.entry import Entry, Key

# How long what can't be held or put together goes straight to its upstream before we look again.
_PASS_ON_SECONDS = 5.0
# Ids that are marked so; an upstream that allows nothing to be stored would mark every one.
_UNCACHEABLE_KEYS = 4096
# Answers for one caller alone, one after the other, by which an upstream shows that it gives no others.
_PERSONAL_IN_A_ROW = 3
_GONE = (404, 410)
_OK, _NOT_MODIFIED, _TOO_MANY = 200, 304, 429
_Listed = Mapping[str, bulk.Item] | None
_IDENTITY: tuple[RawField, ...] = ((b"Accept-Encoding", b"identity"),)
# The proxy's own doing: the upstream was not asked, or is not the one at fault.
_NOT_ITS_FAULT = frozenset({"circuit_open", "too_large", "overloaded"})


class Fetcher:
    """Calls one resource's upstream. `clock` gives epoch seconds that never step back, `wall` those of the plain clock,
    which other hosts have too, `monotonic` seconds that never step."""

    def __init__(
        self,
        name: str,
        config: ResourceConfig,
        upstream: Upstream,
        keeper: Keeper,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        wall: Callable[[], float],
        monotonic: Callable[[], float],
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
        self._keeper = keeper
        self._metrics = metrics
        self._clock = clock
        self._wall = wall
        self._monotonic = monotonic
        self._rng = rng
        self._max_body = max_body
        self._warn = warn
        self._warned = False
        self._backoff = Backoff()
        self._pass_on_until = float("-inf")
        self._all_pass_on_until = float("-inf")
        self._personal_in_a_row = 0
        self._uncacheable: TTLCache[Key, None] = TTLCache(
            _UNCACHEABLE_KEYS, _PASS_ON_SECONDS, timer=monotonic
        )

    @property
    def timeout(self) -> float:
        """Seconds that a fill may take, from the wish to the whole answer."""
        return self._upstream.config.timeout

    @property
    def backing_off(self) -> bool:
        """Whether the upstream has just failed, and is not to be asked for what there is a copy of."""
        return self._backoff.is_on(self._monotonic())

    def overloaded(self) -> None:
        """Count a call that was not made, for too many wait already."""
        self._upstream.failed("overloaded")

    def passes_on(self, key: Key, *, by_bulk: bool) -> bool:
        """Whether an answer about this was lately found to be one that can't be held or put together."""
        now = self._monotonic()
        return (
            key in self._uncacheable
            or now < self._all_pass_on_until
            or (by_bulk and now < self._pass_on_until)
        )

    def prefers_single(self, wish: Wish) -> bool:
        """Whether a single call may bring less than a bulk: a 304, since what is held has a validator."""
        held = wish.held.get(wish.ids[0])
        return held is not None and has_validator(held.headers)

    async def fetch(self, wish: Wish, *, single: bool) -> dict[str, Result]:
        """Call the upstream, `single` by GET of the one entity, for as long as `timeout`. Raises nothing."""
        try:
            results = await (self._by_single(wish) if single else self._by_bulk(wish))
        except UpstreamError as error:
            if error.reason == "too_large":
                # An answer beyond `limits.cached_response` may be a good one: it can be streamed, but not held.
                return self._pass_on(wish)
            if error.reason not in _NOT_ITS_FAULT:
                self._failed_again(error.retry_after)
            return dict.fromkeys(wish.ids, Failure(error.reason, retry_after=error.retry_after))
        if not any(isinstance(result, Failure) for result in results.values()):
            self._backoff.succeeded()
        if is_own_copy(self.config, wish.variant):
            for entity, result in results.items():
                if isinstance(result, Refused) and _is_revoked(result.response.head.status):
                    self._keeper.drop(wish, entity, surely=True)  # an absence that it was told, too
        return results

    async def _by_bulk(self, wish: Wish) -> dict[str, Result]:
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
        requested_at = self._clock()
        fetched = await self._upstream.fetch(
            f"{self.name}.bulk",
            config.method,
            str(config.path).encode(),
            head,
            self.shape.render(wish.ids),
            max_body=self._max_body,
            within=self.timeout,
            own_credential=not is_own_copy(self.config, wish.variant),
        )
        if not fetched.ok:
            return dict.fromkeys(wish.ids, self._not_ok(wish, fetched))
        try:
            return self._bulk_results(wish, fetched, requested_at)
        except bulk.NotUnderstood:
            return dict.fromkeys(wish.ids, self._failure("invalid_answer"))
        except bulk.TooComplex:
            self._upstream.failed("too_large")
            return self._pass_on(wish)
        except bulk.NotAssemblable as error:
            if not self._warned:
                self._warned = True
                self._warn("bulk_answer_not_assemblable")
            # The envelope is at fault, not the ids: let requests through as they are for a while.
            self._pass_on_until = self._monotonic() + _PASS_ON_SECONDS
            found = None if error.items is None else bulk.take_requested(error.items, wish.ids)[0]
            return self._beyond(wish, found, lists_all=False)

    def _bulk_results(self, wish: Wish, fetched: Fetched, requested_at: float) -> dict[str, Result]:
        items = self.answer.parse(fetched.body)
        found, repeated = bulk.take_requested(items, wish.ids)
        held = wish.held.keys()
        if bulk.is_implausible_absence(held=len(held), missing=len(held - found.keys())):
            return dict.fromkeys(wish.ids, self._failure("implausible_absence"))
        fields = fetched.head.fields
        if self._keeper.is_for_one_caller(fields):
            for entity in found:
                self._keeper.drop(wish, entity)  # there is a newer answer than ours
            return self._personal(wish, found)
        self._personal_in_a_row = 0
        # Its validators are not of any item, and nothing is guessed of an answer to a POST (RFC 9110 section 9.3.3).
        fresh = self._keeper.assess(wish, without_validators(fields), requested_at)
        if fresh is None:  # who waits for these must not wait in line, one after the other
            self._mark(wish)
        results: dict[str, Result] = {}
        for entity in wish.ids:
            item = found.get(entity)
            if item is None:
                results[entity] = self._keeper.absent(wish, entity, fresh)
            else:
                results[entity] = self._keeper.keep(wish, item, None if entity in repeated else fresh)
        return results

    async def _by_single(self, wish: Wish) -> dict[str, Result]:
        if self.config.single is None:
            raise RuntimeError("the resource has no single call")
        (entity,) = wish.ids
        self._metrics.upstream_asked(self.name, 1)
        path = self.config.single.path.expand(entity).encode()
        held = wish.held.get(entity)
        head = [(b"Accept", b"application/json"), *_IDENTITY, *wish.fields]
        asked = conditions(held.headers) if held is not None else []
        started = self._monotonic()
        requested_at = self._clock()
        fetched = await self._get(wish, path, head + asked, self.timeout)
        if fetched.head.status == _NOT_MODIFIED and held is not None and asked:
            if is_about(held.headers, fetched.head.fields):
                return {entity: self._validated(wish, held, fetched, requested_at)}
            # It has something else in mind than what we hold: have the whole of it (RFC 9111 section 4.3.4).
            fetched = await self._get(wish, path, head, self.timeout - (self._monotonic() - started))
        return {entity: self._single_result(wish, entity, fetched, requested_at)}

    async def _get(self, wish: Wish, path: bytes, head: list[RawField], within: float) -> Fetched:
        return await self._upstream.fetch(
            f"{self.name}.single",
            "GET",
            path,
            head,
            max_body=self._max_body,
            within=within,
            own_credential=not is_own_copy(self.config, wish.variant),
        )

    def _single_result(self, wish: Wish, entity: str, fetched: Fetched, requested_at: float) -> Result:
        status = fetched.head.status
        is_gone = status in _GONE
        if not is_gone and not fetched.ok:
            return self._not_ok(wish, fetched)
        fields = fetched.head.fields
        fresh = self._keeper.assess(wish, fields, requested_at, status=status)
        if not (is_gone or status == _OK):
            return self._pass_on(wish)[entity]
        if fresh is None:
            self._keeper.drop(wish, entity)  # there is a newer answer than ours
            if self._keeper.is_for_one_caller(fields):
                return self._personal(wish, {} if is_gone else self._listed(fetched, entity))[entity]
            self._mark(wish)
        self._personal_in_a_row = 0
        if is_gone:
            return self._keeper.absent(wish, entity, fresh, fetched)
        try:
            item = self.answer.item(fetched.body)
        except bulk.NotUnderstood:
            return self._failure("invalid_answer")
        except bulk.TooComplex:
            self._upstream.failed("too_large")
            return self._pass_on(wish)[entity]
        if item.id != entity:
            return self._failure("invalid_answer")
        return self._keeper.keep(wish, item, fresh, fields)

    def _listed(self, fetched: Fetched, entity: str) -> _Listed:
        """The entity in a single's answer."""
        try:
            item = self.answer.item(fetched.body)
        except (bulk.NotUnderstood, bulk.TooComplex):
            return None
        return {entity: item} if item.id == entity else None

    def _validated(self, wish: Wish, held: Entry, fetched: Fetched, requested_at: float) -> Result:
        """A 304 (RFC 9111 section 4.3.4): the bytes that we hold, with what the 304 says of them."""
        if held.item is None:
            raise RuntimeError("only a representation has validators to ask with")
        received = fetched.head.fields
        fields = freshened(held.headers, received)
        # None is stored, but a cookie is for one caller, whatever it comes with (RFC 9111 section 7.3).
        cookies = tuple(field for field in received if field[0].lower() == b"set-cookie")
        fresh = self._keeper.assess(wish, fields + cookies, requested_at)
        if fresh is None:
            self._keeper.drop(wish, held.key.id)
            return self._pass_on(wish, {held.key.id: self.answer.item(held.item)})[held.key.id]
        loaded = self._keeper.keep(wish, self.answer.item(held.item), fresh, fields)
        return Loaded(loaded.entry, loaded.stored, validated=True)

    def _pass_on(self, wish: Wish, found: _Listed = None) -> dict[str, Result]:
        self._mark(wish)
        return self._beyond(wish, found)

    def _personal(self, wish: Wish, found: _Listed) -> dict[str, Result]:
        """Whoever asks gets the upstream's own answer, with all that is meant for that caller alone.

        An upstream that answers several times so answers always so: it is not asked twice for each new id.
        """
        self._personal_in_a_row += 1
        if self._personal_in_a_row >= _PERSONAL_IN_A_ROW:
            self._all_pass_on_until = self._monotonic() + _PASS_ON_SECONDS
        return self._pass_on(wish, found)

    def _beyond(self, wish: Wish, found: _Listed, *, lists_all: bool = True) -> dict[str, Result]:
        """There is a newer answer, which can't be held: the copies are left for when the upstream fails.

        `found` is what it lists, or None if that can't be told; `lists_all`: what it leaves out is absent.
        """
        for held in wish.held.values():
            if held.item is not None:
                self._keeper.demote(wish, held, self.answer.item(held.item))
        if found is None:
            return dict.fromkeys(wish.ids, PassOn())
        return {
            entity: PassOn(self._keeper.unheld(wish, entity, found.get(entity)))
            if lists_all or entity in found
            else PassOn()
            for entity in wish.ids
        }

    def _mark(self, wish: Wish) -> None:
        self._uncacheable.update({Key(self.name, entity, wish.variant): None for entity in wish.ids})

    def _not_ok(self, wish: Wish, fetched: Fetched) -> Result:
        status = fetched.head.status
        if status < 500 and status != _TOO_MANY:  # noqa: PLR2004 - RFC 9110 section 15.6
            return Refused(fetched)
        self._upstream.failed("status")
        wait = retry_after(fetched.head.fields, now=self._wall())
        # That one caller asks too often must not take the upstream from the others.
        if status != _TOO_MANY or not is_own_copy(self.config, wish.variant):
            self._failed_again(wait)
        return Failure("status", fetched, wait)

    def _failure(self, reason: Reason) -> Failure:
        self._upstream.failed(reason)
        self._failed_again(None)
        return Failure(reason)

    def _failed_again(self, wait: float | None) -> None:
        self._backoff.failed(self._monotonic(), self._rng, retry_after=wait)


def _is_revoked(status: int) -> bool:
    """Whether an answer says that a credential is not, or no longer, good for what it asked: 401, 403, or the redirect
    to a log-in that stands for them where people use a browser."""
    return status in {401, 403} or 300 <= status < 400  # noqa: PLR2004
