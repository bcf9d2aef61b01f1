"""The calls that only look at the local copy or change it: exists, synced, stale, explain, and those by internal id."""

import re
from collections.abc import Mapping
from typing import Any

from proxy.attributes import LocalAttribute
from proxy.core.problem import Fault
from proxy.entities import Present
from proxy.web.handshake.call import (
    INCLUDE,
    NOT_FOUND,
    UNAVAILABLE,
    Call,
    Operation,
    Parameter,
    by_external_id,
    gives_entity,
    members,
)
from proxy.web.handshake.cursor import decode, encode
from proxy.web.handshake.face import Face
from proxy.web.handshake.failure import Failed, not_found
from proxy.web.handshake.said import Asked, Invalid, Said
from proxy.web.handshake.shape import Schema, to_json
from store.entry import Column
from store.times import rfc3339

_HOURS, _LIMIT = 24.0, 100
_MAX_HOURS = 24.0 * 366 * 100
# Entities of one page: an answer of some hundred kilobytes.
_MAX_LIMIT = 1000
_MAX_TEXT = 255
_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_NOT_HELD = "Nothing is held under this id."


def exists(face: Face) -> Call:
    """Whether there is a local copy: the seed's checkUserExistsLocally. Never an upstream call."""

    async def answer(asked: Asked) -> Said:
        asked.parameters()
        entity = await face.asked_id(asked)
        entry = await face.entities.held(entity)
        shown = {
            "exists": entry is not None,
            "id": None if entry is None else entry.internal_id,
            "lastSyncedAt": None if entry is None else rfc3339(entry.last_synced_at),
        }
        return Said(to_json(shown), cache="negative" if entry is None else "hit", about=(face.key(entity),))

    shape = face.shape
    operation = by_external_id(
        shape,
        f"Say whether there is a local copy of a {shape.name}; the upstream is never asked",
        gives=members(
            {
                "exists": {"type": "boolean"},
                "id": {"type": ["string", "null"], "format": "uuid"},
                "lastSyncedAt": _TIME,
            }
        ),
        gives_example={"exists": True, **{name: shape.example()[name] for name in ("id", "lastSyncedAt")}},
    )
    return face.call("exists", "POST", "exists", answer, operation)


def synced(face: Face) -> Call:
    """Move the time of last sync: the seed's updateUserSyncTimestamp."""

    async def answer(asked: Asked) -> Said:
        asked.parameters()
        entity = await face.asked_id(asked)
        if not await face.entities.mark_synced(entity):
            raise not_found(face.id_at)
        return Said(status=204, about=(face.key(entity),))

    shape = face.shape
    operation = by_external_id(
        shape,
        "Move lastSyncedAt to now; freshness stays as it is",
        problems={404: _NOT_HELD},
    )
    return face.call("synced", "POST", "synced", answer, operation)


def stale(face: Face) -> Call:
    """What was not synced for long, page by page: the seed's getStaleUsers."""

    async def answer(asked: Asked) -> Said:
        own = ("hours", "limit", "cursor")
        data = asked.wants_data(*own)
        given = asked.parameters("include", *own)
        hours = _number(given, "hours", _HOURS, most=_MAX_HOURS)
        limit = int(_number(given, "limit", _LIMIT, least=1, most=_MAX_LIMIT, whole=True))
        after = decode(given["cursor"]) if "cursor" in given else None
        before = face.clock() - hours * 3600
        page = await face.entities.longest_unsynced(before=before, after=after, limit=limit)
        now = face.clock()
        listed = b",".join(
            face.shape.render(entry, stale=entry.ttl(now) <= 0, data=data) for entry in page.entries
        )
        following = None if page.next is None else encode(page.next)
        return Said(b'{%b:[%b],"next":%b}' % (to_json(face.shape.plural), listed, to_json(following)))

    shape = face.shape
    operation = Operation(
        summary=f"List the {shape.plural} that were not synced for so many hours, the longest first",
        parameters=(
            Parameter(
                "hours",
                {"type": "number", "minimum": 0, "maximum": _MAX_HOURS, "default": _HOURS},
                "Hours, written without an exponent.",
                24,
            ),
            Parameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT, "default": _LIMIT},
                "At most so many in one page. A page may have fewer, and still be followed by another.",
                100,
            ),
            Parameter("cursor", {"type": "string", "minLength": 1}, "`next` of the page before.", None),
            INCLUDE,
        ),
        gives=members(
            {
                shape.plural: {"type": "array", "items": shape.reference},
                "next": {
                    "type": ["string", "null"],
                    "description": "The cursor of the next page, if there is one.",
                },
            }
        ),
        gives_example={shape.plural: [shape.example() | {"source": "stale"}], "next": None},
    )
    return face.call("stale", "GET", "stale", answer, operation)


def get(face: Face) -> Call:
    """One entity by its internal id, as `ensure` would give it."""

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        entity = await face.known(asked)
        outcome = await face.entities.have(entity, asked.fields)
        return face.said(entity, outcome, at="id", data=data)

    operation = Operation(
        summary=f"Have a {face.shape.name} by its internal id: from the local copy, fetched where it has expired",
        **gives_entity(face.shape),
        problems={404: f"{_NOT_HELD} Or: {NOT_FOUND}", 503: UNAVAILABLE},
    )
    return face.call("get", "GET", "{id}", answer, operation)


def patch(face: Face) -> Call:
    """Set local attributes; they survive every refresh."""
    attributes = {attribute.member: attribute for attribute in face.shape.local}

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        given = asked.members(attributes)
        if not given:
            raise Invalid(Fault("#", f"must name an attribute to set: {', '.join(attributes)}"))
        local = {
            attributes[name].column: _attribute(attributes[name], value) for name, value in given.items()
        }
        entity = await face.known(asked)
        entry = await face.entities.change(entity, local)
        if entry is None:
            raise not_found("id")
        if (
            entry.item is None
        ):  # the change stands; what the owner says of the entity is shown if it can be had
            outcome = await face.entities.have(entity, asked.fields)
            entry = outcome.entry if isinstance(outcome, Present) else entry
        is_stale = entry.item is not None and entry.ttl(face.clock()) <= 0
        return Said(face.shape.render(entry, stale=is_stale, data=data), about=(face.key(entity),))

    operation = Operation(
        summary=f"Set local attributes of a {face.shape.name}; what is not named stays, null clears",
        takes={
            "type": "object",
            "properties": {name: _attribute_schema(attribute) for name, attribute in attributes.items()},
            "minProperties": 1,
            "additionalProperties": False,
        },
        takes_example={name: face.shape.example()[name] for name in attributes},
        **gives_entity(face.shape),
        problems={404: _NOT_HELD},
    )
    return face.call("patch", "PATCH", "{id}", answer, operation)


_ERASED = {
    "replica": "no byte of it stays in the store",
    "shared": "no replica knows it any more",
}
"""What an erasure comes to, by how far it reaches."""


def delete(face: Face, scope: str) -> Call:
    """Erase an entity. `scope` says how far that reaches: one replica, or all that share the store."""

    async def answer(asked: Asked) -> Said:
        asked.parameters()
        try:
            entity = await face.known(asked)
        except Failed:
            await face.entities.finish_erasures()  # it may be one of these
            raise
        try:
            await face.entities.erase(entity)
        finally:
            face.forget(entity)
        return Said(to_json({"erased": True, "scope": scope}), about=(face.key(entity),))

    operation = Operation(
        summary=f"Erase a {face.shape.name} with its ids and local attributes: {_ERASED[scope]}",
        gives=members(
            {"erased": {"const": True}, "scope": {"type": "string", "enum": ["replica", "shared"]}}
        ),
        gives_example={"erased": True, "scope": scope},
        problems={404: _NOT_HELD},
    )
    return face.call("delete", "DELETE", "{id}", answer, operation)


def _number(
    given: Mapping[str, str],
    name: str,
    default: float,
    *,
    least: float = 0,
    most: float,
    whole: bool = False,
) -> float:
    text = given.get(name)
    if text is None:
        return default
    kind = "a whole number" if whole else "a number"
    if not _PLAIN_NUMBER.fullmatch(text) or (whole and "." in text) or not least <= float(text) <= most:
        raise Invalid(Fault(name, f"must be {kind} from {least:g} to {most:.0f}"))
    return float(text)


def _attribute(attribute: LocalAttribute, value: Any) -> Column:
    at = f"#/{attribute.member}"
    if attribute.kind == "boolean":
        if value is not None and not isinstance(value, bool):
            raise Invalid(Fault(at, "must be true, false or null"))
        return value
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and _is_text(value)):
        raise Invalid(Fault(at, f"must be null or text of 1 to {_MAX_TEXT} characters"))
    return value


def _is_text(value: str) -> bool:
    """Whether a table can take it: no lone surrogate, no NUL."""
    return "\0" not in value and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _attribute_schema(attribute: LocalAttribute) -> Schema:
    if attribute.kind == "boolean":
        return {"type": ["boolean", "null"]}
    return {"type": ["string", "null"], "minLength": 1, "maxLength": _MAX_TEXT, "pattern": "^[^\\u0000]*$"}
