"""What the sections of the model are made of: the base class, the declaration of a key, and shared types."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from config.json_pointer import Pointer
from config.path_template import PathTemplate
from config.units import Kind


class Section(BaseModel):
    """One map of the configuration: unknown keys are errors, values never change."""

    # hide_input: a validation error must not carry a password into a log.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


def key(default: Any, doc: str, *, secret: bool = False) -> Any:
    """Declare one key: its default (`...` when it is required) and its documentation. `secret` keeps the value out of
    reprs."""
    return Field(default, description=doc, repr=not secret)


def reject_bool(value: object) -> object:
    # A YAML `true` where a number belongs is a mistake; pydantic would read it as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic turns only this into an error of the field
    return value


Count = Annotated[int, BeforeValidator(reject_bool), Field(ge=1, le=1_000_000), Kind("whole number")]
"""A whole number from 1."""

CountOrZero = Annotated[int, BeforeValidator(reject_bool), Field(ge=0, le=1_000_000), Kind("whole number")]
"""A whole number from 0."""

Share = Annotated[
    float,
    BeforeValidator(reject_bool),
    Field(ge=0, lt=1, allow_inf_nan=False),
    Kind("number from 0 to below 1"),
]
"""A part of one."""

Ratio = Annotated[
    float,
    BeforeValidator(reject_bool),
    Field(ge=0, le=1, allow_inf_nan=False),
    Kind("number from 0 to 1"),
]
"""None, all, or anything between."""


def _path(value: object) -> object:
    if not isinstance(value, Path) and (not isinstance(value, str) or not value.strip() or "\0" in value):
        raise ValueError("must be the path of a file, such as /run/secrets/token")
    return value


SecretPath = Annotated[Path, BeforeValidator(_path), Kind("file")]
"""A file that holds a secret: text, read again when it changes."""

TlsPath = Annotated[Path, BeforeValidator(_path), Kind("file")]
"""A PEM file."""


def _named(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"a name here is {what}")
        return value

    return AfterValidator(check)


UpstreamName = Annotated[
    str,
    _named(r"[a-z][a-z0-9_-]{0,31}", "a lower-case letter, then up to 31 of a-z, 0-9, _ and -"),
    Kind("name"),
]
ResourceName = Annotated[
    str, _named(r"[a-z][a-z0-9_]{0,31}", "a lower-case letter, then up to 31 of a-z, 0-9 and _"), Kind("name")
]

RESERVED_COLUMNS: Final = frozenset(
    {
        "id", "department_id", "is_field_worker", "last_synced_at", "received_at", "lifetime", "initial_age", "item",
        "headers", "version", "source_version", "invalidated", "generation", "used_at",
    }
)  # fmt: skip
"""Columns that every table has of its own; `<resource>_id` is one more."""


def _free_column(value: str) -> str:
    if value in RESERVED_COLUMNS:
        raise ValueError(f"the table has a column {value} of its own; choose another name")
    return value


ColumnName = Annotated[
    str,
    _named(r"[a-z][a-z0-9_]{0,62}", "a lower-case letter, then up to 62 of a-z, 0-9 and _"),
    AfterValidator(_free_column),
    Kind("name"),
]


def _one_member(pointer: Pointer) -> Pointer:
    if len(pointer.tokens) != 1 or not pointer.tokens[0]:
        raise ValueError("must name one member of the body, such as /users")
    return pointer


MemberPointer = Annotated[Pointer, AfterValidator(_one_member)]
"""A pointer to a member of the outermost object."""


def _literal(path: PathTemplate) -> PathTemplate:
    if path.has_placeholder:
        raise ValueError("must be a path without placeholder, such as /main/api/v3/users/bulk")
    return path


def _template(path: PathTemplate) -> PathTemplate:
    if not path.has_placeholder:
        raise ValueError("must have a placeholder for the id, such as /users/{id}")
    return path


LiteralPath = Annotated[PathTemplate, AfterValidator(_literal)]
TemplatePath = Annotated[PathTemplate, AfterValidator(_template)]

_FIELD_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,128}")


# Fields that frame or route a message, say in which form its answer is wanted, or are new on each hop: in the proxy's
# own requests they are its own.
_OURS: Final = re.compile(
    r"connection|keep-alive|te|trailer|transfer-encoding|upgrade|proxy-.*|host|via|expect|content-.*"
    r"|accept|accept-encoding|range|if-.*|traceparent|tracestate"
)


def _field_name(value: str) -> str:
    name = value.lower()
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError("must be the name of a header field, such as authorization")
    if _OURS.fullmatch(name):
        raise ValueError(
            f"{name} can't tell callers apart: the proxy's own requests have one of their own; take it out"
        )
    return name


FieldName = Annotated[str, AfterValidator(_field_name), Kind("header field")]
"""The name of an HTTP field, in lower case."""
