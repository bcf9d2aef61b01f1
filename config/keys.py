"""The keys of the model as data: for messages, the reference page and whoever looks at each value."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from config.fields import Section

Path = tuple[str, ...]
NAME = "<name>"
"""Stands in a path for the name that an operator gives."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the model."""

    path: Path
    field: FieldInfo
    section: type[Section]
    """The model that declares it."""
    inner: type[Section] | None
    """The model of the map that stands there, if it is one."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key that is no map of keys, with its value in a configuration."""

    path: Path
    value: Any


def keys(section: type[Section], path: Path = ()) -> Iterator[Key]:
    """Every key of a section and of those inside it, in the order of declaration."""
    for name, field in section.model_fields.items():
        inner, is_named = _inner(field.annotation)
        found = Key((*path, name), field, section, inner)
        yield found
        if inner is not None:
            below = (*found.path, NAME) if is_named else found.path
            yield from keys(inner, below)


def leaves(section: Section, path: Path = ()) -> Iterator[Leaf]:
    """Every value of a section and of those inside it, in the order of the keys."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, (*path, name))
        elif isinstance(value, dict) and _inner(field.annotation)[0] is not None:
            for entry, inner in value.items():
                yield from leaves(inner, (*path, name, entry))
        else:
            yield Leaf((*path, name), value)


def section_at(root: type[Section], path: Path) -> type[Section] | None:
    """The section whose keys stand under `path`, or None when there is none."""
    current: type[Section] | None = root
    steps = iter(path)
    for step in steps:
        field = current.model_fields.get(step) if current else None
        if field is None:
            return None
        current, is_named = _inner(field.annotation)
        if is_named and next(steps, None) is None:
            return None
    return current


def _inner(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section in an annotation, and whether it stands in a map by name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return _inner(arguments[1])[0], True
    if origin in {Union, UnionType}:
        for argument in arguments:
            inner, is_named = _inner(argument)
            if inner is not None:
                return inner, is_named
    return None, False
