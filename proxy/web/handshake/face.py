"""What the calls about one resource have in common."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from proxy.core.problem import Fault
from proxy.entities import Entities, Outcome, Present
from proxy.metrics import Cache
from proxy.web.handshake.call import Call, Operation
from proxy.web.handshake.failure import not_found, present
from proxy.web.handshake.said import Answer, Asked, Invalid, Said
from proxy.web.handshake.shape import EntityShape
from store.entry import Entry, Key

# Entities that are kept as JSON, for the logins of a shift: to render one costs 15 us. With the entries that they were
# made of that is some 2 MiB, and 8 at the most.
_SHOWN = 1024
_SHOWN_BYTES = 4096


class Face(Struct, frozen=True):
    """One resource, as its calls see it. `clock` gives epoch seconds."""

    shape: EntityShape
    entities: Entities
    clock: Callable[[], float]
    id_at: str
    """Where a body has the external id."""
    _shown: dict[str, tuple[Entry, bytes]]
    """What was rendered lately, by external id, and of which entry."""

    @classmethod
    def of(cls, shape: EntityShape, entities: Entities, clock: Callable[[], float]) -> "Face":
        """The face of a resource of that shape."""
        return cls(shape, entities, clock, f"#/{shape.id_member}", {})

    def call(self, name: str, method: str, place: str, answer: Answer, operation: Operation) -> Call:
        """A call below the path of the resource."""
        plural = self.shape.plural
        return Call(f"{plural}.{name}", method, f"/v1/{plural}/{place}", answer, operation)

    def key(self, entity: str) -> Key:
        """What names an entity."""
        return Key(self.shape.name, entity)

    async def external(self, entity: str, at: str) -> str:
        """An external id that a call gives, once it is certain that it is no internal one. Raises Invalid."""
        # Most ids don't even look like one, and need no waiting.
        if self.entities.may_be_internal(entity) and await self.entities.is_internal(entity):
            raise Invalid(Fault(at, "is an internal id; the owner's id belongs here"))
        return entity

    async def asked_id(self, asked: Asked) -> str:
        """The external id of a body that has nothing else. Raises Invalid."""
        (entity,) = asked.ids(self.shape.id_member)
        return await self.external(entity, self.id_at)

    async def known(self, asked: Asked) -> str:
        """The external id that belongs to the internal one in the path. Raises Invalid, Failed."""
        entity = await self.entities.find(asked.internal_id())
        if entity is None:
            raise not_found("id")
        return entity

    def said(self, entity: str, outcome: Outcome, *, at: str, data: bool) -> Said:
        """The answer to a call for one entity. Raises Failed."""
        about = (self.key(entity),)
        found = present({at: outcome}, about)[at]
        return Said(self.render(found, data=data), cache=found.source, about=about)

    def render(self, found: Present, *, data: bool) -> bytes:
        """An entity as JSON."""
        entry = found.entry
        if data or found.source == "stale":
            return self.shape.render(entry, stale=found.source == "stale", data=data)
        entity = entry.key.id
        known = self._shown.get(entity)
        if known is not None and known[0] is entry:
            return known[1]
        rendered = self.shape.render(entry)
        self._shown.pop(entity, None)
        # What was erased or replaced meanwhile is not kept.
        size = max(len(rendered), len(entry.item or b""))
        if size <= _SHOWN_BYTES and self.entities.holds(entry):
            if len(self._shown) >= _SHOWN:
                del self._shown[next(iter(self._shown))]
            self._shown[entity] = entry, rendered
        return rendered

    def forget(self, entity: str) -> None:
        """Keep nothing of an entity."""
        self._shown.pop(entity, None)


def cache_of(found: Iterable[Present]) -> Cache:
    """One word for several entities."""
    sources = {outcome.source for outcome in found}
    if "miss" in sources:
        return "miss" if len(sources) == 1 else "partial"
    return "stale" if "stale" in sources else "hit"
