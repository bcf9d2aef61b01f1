"""YAML as the configuration uses it: plain data, every key once, and no surprises from YAML 1.1.

Of plain scalars only `null`, `true`, `false`, decimal integers and decimal fractions are more than text: `1:30` is
not ninety, `010` not eight, `no` not false and `2024-01-01` not a date.
"""

import re
from collections.abc import Hashable
from typing import Any, Final

import yaml

from config.errors import ConfigError, Problem

_PLAIN: Final = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    # Longer numbers stay text, and the field says what it wants: int() refuses thousands of digits.
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,18})", list("-+0123456789")),
    ("float", r"[-+]?[0-9]{1,18}\.[0-9]{0,18}", list("-+0123456789")),
    ("merge", r"<<", ["<"]),
)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first_characters in _PLAIN:
        for first in first_characters:
            table.setdefault(first, []).append((f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})$")))
    return table


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self.complaints: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """The mapping; keys that are no text or come twice are noted in `complaints`."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                self.complaints.append(f"{_place(key.start_mark)}: a key must be text")
            elif key.value in seen:
                self.complaints.append(
                    f"{_place(key.start_mark)}: the key {key.value} stands here a second time"
                )
            else:
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


class _Quick(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # not in every build of PyYAML
    yaml_implicit_resolvers = _resolvers()


def sound(text: str) -> Any:
    """What `parse` gives for a text that is known to have nothing wrong with it, in a tenth of the time: by libyaml,
    which says other things of what is wrong."""
    return yaml.load(text, _Quick)  # noqa: S506 - a safe loader


def parse(text: str | bytes, source: str) -> Any:
    """The data in one YAML document, None when there is none.

    Raises ConfigError whose problems name `source`, line and column, and quote nothing but keys.
    """
    try:
        loader = _Loader(text)
        data = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{_place(mark)}: " if mark else ""
        raise ConfigError([Problem(source, f"{at}{error.problem or error.context}")]) from None
    except yaml.YAMLError:
        raise ConfigError([Problem(source, "must be UTF-8 text without control characters")]) from None
    except RecursionError:
        raise ConfigError([Problem(source, "is nested too deeply")]) from None
    except (ValueError, TypeError):
        # A tag written by hand (`!!int x`) over text that does not fit it.
        raise ConfigError([Problem(source, "a value does not fit its explicit tag")]) from None
    if loader.complaints:
        raise ConfigError([Problem(source, complaint) for complaint in loader.complaints])
    return data
