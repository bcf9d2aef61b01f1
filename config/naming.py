"""How names of the configuration are spelled where JSON is spoken."""

import re


def camel(name: str) -> str:
    """A name as a JSON member: `kaha_id` is `kahaId`."""
    return re.sub(r"_+([a-z0-9])", lambda found: found[1].upper(), name)
