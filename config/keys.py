"""The keys of the model as data: for messages, the reference page and the list of what arrives later."""

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
    arrives: str | None
    """When its behaviour arrives, if it is not there yet; inherited from the section around it."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key that is no map of keys, with its value in a configuration."""

    path: Path
    value: Any
    key: Key
    is_set: bool
    """Whether somebody gave the value, rather than the model's default."""

    @property
    def awaits(self) -> bool:
        """Whether the behaviour of this value arrives in a later version."""
        return self.key.arrives is not None


def keys(section: type[Section], path: Path = (), arrives: str | None = None) -> Iterator[Key]:
    """Every key of a section and of those inside it, in the order of declaration."""
    for name, field in section.model_fields.items():
        inner, is_named = _inner(field.annotation)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        when = str(extra["arrives"]) if "arrives" in extra else arrives
        found = Key((*path, name), field, section, inner, when)
        yield found
        if inner is not None:
            below = (*found.path, NAME) if is_named else found.path
            yield from keys(inner, below, when)


def leaves(config: Section) -> Iterator[Leaf]:
    """Every value of a configuration, in the order of the keys."""
    known = {key.path: key for key in keys(type(config))}
    yield from _leaves(config, (), (), known)


def _leaves(section: Section, path: Path, general: Path, known: dict[Path, Key]) -> Iterator[Leaf]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        key = known[(*general, name)]
        if isinstance(value, Section):
            yield from _leaves(value, (*path, name), key.path, known)
        elif isinstance(value, dict) and key.inner is not None:
            for entry, inner in value.items():
                yield from _leaves(inner, (*path, name, entry), (*key.path, NAME), known)
        else:
            yield Leaf((*path, name), value, key, name in section.model_fields_set)


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
