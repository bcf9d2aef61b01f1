"""The secrets that sign webhooks: a file with one a line, several while one is being replaced.

Source: Standard Webhooks 1.0.0, "Signature scheme": `whsec_` and the base64 of 24 to 64 random bytes.
"""

import base64
import binascii
from pathlib import Path
from typing import Final, NamedTuple

from config.errors import Problem, SecretUnreadable
from config.secret_file import SecretFile

PREFIX: Final = "whsec_"
MOST: Final = 8
"""Secrets that count at a time: a message that nobody has signed is hashed once for each."""

_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_SHAPE: Final = f"must be {PREFIX} and the base64 of {_LEAST_BYTES} to {_MOST_BYTES} bytes"
_TOO_MANY: Final = f"is one secret too many: at most {MOST} count"


class Malformed(NamedTuple):
    """A line that is no secret."""

    line: int
    """Its number, from 1."""
    message: str
    """What it should be; nothing of what it is."""


class Listed(NamedTuple):
    """What a text has."""

    secrets: tuple[str, ...]
    """In the order of the lines, `whsec_` included."""
    malformed: tuple[Malformed, ...]


def parse(text: str) -> Listed:
    """The secrets of a text. Blank lines and those that begin with # say nothing."""
    secrets: list[str] = []
    malformed: list[Malformed] = []
    for number, line in enumerate(text.splitlines(), 1):
        secret = line.strip()
        if not secret or secret.startswith("#"):
            continue
        if not _is_secret(secret):
            malformed.append(Malformed(number, _SHAPE))
        elif len(secrets) == MOST:
            malformed.append(Malformed(number, _TOO_MANY))
        else:
            secrets.append(secret)
    return Listed(tuple(secrets), tuple(malformed))


def load(path: Path) -> tuple[str, ...]:
    """The secrets of a file that has to be right as a whole. Raises SecretUnreadable, which names every wrong line."""
    listed = parse(SecretFile(path).read())
    problems = [Problem(str(path), f"line {line} {message}") for line, message in listed.malformed]
    if not listed.secrets and not problems:
        problems.append(Problem(str(path), "has no secret, only comments"))
    if problems:
        raise SecretUnreadable(problems)
    return listed.secrets


def _is_secret(text: str) -> bool:
    encoded = text.removeprefix(PREFIX)
    if encoded == text:
        return False
    try:
        # Some generators leave the padding out, and the libraries of senders take both.
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _LEAST_BYTES <= len(key) <= _MOST_BYTES
