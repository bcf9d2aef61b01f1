"""The local copy of one resource's entities, as the handshake API keeps it: with internal ids that stay.

Everything here is resolve, a look at the store, or a change of a row. What is given out has an internal id that is
durable: whoever keeps it finds it again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Literal

from msgspec import Struct

from config.model import ResourceConfig
from proxy.core.bulk import AnswerShape
from proxy.core.http.fields import RawField
from proxy.core.policy import Decision
from proxy.keeper import columns_of
from proxy.outcomes import Found, NotFound, Resolution
from proxy.resolver import Resolver
from store.base import Page, Position, StoreError
from store.entry import Column, Entry, Key, Write
from store.generation import Watch
from store.tiered import TieredStore

_UUID_LENGTH = 36


class Present(Struct, frozen=True):
    """The entity, its internal id durable, and where it came from."""

    entry: Entry
    source: Literal["hit", "stale", "miss"]


class Nowhere(Struct, frozen=True):
    """The upstream says that there is none: just now (`miss`), or a moment ago (`negative`)."""

    source: Literal["negative", "miss"]


class Unavailable(Struct, frozen=True):
    """The upstream gave no usable answer, and there is no local copy."""

    reason: str
    status: int | None = None
    """What the upstream said, if it spoke HTTP."""
    retry_after: float | None = None
    """Seconds after which it is worth asking again, if that is known."""


class NotDurable(Struct, frozen=True):
    """The entity is there, but the store failed: its internal id can't be given out."""


Outcome = Present | Nowhere | Unavailable | NotDurable


class Explanation(Struct, frozen=True):
    """What is held of an entity, and what the next request for it would come to."""

    entry: Entry | None
    """What the next request finds."""
    shown: Entry | None
    """What has the internal id, version and time of last sync, if anything has."""
    decision: Decision
    passes_on: bool
    """Whether a request that has to ask the upstream would go through as it is: its answers can't be held."""
    now: float


class Entities:
    """The entities of one resource. `clock` gives epoch seconds. External ids come in, each once.

    `on_invalidated(key, source)` is told of each erasure.
    """

    def __init__(
        self,
        config: ResourceConfig,
        answer: AnswerShape,
        resolver: Resolver,
        store: TieredStore,
        *,
        on_invalidated: Callable[[Key, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.name = resolver.name
        self._config = config
        self._answer = answer
        self._resolver = resolver
        self._store = store
        self._on_invalidated = on_invalidated
        self._clock = clock

    def fresh(self, entity: str) -> Present | None:
        """The entity, if memory has all that `ensure` would give out, without waiting for anything."""
        entry = self._store.memory.get(self._key(entity))
        if entry is None or not self._is_confirmed(entry) or not self._resolver.is_hit(entry):
            return None
        return Present(entry, "hit")

    async def have(self, entity: str, fields: Iterable[RawField] = ()) -> Outcome:
        """`ensure` of one, which is at once where memory has it."""
        return self.fresh(entity) or (await self.ensure([entity], fields))[entity]

    async def ensure(self, ids: Sequence[str], fields: Iterable[RawField] = ()) -> dict[str, Outcome]:
        """Each entity from the local copy, or fetched where there is none; `fields` go with a fetch."""
        with closing(self._store.watch_erasures(map(self._key, ids))) as unerased:
            return await self._outcomes(ids, await self._resolver.ensure(ids, fields=fields), unerased)

    async def refresh(self, entity: str, fields: Iterable[RawField] = ()) -> Outcome:
        """The entity as the upstream has it now; `fields` go with the fetch."""
        with closing(self._store.watch_erasures([self._key(entity)])) as unerased:
            resolution = await self._resolver.refresh(entity, fields=fields)
            return (await self._outcomes([entity], resolution, unerased))[entity]

    def holds(self, entry: Entry) -> bool:
        """Whether memory has this very entry."""
        return self._store.memory.get(entry.key) is entry

    async def held(self, entity: str) -> Entry | None:
        """The representation that is held, however old; the upstream is never asked. Raises StoreError."""
        entry = await self._look(entity)
        if entry is None or entry.item is None or entry.absent:
            return None
        if self._is_confirmed(entry):
            return entry
        with closing(self._store.watch_erasures([entry.key])) as unerased:
            confirmed = await self._confirm([entry], unerased)
            if not confirmed and unerased.is_current(entry.key):
                raise StoreError("confirm: not durable")
        return confirmed.get(entry.key)

    async def mark_synced(self, entity: str) -> bool:
        """Move the time of last sync to now, and nothing else; whether there is a row, or a copy in memory.

        Raises StoreError.
        """
        key = self._key(entity)
        if await self._store.change(key, synced_at=self._clock()) is not None:
            return True
        # What was fetched a moment ago may be on its way to its row.
        return await self.held(entity) is not None and (
            await self._store.change(key, synced_at=self._clock()) is not None
        )

    async def change(self, entity: str, local: Mapping[str, Column]) -> Entry | None:
        """Set local attributes by column; the entity as it stands then, or None if there is no row of it.

        Raises StoreError.
        """
        return await self._store.change(self._key(entity), local=local)

    async def erase(self, entity: str) -> None:
        """Forget the entity altogether. Raises StoreError."""
        key = self._key(entity)
        self._on_invalidated(key, "erasure")
        self._resolver.let_go(entity)
        await self._store.erase(key)

    async def finish_erasures(self) -> None:
        """Remove what earlier erasures had to leave in the files. Raises StoreError if it is still there."""
        await self._store.finish_erasures()

    async def find(self, internal_id: str) -> str | None:
        """The external id that belongs to an internal one (lower-case UUID). Raises StoreError."""
        return await self._store.find(self.name, internal_id)

    def may_be_internal(self, value: str) -> bool:
        """Whether what should be an external id could be an internal one: it has that length, and memory does not know
        it. An external id may well be a UUID, too."""
        return len(value) == _UUID_LENGTH and not _is_known(self._store.memory.get(self._key(value)))

    async def is_internal(self, value: str) -> bool:
        """Whether what should be an external id is an internal one of ours. Raises StoreError."""
        owner = await self.find(value.lower())
        return owner not in {None, value} and not _is_known(await self._look(value))

    async def longest_unsynced(self, *, before: float, after: Position | None, limit: int) -> Page:
        """Up to `limit` entities that were last synced before `before` (epoch seconds), from behind `after` on.

        Raises StoreError.
        """
        return await self._store.longest_unsynced(self.name, before=before, after=after, limit=limit)

    async def explain(self, entity: str) -> Explanation:
        """What is held of an entity, and what the next request for it would come to. Raises StoreError."""
        entry, decision, passes_on = await self._resolver.explain(entity)
        shown = await self.held(entity)
        if shown is None:  # of what is gone, or said to be, the row has the ids still
            key = self._key(entity)
            shown = (await self._store.rows([key])).get(key)
        return Explanation(entry, shown, decision, passes_on, self._clock())

    async def _outcomes(
        self, ids: Sequence[str], resolution: Resolution, unerased: Watch
    ) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        found: dict[str, Found] = {}
        for entity in ids:
            match resolution.outcomes.get(entity):
                case Found(entry, source) as outcome:
                    found[entity] = outcome
                    if self._is_confirmed(entry) and unerased.is_current(entry.key):
                        outcomes[entity] = Present(entry, source)
                case NotFound(_, source):
                    outcomes[entity] = Nowhere(source)
                case None:
                    outcomes[entity] = _unavailable(resolution)
        unconfirmed = [outcome.entry for entity, outcome in found.items() if entity not in outcomes]
        confirmed = await self._confirm(unconfirmed, unerased) if unconfirmed else {}
        for entry in unconfirmed:
            shown = confirmed.get(entry.key)
            if shown is not None:
                outcomes[entry.key.id] = Present(shown, found[entry.key.id].source)
            elif unerased.is_current(entry.key):
                outcomes[entry.key.id] = NotDurable()
            else:  # what was under way must not bring it back: it is for the next call to ask again
                outcomes[entry.key.id] = Unavailable("erased_meanwhile")
        return {entity: outcomes[entity] for entity in ids}

    def _is_confirmed(self, entry: Entry) -> bool:
        """Whether its internal id and local attributes are certain, and will be found again."""
        return entry.durable or (self._config.storage == "memory" and entry.internal_id is not None)

    async def _confirm(self, entries: Sequence[Entry], unerased: Watch) -> dict[Key, Entry]:
        writes = [self._write(entry) for entry in entries]
        return await self._store.confirm(writes, at=self._clock(), unerased=unerased)

    async def _look(self, entity: str) -> Entry | None:
        key = self._key(entity)
        entry = self._store.peek(key)
        return entry if entry is not None else (await self._store.load([key], strict=True)).get(key)

    def _write(self, entry: Entry) -> Write:
        if entry.item is None:
            raise RuntimeError("only a representation is given out")
        return Write(entry, columns_of(self._config, self._answer.item(entry.item).document))

    def _key(self, entity: str) -> Key:
        return Key(self.name, entity)


def _is_known(entry: Entry | None) -> bool:
    return entry is not None and not entry.absent


def _unavailable(resolution: Resolution) -> Unavailable:
    passed = resolution.passed
    status = None if passed is None else passed.head.status
    return Unavailable(resolution.failure or "refused", status, resolution.retry_after)
