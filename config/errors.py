"""What can be wrong with a configuration, told to the operator all at once."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong, and where."""

    path: str
    """Dotted path of the key, or the name of a file or an environment variable."""
    message: str
    """What is wrong and what would be right; never the value of a secret."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(Exception):
    """The configuration can't be used; `problems` holds every reason, `str()` gives one a line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class SecretUnreadable(ConfigError):
    """A file with a secret can't be read, or does not hold one. The message has its path, never its content."""
