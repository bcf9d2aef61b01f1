"""What the program goes by in the end, told to the operator."""

import yaml

from config.keys import leaves
from config.model import Config


def effective(config: Config) -> str:
    """The effective configuration as YAML in human units, passwords in URLs as `***`; it loads again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def awaited(config: Config, built_in: Config) -> list[str]:
    """Dotted paths of keys that were given a value of their own but whose behaviour arrives in a later version.

    A value counts when it is neither the model's default nor what `built_in` says in the same place.
    """
    # An opaque resource has no value that says so: it lacks one.
    opaque = [f"resources.{name}.id" for name, resource in config.resources.items() if resource.id is None]
    usual = {leaf.path: leaf.value for leaf in leaves(built_in)}
    return opaque + [
        ".".join(leaf.path)
        for leaf in leaves(config)
        if leaf.awaits
        and leaf.is_set
        and leaf.value != leaf.key.field.default
        and not (leaf.path in usual and usual[leaf.path] == leaf.value)
    ]
