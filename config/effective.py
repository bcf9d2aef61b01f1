"""What the program goes by in the end, told to the operator."""

import yaml

from config.model import Config


def effective(config: Config) -> str:
    """The effective configuration as YAML in human units, passwords in URLs as `***`; it loads again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
