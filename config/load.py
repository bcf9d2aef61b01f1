"""The only reader of configuration files and of the environment.

Three layers, each over the one before: the built-in configuration, the operator's file, the environment. A file's
`upstreams` and `resources` replace the built-in ones as a whole, other sections are merged key by key; a variable
sets the value at its path.
"""

import stat
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from config import yaml_text
from config.address import Address
from config.effective import effective
from config.environment import Setting, apply, settings
from config.errors import ConfigError, Problem, SecretUnreadable
from config.keys import leaves
from config.model import Config, OpsConfig
from config.secret_file import KEY_AT_LEAST, SecretFile
from config.validate import validate
from config.webhook_secrets import load as load_webhook_secrets

__all__ = [
    "ConfigError",
    "Problem",
    "SecretFile",
    "SecretUnreadable",
    "effective",
    "load",
    "ops_address",
]

_MAX_FILE_BYTES: Final = 1 << 20
"""A configuration is a few kilobytes; the bound keeps a wrong file, or YAML made to explode, from hurting."""

_REPLACED: Final = frozenset({"upstreams", "resources"})
_TOKENS: Final = frozenset({"credential_file", "token_file"})
_SECRETS: Final = _TOKENS | {"key_file"}
_SHARING_KEY: Final = ("sharing", "key_file")


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The effective configuration of a file (None: the built-in alone) and an environment.

    Raises ConfigError with everything that is wrong. No message has the value of a secret.
    """
    document = _default()
    if path is not None:
        _lay_over(document, _file(path))
    found, problems = settings(environ)
    applied: list[Setting] = []
    for setting in found:
        problem = apply(document, setting)
        if problem is None:
            applied.append(setting)
        else:
            problems.append(problem)
    config, invalid = validate(document, applied)
    problems += invalid
    if config is not None:
        problems += _unreadable_files(config)
    if config is None or problems:
        raise ConfigError(problems)
    return config


def ops_address(path: Path | None, environ: Mapping[str, str]) -> Address:
    """Where the ops listener is, for a health check: it must not need the rest of a configuration.

    Raises ConfigError if the file, or what is said of this address, is wrong.
    """
    document = _default()
    if path is not None:
        _lay_over(document, _file(path))
    for setting in settings(environ)[0]:
        if setting.path[0] == "ops":
            apply(document, setting)
    try:
        return OpsConfig.model_validate(document["ops"]).listen
    except ValidationError as error:
        raise ConfigError([Problem("ops.listen", detail["msg"]) for detail in error.errors()]) from None


def _default() -> dict[str, Any]:
    text = resources.files("config").joinpath("default.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml_text.sound(text)
    return document


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {_reason(error)}")]) from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError([Problem(str(path), "is larger than 1MiB: not a configuration")])
    document = yaml_text.parse(content, str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(
            [Problem(str(path), "must be a map of sections, such as upstreams: and resources:")]
        )
    return document


def _lay_over(document: dict[str, Any], over: dict[str, Any]) -> None:
    """Put a file's sections over the built-in ones, in place. A section with nothing in it says nothing."""
    for name, section in over.items():
        below = document.get(name)
        if isinstance(below, dict) and section is None:
            continue
        if name not in _REPLACED and isinstance(below, dict) and isinstance(section, dict):
            document[name] = below | section
        else:
            document[name] = section


def _unreadable_files(config: Config) -> Iterator[Problem]:
    """Files that are set but can't be used now: better said at start than at the first request."""
    for leaf in leaves(config):
        is_idle = leaf.path == _SHARING_KEY and not config.tells_credentials_apart
        if isinstance(leaf.value, Path) and not is_idle:
            try:
                _try(leaf.value, leaf.path[-1])
            except SecretUnreadable as error:
                yield from (Problem(".".join(leaf.path), str(problem)) for problem in error.problems)
            except OSError as error:
                yield Problem(".".join(leaf.path), f"{leaf.value}: cannot be read: {_reason(error)}")


def _try(path: Path, key: str) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "not a regular file")  # opening a pipe would wait for its writer
    if key == "secret_file":
        load_webhook_secrets(path)
    elif key in _SECRETS:
        SecretFile(path, one_line=key in _TOKENS, at_least=KEY_AT_LEAST if key == "key_file" else 1).read()
    else:
        with path.open("rb") as file:
            file.read(1)


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or "not a usable path"
