"""The targets, each a module with `fuzz_one(data)` and `TOKENS`, words that the fuzzer should know of."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

NAMES = (
    "bulk_answer",
    "bulk_request",
    "cache_control",
    "event",
    "fields",
    "freshness",
    "http_date",
    "invalidation",
    "json_lines",
    "json_split",
    "lane",
    "merge",
    "path_template",
    "ranges",
    "targeted",
    "validation",
    "variant",
    "vary",
    "webhook_fields",
)


@dataclass(frozen=True, slots=True)
class Target:
    """One target."""

    name: str
    fuzz_one: Callable[[bytes], None]
    """Raises AssertionError, or anything else, on a finding."""
    tokens: tuple[bytes, ...]


def load(name: str) -> Target:
    """The target of this name. Raises KeyError."""
    if name not in NAMES:
        raise KeyError(name)
    module = importlib.import_module(f"fuzz.targets.{name}")
    return Target(name, module.fuzz_one, module.TOKENS)
