"""The faces of a resource for requests that ask for an entity and nothing else, and find it in memory.

They answer what the handlers would, and make it of the same parts; what they can't answer goes to those.
"""

from collections.abc import Mapping, Sequence

from config.path_template import PathTemplate
from proxy.core.bulk import AnswerShape, RequestShape
from proxy.core.http.plain import PlainHead
from proxy.ready import Face, Ready, head
from proxy.web.bulk import BulkHandler
from proxy.web.opaque import OpaqueHandler
from proxy.web.opaque_showing import OpaqueResource
from proxy.web.resource import Resource
from proxy.web.single import SingleHandler
from store.entry import Entry
from store.slot import Slot

_OK = 200


class PlainSingle:
    """Plain GETs of one entity."""

    def __init__(self, handler: SingleHandler, resource: Resource, plain: PlainHead) -> None:
        self._handler = handler
        self._resolver = resource.resolver
        self.head = plain
        self.tally = resource.metrics.tally(handler.route, "GET", _OK, resource.name)

    def ready(self, entity: str, _body: bytes, now: float) -> Ready | None:
        """The answer to a GET of the entity, if it is a hit."""
        slots = self._resolver.hits((entity,), now)
        entries = _entries(slots or ())
        if slots is None or entries[0].status != _OK:
            return None
        return Ready(self, slots, entries, entries[0].item or b"", now)

    def head_of(self, oldest: Entry, _soonest: Entry, length: int, now: float) -> bytes:
        """The head of that answer, which is of one entry."""
        return head(_OK, self._handler.hit_fields(oldest, now), length)

    def use(self, slots: Sequence[Slot], now: float) -> None:
        """Count them as used."""
        self._resolver.use(slots, now)

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing is a hit for being fresh."""
        return self._resolver.is_doubtful


class PlainOpaque:
    """Plain GETs of what an opaque resource claims."""

    def __init__(self, handler: OpaqueHandler, resource: OpaqueResource, plain: PlainHead) -> None:
        self._handler = handler
        self._shelf = resource.origin.shelf
        self.head = plain
        self.tally = resource.metrics.tally(handler.route, "GET", _OK, resource.name)

    def ready(self, target: str, _body: bytes, now: float) -> Ready | None:
        """The answer to a GET of the target, if it is a hit."""
        slot = self._shelf.fresh(target, now)
        if slot is None or slot.entry is None or slot.entry.status != _OK:
            return None
        return Ready(self, [slot], [slot.entry], slot.entry.item or b"", now)

    def head_of(self, oldest: Entry, _soonest: Entry, length: int, now: float) -> bytes:
        """The head of that answer, which is of one response."""
        return head(_OK, self._handler.hit_fields(oldest, now), length)

    def use(self, slots: Sequence[Slot], now: float) -> None:
        """Count them as used."""
        self._shelf.use(slots, now)

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing is a hit for being fresh: nobody else changes what is held here."""
        return False


class PlainBulk:
    """Plain bulk calls."""

    def __init__(self, handler: BulkHandler, resource: Resource, plain: PlainHead) -> None:
        config = resource.config.bulk
        if config is None or resource.request_shape is None:
            raise ValueError(f"resources.{resource.name} has no bulk call")
        self._handler = handler
        self._resolver = resource.resolver
        self._status = config.status
        self._max_body = resource.limits.bulk_body
        self._request: RequestShape = resource.request_shape
        self._answer: AnswerShape = resource.answer_shape
        self.head = plain
        self.tally = resource.metrics.tally(handler.route, config.method, config.status, resource.name)

    def ready(self, _entity: str, body: bytes, now: float) -> Ready | None:
        """The answer to a call with this body, if every id in it is a hit, and there once."""
        ids = self._request.listed(body) if len(body) <= self._max_body else None
        if ids is None or len(set(ids)) != len(ids):
            return None
        slots = self._resolver.hits(ids, now)  # what can't be an id is not there
        if slots is None:
            return None
        entries = _entries(slots)
        answer = self._answer.assemble([entry.item or b"" for entry in entries])
        return Ready(self, slots, entries, answer, now)

    def head_of(self, oldest: Entry, soonest: Entry, length: int, now: float) -> bytes:
        """The head of that answer."""
        return head(self._status, self._handler.hit_fields(oldest, soonest, now), length)

    def use(self, slots: Sequence[Slot], now: float) -> None:
        """Count them as used."""
        self._resolver.use(slots, now)

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing is a hit for being fresh."""
        return self._resolver.is_doubtful


class PlainFaces:
    """The plain faces of one listener."""

    def __init__(
        self,
        bulks: Mapping[tuple[bytes, bytes], PlainBulk],
        singles: Sequence[tuple[PathTemplate, PlainSingle]],
        opaques: Sequence[tuple[PathTemplate, PlainOpaque]] = (),
    ) -> None:
        self._bulks = bulks
        self._singles = singles
        self._opaques = opaques

    @property
    def telling(self) -> frozenset[bytes]:
        """The fields that any of them looks at, in lower case."""
        faces: list[Face] = list(self._bulks.values())
        faces += [single for _, single in self._singles]
        faces += [opaque for _, opaque in self._opaques]
        return frozenset().union(*(face.head.telling for face in faces))

    @property
    def starts(self) -> tuple[bytes, ...]:
        """One of these is what a request begins with that is for any of them."""
        bulks = [b"%b %b " % claimed for claimed in self._bulks]
        return (*bulks, *(b"GET " + template.prefix for template, _ in (*self._singles, *self._opaques)))

    def __call__(self, method: bytes, target: bytes) -> tuple[Face, str] | None:
        """The face that a request is for, if there is one, and what it asks for there: the id that its target names, or
        the target."""
        if not target.startswith(b"/") or b"#" in target:
            return None
        path, query, _ = target.partition(b"?")
        if method == b"GET" and self._opaques:
            for template, opaque in self._opaques:
                if template.claims(path):
                    return opaque, target.decode("latin-1")
        if query:
            return None
        if method != b"GET":
            bulk = self._bulks.get((method, target))
            return None if bulk is None else (bulk, "")
        for template, single in self._singles:
            entity = template.match(target)
            if entity is not None:
                return single, entity
        return None


def _entries(slots: Sequence[Slot]) -> list[Entry]:
    return [entry for slot in slots if (entry := slot.entry) is not None]
