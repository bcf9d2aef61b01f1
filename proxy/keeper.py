"""What is kept of an upstream's answer: entries, and whether they went into the store."""

from collections.abc import Callable

from msgspec.structs import replace

from config.model import ResourceConfig
from proxy.core import bulk
from proxy.core.http.fields import RawField
from proxy.core.http.freshness import Freshness, Rules, assess, bounded, is_for_one_caller
from proxy.core.http.storing import stored_fields
from proxy.core.versions import as_version, compare
from proxy.exchange import Fetched
from proxy.results import Loaded, Missing, Wish
from store.entry import AT_LEAST, Column, Entry, Key, Write
from store.tiered import TieredStore


class Keeper:
    """Makes entries of one resource out of answers, and puts into the store what may be kept.

    What was invalidated or written while the call was under way (`Wish.seen`) stays as it is. `clock` gives
    epoch seconds, `wall` the same by the plain clock, which other hosts have too, `rng` a number in [0, 1).
    """

    def __init__(
        self,
        name: str,
        config: ResourceConfig,
        store: TieredStore,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: Callable[[], float],
    ) -> None:
        self._name = name
        self._config = config
        self._store = store
        self._clock = clock
        self._wall = wall
        self._rng = rng
        freshness = config.freshness
        # An answer may vary with a credential where each has copies of its own.
        selecting = {*config.key_headers, *(config.credential_headers if has_own_copies(config) else ())}
        self._rules = Rules(
            ttl=freshness.ttl,
            jitter=freshness.jitter,
            origin=freshness.origin,
            key_fields=frozenset(name.lower().encode() for name in selecting),
        )

    def is_for_one_caller(self, fields: tuple[RawField, ...]) -> bool:
        """Whether an answer is its caller's own, as far as the origin's word counts."""
        return self._rules.origin == "honour" and is_for_one_caller(fields, self._rules.key_fields)

    def assess(
        self, wish: Wish, fields: tuple[RawField, ...], requested_at: float, *, status: int = 200
    ) -> Freshness | None:
        """How an answer with these fields, which has come just now, may be used."""
        received_at = self._wall()  # Date and Expires are compared with it
        requested_at = received_at - (self._clock() - requested_at)
        fresh = assess(
            fields,
            self._rules,
            status=status,
            requested_at=requested_at,
            received_at=received_at,
            rng=self._rng,
        )
        if fresh is None or not is_own_copy(self._config, wish.variant):
            return fresh
        limits = self._config.freshness
        # That the upstream has answered this very credential is remembered for `ttl`.
        return bounded(
            fresh,
            limits.ttl,
            while_revalidate=limits.stale_while_revalidate,
            if_error=limits.stale_if_error,
        )

    def keep(
        self, wish: Wish, item: bulk.Item, fresh: Freshness | None, fields: tuple[RawField, ...] = ()
    ) -> Loaded:
        """An item that came, and its answer's fields; `fresh` is None if it must not be stored."""
        entry = self._entry(wish, item, fresh or Freshness(0.0), fields)
        if fresh is None:
            self.drop(wish, item.id)  # what may not be stored is newer than what was
            return Loaded(entry, stored=False)
        if self._is_outdated(wish, entry):
            held = self._store.memory.look_at(entry.key)
            if held is None or held.item is None or held.absent or self._is_outdated(wish, held):
                return Loaded(entry, stored=False)
            return Loaded(held, stored=True, collapsed=True)
        return Loaded(entry, stored=self._store.put(self._write(wish, entry, item), seen=wish.seen))

    def _is_outdated(self, wish: Wish, entry: Entry) -> bool:
        """Whether the owner has named a later version than this a moment ago, here or to another replica."""
        version = (entry.source_version or "").removeprefix(AT_LEAST)
        named = (self._store.named(entry.key), wish.named.get(entry.key.id))
        return bool(version) and any(one is not None and compare(version, one) == "older" for one in named)

    def demote(self, wish: Wish, held: Entry, item: bulk.Item) -> None:
        """Serve what is held while it is fresh and when the upstream fails, but no longer while it is revalidated."""
        if held.stale_while_revalidate != 0.0:
            now = (
                self._store.memory.look_at(held.key) or held
            )  # its time of last sync may have been moved since
            demoted = replace(held, stale_while_revalidate=0.0, last_synced_at=now.last_synced_at)
            self._store.put(self._write(wish, demoted, item), seen=wish.seen)

    def _write(self, wish: Wish, entry: Entry, item: bulk.Item) -> Write:
        return Write(entry, columns_of(self._config, item.document), wish.lease)

    def absent(
        self, wish: Wish, entity: str, fresh: Freshness | None, response: Fetched | None = None
    ) -> Missing:
        """The upstream has no such entity; `response` is what it said, if it said so of this one alone."""
        entry = self._absence(wish, entity, fresh, response)
        if not wish.seen.is_current(entry.key):
            return Missing(entry, stored=False)
        # With a database that fails, nobody knows what is in it: it must not come back when that works again.
        self.drop(wish, entity, surely=self._store.degraded)
        if fresh is not None:
            self._store.put(Write(entry, {}))
        return Missing(entry, stored=fresh is not None)

    def unheld(self, wish: Wish, entity: str, item: bulk.Item | None) -> Loaded | Missing:
        """What an answer that can't be held said of an entity; nothing that is held changes."""
        if item is None:
            return Missing(self._absence(wish, entity, None, None), stored=False)
        return Loaded(self._entry(wish, item, Freshness(0.0), ()), stored=False)

    def _absence(self, wish: Wish, entity: str, fresh: Freshness | None, response: Fetched | None) -> Entry:
        now = self._clock()
        lifetime = fresh.lifetime - fresh.initial_age if fresh else 0.0
        return Entry(
            key=Key(self._name, entity, wish.variant),
            item=response.body if response else None,
            received_at=now,
            lifetime=max(0.0, min(self._config.freshness.negative_ttl, lifetime)),
            absent=True,
            status=response.head.status if response else 404,
            headers=_kept(response.head.fields, fresh) if response else (),
            last_synced_at=now,
            shareable=bool(fresh and fresh.shareable),
        )

    def drop(self, wish: Wish, entity: str, *, surely: bool = False) -> None:
        """Forget what is held of an entity, of which the upstream has just said something else; `surely`: even if
        nothing seems to be held."""
        key = Key(self._name, entity, wish.variant)
        if (surely or entity in wish.held) and wish.seen.is_current(key):
            self._store.drop(key)

    def _entry(self, wish: Wish, item: bulk.Item, fresh: Freshness, fields: tuple[RawField, ...]) -> Entry:
        now = self._clock()
        pointer = self._config.source_version
        version = as_version(pointer.resolve(item.document)) if pointer else None
        return Entry(
            key=Key(self._name, item.id, wish.variant),
            item=item.raw,
            received_at=now,
            lifetime=fresh.lifetime,
            initial_age=fresh.initial_age,
            stale_while_revalidate=fresh.stale_while_revalidate,
            stale_if_error=fresh.stale_if_error,
            must_revalidate=fresh.must_revalidate,
            shareable=fresh.shareable,
            headers=_kept(fields, fresh),
            last_synced_at=now,
            source_version=version,
        )


def _kept(fields: tuple[RawField, ...], fresh: Freshness | None) -> tuple[RawField, ...]:
    return stored_fields(fields, fresh.omitted if fresh else frozenset())


def has_own_copies(config: ResourceConfig) -> bool:
    """Whether each credential has copies of its own, and sees no others."""
    return config.sharing == "per_credential"


def is_own_copy(config: ResourceConfig, variant: str) -> bool:
    """Whether a variant is one caller's own copy, asked for in that caller's name. Without a variant it is what the
    proxy asks for in its own name, or callers without any credential: the row, where there is one."""
    return has_own_copies(config) and bool(variant)


def columns_of(config: ResourceConfig, document: object) -> dict[str, Column]:
    """The configured columns of an item; None where it has no scalar."""
    return {name: _column(at.resolve(document)) for name, at in config.columns.items()}


def _column(value: object) -> Column:
    """A value for a person to read; what is not a scalar stays in the item alone."""
    return value if isinstance(value, str | int | float) else None
