"""The explain call: what is held of an entity, and what the next request for it would be and why."""

from proxy.core import policy
from proxy.core.policy import Absent, Decision, Limits, Miss, Revalidate, Stale
from proxy.entities import Explanation
from proxy.web.handshake.call import Call, Operation, Parameter, id_schema, members
from proxy.web.handshake.face import Face
from proxy.web.handshake.failure import not_found
from proxy.web.handshake.said import Asked, Said
from proxy.web.handshake.shape import UUID_PATTERN, EntityShape, Schema, to_json
from store.entry import Entry
from store.times import rfc3339

_WHY = {
    "hit": "What is held is fresh.",
    "never_seen": "Nothing is held of it.",
    "evicted": "Memory had to let it go for want of space.",
    "invalidated": "What was held was invalidated, or made room.",
    "expired": "What is held is past its freshness, and past what may be served while it is fetched again.",
    "absence_expired": "It was absent when the owner was last asked, too long ago.",
    "absent": "The owner did not know it a moment ago. Login and ensure ask again once a second.",
    "stale_while_revalidate": "What is held is past its freshness: it is served at once, and fetched again behind.",
    "stale_if_error": "What is held is past its freshness, and the upstream is left alone after a failure.",
    "uncacheable": "The upstream's answers can't be held: the request goes straight to it.",
}
_INCLUDE = Parameter(
    "include",
    {"type": "string", "enum": ["data"]},
    "`data` adds the entity as it is held, with the owner's item.",
    "data",
)
_NUMBER: Schema = {"type": ["number", "null"]}
_TEXT: Schema = {"type": ["string", "null"]}


def explain(face: Face) -> Call:
    """What is held, and what comes next."""
    limits = Limits(
        face.shape.config.freshness.stale_while_revalidate, face.shape.config.freshness.stale_if_error
    )

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        entity = await _entity(face, asked)
        found = await face.entities.explain(entity)
        shown = {
            "id": None if found.shown is None else found.shown.internal_id,
            face.shape.id_member: entity,
            "state": _state(found.entry, found.now),
            "age": None if found.entry is None else round(found.entry.age(found.now), 3),
            "freshness": _freshness(found.entry, limits, found.now),
            "version": None if found.shown is None else found.shown.version,
            "sourceVersion": None if found.shown is None else found.shown.source_version,
            "lastSyncedAt": None if found.shown is None else rfc3339(found.shown.last_synced_at),
            "next": _next(found),
        }
        body = to_json(shown)
        if data:
            body = b'%b,"entity":%b}' % (body[:-1], _rendered(face, found))
        return Said(body, about=(face.key(entity),))

    return face.call("explain", "POST", "explain", answer, _operation(face.shape, limits))


async def _entity(face: Face, asked: Asked) -> str:
    """The external id of a body that has either id. Raises Invalid, Failed."""
    if not asked.has("id"):
        return await face.asked_id(asked)
    entity = await face.entities.find(asked.internal_id_in("id"))
    if entity is None:
        raise not_found("#/id")
    return entity


def _rendered(face: Face, found: Explanation) -> bytes:
    """The entity with the owner's item, as far as it is held."""
    if found.shown is None:
        return b"null"
    is_stale = found.shown.item is not None and found.shown.ttl(found.now) <= 0
    return face.shape.render(found.shown, stale=is_stale, data=True)


def _operation(shape: EntityShape, limits: Limits) -> Operation:
    by_internal_id = {"id": {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}}
    return Operation(
        "Explain what is held of an entity, by either of its ids, and what the next request for it would be and why; "
        "the upstream is never asked",
        takes={"oneOf": [members({shape.id_member: id_schema()}), members(by_internal_id)]},
        takes_example={shape.id_member: shape.example_id()},
        parameters=(_INCLUDE,),
        gives=_schema(shape),
        gives_example=_example(shape, limits),
        problems={404: "Nothing is held under this internal id."},
    )


def _state(entry: Entry | None, now: float) -> str:
    if entry is None:
        return "unknown"
    if entry.absent:
        return "absent"
    if entry.item is None:
        return "invalidated"
    return "fresh" if entry.ttl(now) > 0 else "stale"


def _freshness(entry: Entry | None, limits: Limits, now: float) -> dict[str, float] | None:
    """In seconds; what is negative is past."""
    if entry is None or (entry.item is None and not entry.absent):
        return None
    while_revalidate, if_error = (0.0, 0.0) if entry.absent else policy.windows(entry, limits)
    ttl = entry.ttl(now)
    return {
        "lifetime": round(entry.lifetime, 3),
        "ttl": round(ttl, 3),
        "staleWhileRevalidate": round(ttl + while_revalidate, 3),
        "staleIfError": round(ttl + if_error, 3),
    }


def _next(found: Explanation) -> dict[str, object]:
    decision = found.decision
    if isinstance(decision, Miss) and found.passes_on:
        return {"result": "bypass", "reason": "uncacheable", "why": _WHY["uncacheable"], "upstream": True}
    reason = _reason(decision)
    return {
        "result": type(decision).__name__.lower(),
        "reason": reason,
        "why": _WHY[reason],
        "upstream": isinstance(decision, Miss | Revalidate)
        or (isinstance(decision, Stale) and decision.refresh),
    }


def _reason(decision: Decision) -> str:
    if isinstance(decision, Absent):
        return "absent"
    return getattr(decision, "reason", "hit")


def _schema(shape: EntityShape) -> Schema:
    freshness = members(
        {name: {"type": "number"} for name in ("lifetime", "ttl", "staleWhileRevalidate", "staleIfError")}
    )
    schema = members(
        {
            "id": {"type": ["string", "null"], "format": "uuid"},
            shape.id_member: id_schema(),
            "state": {"type": "string", "enum": ["unknown", "absent", "invalidated", "fresh", "stale"]},
            "age": _NUMBER,
            "freshness": {
                "anyOf": [freshness, {"type": "null"}],
                "description": "Seconds that are left of each.",
            },
            "version": {"type": ["integer", "null"]},
            "sourceVersion": {
                **_TEXT,
                "description": "The owner's version of it; with ~ before it, that one or a later one.",
            },
            "lastSyncedAt": {"type": ["string", "null"], "format": "date-time"},
            "next": members(
                {
                    "result": {
                        "type": "string",
                        "enum": ["hit", "stale", "absent", "revalidate", "miss", "bypass"],
                    },
                    "reason": {"type": "string", "enum": sorted(_WHY)},
                    "why": {"type": "string"},
                    "upstream": {"type": "boolean", "description": "Whether the upstream would be asked."},
                }
            ),
        }
    )
    schema["properties"]["entity"] = {
        "anyOf": [shape.reference, {"type": "null"}],
        "description": "There only with include=data; null where nothing is held.",
    }
    return schema


def _example(shape: EntityShape, limits: Limits) -> dict[str, object]:
    """What it says a minute after the end of freshness."""
    entity = shape.example()
    lifetime = shape.config.freshness.ttl
    return {
        "id": entity["id"],
        shape.id_member: shape.example_id(),
        "state": "stale",
        "age": lifetime + 60,
        "freshness": {
            "lifetime": lifetime,
            "ttl": -60.0,
            "staleWhileRevalidate": limits.stale_while_revalidate - 60,
            "staleIfError": limits.stale_if_error - 60,
        },
        "version": entity["version"],
        "sourceVersion": None,
        "lastSyncedAt": entity["lastSyncedAt"],
        "next": {
            "result": "stale",
            "reason": "stale_while_revalidate",
            "why": _WHY["stale_while_revalidate"],
            "upstream": True,
        },
    }
