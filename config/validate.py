"""From a document to the model, with every error at once and in the operator's words.

Pydantic looks at single keys, `checks` at how they fit together; the second needs a model, which an error in the
first prevents. So what is wrong is taken out and reported, and the rest is checked; a finding that looked at
something that was taken out is left unsaid, as it may be a mere consequence.
"""

import copy
import difflib
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config import checks
from config.environment import PREFIX, SEPARATOR, Setting, variable_of
from config.errors import Problem
from config.keys import section_at
from config.model import Config

Path = tuple[str, ...]

_MAPS: Final = frozenset({"model_type", "model_attributes_type", "dict_type"})


def validate(document: dict[str, Any], applied: Sequence[Setting]) -> tuple[Config | None, list[Problem]]:
    """The configuration in a document, and all that is wrong with it.

    With problems, the configuration is what was left after taking out what is wrong, for further checks; None when
    nothing usable was left. `applied` are the settings of the environment, which messages name.
    """
    sound = copy.deepcopy(document)
    problems: list[Problem] = []
    removed: set[Path] = set()
    while True:
        try:
            config = Config.model_validate(sound, context=checks.SEPARATELY)
            break
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
        before = frozenset(removed)
        for details in errors:
            at = _path(details)
            removed.add(_take_out(sound, at[:-1] if details["type"] == "missing" else at))
            # A required key that an earlier pass took out is missing now; that is no news.
            if not any(_under(at, gone) for gone in before):
                problems.append(Problem(_dotted(at), _message(details, at) + _from(at, applied)))
        if removed == before:
            return None, problems  # nothing more to take out: never seen, but better than going round
    problems += [
        Problem(_dotted(finding.path), finding.message + _from(finding.path, applied))
        for finding in checks.find(config)
        if not any(_touches(finding.looks_at, gone) or _under(finding.path, gone) for gone in removed)
    ]
    return config, problems


def _path(details: ErrorDetails) -> Path:
    """Where an error is. A wrong name in a map is reported by pydantic one step below it."""
    return tuple(str(step) for step in details["loc"] if step != "[key]")


def _dotted(path: Path) -> str:
    return ".".join(path) or "configuration"


def _under(path: Path, gone: Path) -> bool:
    return path[: len(gone)] == gone


def _touches(paths: Sequence[Path], gone: Path) -> bool:
    return any(_under(path, gone) or _under(gone, path) for path in paths)


def _take_out(document: dict[str, Any], path: Path) -> Path:
    """Remove what stands at `path`, or the nearest map around it when a list is on the way; returns what went."""
    place: Any = document
    for depth, step in enumerate(path):
        inner = place.get(step)
        if depth == len(path) - 1 or not isinstance(inner, dict):
            place.pop(step, None)
            return path[: depth + 1]
        place = inner
    return ()


def _from(path: Path, applied: Sequence[Setting]) -> str:
    for setting in reversed(applied):
        if _under(path, setting.path):
            return f" (set by {setting.variable})"
    return ""


def _message(details: ErrorDetails, at: Path) -> str:
    kind = details["type"]
    if kind == "missing":
        return _missing(at)
    if kind == "extra_forbidden":
        return _unknown(at)
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if kind in _MAPS:
        return "must be a map of keys and values"
    if kind == "tuple_type":
        return "must be a list, such as [authorization, cookie]"
    text = details["msg"].replace("Input should be", "must be")
    return text[:1].lower() + text[1:]


def _missing(at: Path) -> str:
    if at[-1] == "url":
        return f"is required: set {_dotted(at)} in the file, or {variable_of(at)}, such as https://main.example.org"
    return f"is required: set {_dotted(at)} in the file, or {variable_of(at)}"


def _unknown(at: Path) -> str:
    section = section_at(Config, at[:-1])
    known = list(section.model_fields) if section else []
    close = difflib.get_close_matches(at[-1].lower(), known, n=1)
    if len(at) == 1 and "_" in at[0]:
        # HANDSHAKE_STORE_URL arrives as the key store_url.
        hint = f"in a variable the steps of a path are joined by {SEPARATOR!r}, as in {PREFIX}STORE__URL"
        return f"unknown key; {hint}"
    return (
        f"unknown key; did you mean {close[0]}?" if close else f"unknown key; known here: {', '.join(known)}"
    )
