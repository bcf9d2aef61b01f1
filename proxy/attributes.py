"""Attributes of an entity that are ours and not the upstream's; they survive every refresh.

To add one, add it here: the table gets its column at the next start, the handshake API its member.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct


class LocalAttribute(Struct, frozen=True):
    """One attribute: how it is called in JSON and in the table, and what its values are."""

    member: str
    column: str
    kind: Literal["string", "boolean"]

    @property
    def sql_type(self) -> str:
        """The column's type in a database."""
        return "TEXT" if self.kind == "string" else "INTEGER"


LOCAL_ATTRIBUTES: Mapping[str, tuple[LocalAttribute, ...]] = {
    "user": (
        LocalAttribute("departmentId", "department_id", "string"),
        LocalAttribute("isFieldWorker", "is_field_worker", "boolean"),
    ),
}
"""By resource; they belong to the attendance service. Only a resource with `storage: database` can keep them."""
