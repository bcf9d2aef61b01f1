"""One call of the handshake API: what answers it, and what is written about it in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from proxy.core.bulk import MAX_ID_BYTES
from proxy.web.handshake.said import Answer
from proxy.web.handshake.shape import EntityShape, Schema


class Parameter(Struct, frozen=True):
    """A query parameter."""

    name: str
    schema: Schema
    text: str
    example: Any


class Operation(Struct, frozen=True):
    """What a caller has to know of a call."""

    summary: str
    takes: Schema | None = None
    """The body, if it has one."""
    takes_example: object = None
    parameters: tuple[Parameter, ...] = ()
    gives: Schema | None = None
    """The body of a 200; without one the call answers 204."""
    gives_example: object = None
    problems: Mapping[int, str] = field(default_factory=dict)
    """What else it answers, beside the failures that every call has."""


class Call(Struct, frozen=True):
    """One method of one path; `{id}` at the end of a path is an internal id."""

    route: str
    """Its name in metrics and logs."""
    method: str
    path: str
    answer: Answer
    operation: Operation


INCLUDE = Parameter(
    "include", {"type": "string", "enum": ["data"]}, "`data` adds the owner's item to each entity.", "data"
)

NOT_FOUND = "The owner does not know the entity; `errors` says which part of the call it is."
UNAVAILABLE = (
    "The upstream gave no usable answer, and there is no local copy; Retry-After says when to ask again."
)


def members(properties: Schema) -> Schema:
    """An object with exactly these members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def by_external_id(shape: EntityShape, summary: str, **rest: Any) -> Operation:
    """What a caller has to know of a call whose body is one external id; `rest` are other members of Operation."""
    return Operation(
        summary=summary,
        takes=members({shape.id_member: id_schema()}),
        takes_example={shape.id_member: shape.example_id()},
        **rest,
    )


def gives_entity(shape: EntityShape) -> dict[str, Any]:
    """The members of Operation for a call that gives an entity."""
    return {"parameters": (INCLUDE,), "gives": shape.reference, "gives_example": shape.example()}


def id_schema() -> Schema:
    """An external id."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_ID_BYTES,
        "description": f"The owner's id: at most {MAX_ID_BYTES} bytes of UTF-8.",
    }
