"""Settings from environment variables: `HANDSHAKE_` and the path of the key, joined by two underscores."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from config import yaml_text
from config.errors import ConfigError, Problem

PREFIX: Final = "HANDSHAKE_"
SEPARATOR: Final = "__"

# Kubernetes gives every container the addresses of the Services around it. A Service called handshake or
# handshake-proxy makes HANDSHAKE_PORT, HANDSHAKE_PROXY_SERVICE_HOST, HANDSHAKE_PROXY_PORT_8080_TCP_ADDR and so on.
_OF_KUBERNETES: Final = re.compile(
    r"HANDSHAKE(?:_[A-Z0-9_]+)?_"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)

Path = tuple[str, ...]


class Setting(NamedTuple):
    """A value that a variable gives to a key."""

    variable: str
    path: Path
    value: Any


def variable_of(path: Path) -> str:
    """The variable that sets a key."""
    return PREFIX + SEPARATOR.join(path).upper()


def settings(environ: Mapping[str, str]) -> tuple[list[Setting], list[Problem]]:
    """What the environment sets, shorter paths first so that a longer one refines it; and what is wrong."""
    found: dict[Path, Setting] = {}
    problems: list[Problem] = []
    for variable in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        if SEPARATOR not in variable and _OF_KUBERNETES.fullmatch(variable.upper()):
            continue
        path = tuple(variable[len(PREFIX) :].lower().split(SEPARATOR))
        if not all(path):
            problems.append(Problem(variable, f"names no key; an example is {variable_of(('store', 'url'))}"))
        elif path in found:
            problems.append(Problem(variable, f"sets the same key as {found[path].variable}"))
        else:
            try:
                found[path] = Setting(variable, path, _value(environ[variable], variable))
            except ConfigError as error:
                problems += error.problems
    return sorted(found.values(), key=lambda setting: len(setting.path)), problems


def _value(text: str, variable: str) -> Any:
    """YAML where it is a scalar, `{…}` or `[…]`; any other text is meant as it stands."""
    text = text.strip()
    try:
        value = yaml_text.parse(text, variable)
    except ConfigError:
        if text.startswith("{"):
            raise
        return text  # such as [::1]:8080
    return value if text.startswith(("{", "[")) or not isinstance(value, dict | list) else text


def apply(document: dict[str, Any], setting: Setting) -> Problem | None:
    """Put a setting into a document of nested maps, in place; maps on the way are made where nothing stands."""
    place = document
    for step, name in enumerate(setting.path[:-1]):
        inner = place.get(name)
        if inner is None:
            inner = place[name] = {}
        if not isinstance(inner, dict):
            return Problem(
                setting.variable, f"{'.'.join(setting.path[: step + 1])} is a value, it has no keys in it"
            )
        place = inner
    place[setting.path[-1]] = setting.value
    return None
