"""How an entity stands in the handshake API: its names, its members, its JSON."""

import json
from typing import Any
from uuid import uuid5

import msgspec
from msgspec import Struct

from config.model import ResourceConfig
from config.model_service import HandshakeConfig
from config.naming import camel
from proxy.attributes import LocalAttribute
from proxy.core.bulk import AnswerShape
from proxy.keeper import columns_of
from store.base import TableSpec
from store.entry import Column, Entry
from store.times import rfc3339

Schema = dict[str, Any]
"""JSON Schema, in the dialect of OpenAPI 3.1 (2020-12)."""

_EXAMPLES = {
    "name": "Ada Example",
    "email": "ada@example.org",
    "phone": "+977 1 5550100",
    "avatar": "https://img.example.org/ada.png",
    "address": "1 Example Street",
}
_EXAMPLES_OF = {"business": {"name": "Example Tea House", "avatar": "https://img.example.org/tea.png"}}
UUID_PATTERN = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
"""An internal id, as callers may write it."""
EXAMPLE_TIME = "2026-01-02T03:04:05.678Z"


class EntityShape(Struct, frozen=True):
    """The entities of one resource, as callers see them. `local` are the attributes that it can keep."""

    name: str
    config: ResourceConfig
    answer: AnswerShape
    local: tuple[LocalAttribute, ...]
    members: tuple[tuple[str, str], ...]
    """Member and column of what is taken out of the item."""
    plural: str
    """`users`: the path of its calls, and the member of a list."""
    member: str
    """`user`: the member of one entity."""
    id_member: str
    """`userId`: the external id."""

    @classmethod
    def of(
        cls, name: str, config: ResourceConfig, answer: AnswerShape, local: tuple[LocalAttribute, ...]
    ) -> "EntityShape":
        """The shape of a configured resource."""
        return cls(
            name,
            config,
            answer,
            local,
            members=tuple((camel(column), column) for column in config.columns),
            plural=TableSpec(name, ()).table,
            member=camel(name),
            id_member=f"{camel(name)}Id",
        )

    def render(self, entry: Entry, *, stale: bool = False, data: bool = False) -> bytes:
        """An entity as JSON; a husk has null for what is not known. `stale`: say so; `data`: add the item."""
        document = {} if entry.item is None else self.answer.item(entry.item).document
        columns = columns_of(self.config, document)
        shown: dict[str, object] = {"id": entry.internal_id, self.id_member: entry.key.id}
        for member, column in self.members:
            shown[member] = columns[column]
        for attribute in self.local:
            shown[attribute.member] = _local(attribute, entry.local.get(attribute.column))
        shown["lastSyncedAt"] = rfc3339(entry.last_synced_at)
        shown["version"] = entry.version
        if stale:
            shown["source"] = "stale"
        rendered = to_json(shown)
        return rendered[:-1] + b',"data":' + (entry.item or b"null") + b"}" if data else rendered

    def schema(self) -> Schema:
        """What `render` gives."""
        scalar = {"type": ["string", "number", "boolean", "null"]}
        local = {attribute.member: {"type": [attribute.kind, "null"]} for attribute in self.local}
        required: Schema = {
            "id": {"type": "string", "format": "uuid", "description": "Ours; it never changes."},
            self.id_member: {"type": "string", "description": "The owner's id."},
            **{member: scalar for member, _ in self.members},
            **local,
            "lastSyncedAt": {"type": "string", "format": "date-time"},
            "version": {"type": "integer", "minimum": 1, "description": "Goes up with each change."},
        }
        optional: Schema = {
            "source": {"const": "stale", "description": "There only if the copy is past its freshness."},
            "data": {
                "type": ["object", "null"],
                "description": "The owner's item, as it was sent; with include=data.",
            },
        }
        return {
            "type": "object",
            "properties": {**required, **optional},
            "required": list(required),
            "additionalProperties": False,
        }

    @property
    def reference(self) -> Schema:
        """Where the document has the schema."""
        return {"$ref": f"#/components/schemas/{self.member}"}

    def example(self) -> dict[str, object]:
        """An entity for the documentation."""
        local: dict[str, object] = {
            attribute.member: False if attribute.kind == "boolean" else "d-7" for attribute in self.local
        }
        known = _EXAMPLES | _EXAMPLES_OF.get(self.name, {})
        return {
            "id": self.example_internal_id(),
            self.id_member: self.example_id(),
            **{member: known.get(column) for member, column in self.members},
            **local,
            "lastSyncedAt": EXAMPLE_TIME,
            "version": 2,
        }

    def example_id(self) -> str:
        """An external id for the documentation."""
        return f"ext-{self.name.replace('_', '-')}-1"

    def example_internal_id(self) -> str:
        """What the built-in namespace makes of that id."""
        return str(uuid5(HandshakeConfig().namespace, f"{self.name}:{self.example_id()}"))


def to_json(value: object) -> bytes:
    """JSON without white space."""
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        # Lone surrogates and integers beyond 64 bits, which JSON allows. What is no number of JSON is null, as above.
        plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(plain, separators=(",", ":")).encode()


def _local(attribute: LocalAttribute, value: Column) -> Column:
    if value is None or attribute.kind == "string":
        return value
    return bool(value)
