"""Writes the reference page of the configuration from the model: `python -m config.reference [--check] FILE`."""

import json
import sys
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from config.environment import variable_of
from config.generated import write_or_check
from config.keys import NAME, Key, keys
from config.model import Config
from config.text_value import TextValue
from config.units import Kind

_INTRO = """\
# Configuration

<!-- Generated from the model in config/ by `make docs`; edit the descriptions there. -->

The configuration is a YAML file, named by `--config FILE`. Every key has a default, or an error that names it.
`handshake-proxy check-config` validates it and prints the effective configuration, secrets redacted; exit status 2
comes with every error at once, each with its dotted path.

## Layers

Three layers, each over the one before:

1. **The built-in configuration** ([config/default.yaml](../config/default.yaml)): the users and businesses of one
   main service. Only the address of that service is missing.
2. **The file.** Its `upstreams` and `resources` replace the built-in ones as whole maps: name all that you want. In
   every other section it may name single keys, and the rest stays. A section with nothing in it changes nothing.
   Inside an upstream or a resource, keys that are left out have the defaults below.
3. **The environment.** `HANDSHAKE_` and the path of the key, its steps joined by two underscores, sets that key:
   `HANDSHAKE_UPSTREAMS__MAIN__URL=https://main.example.org`. It may add to a map or make a new entry, such as
   `HANDSHAKE_RESOURCES__USER__SINGLE__PATH=/users/{id}`. Values are YAML scalars (`null`, `true`, `12`; nothing at
   all is null), `[…]` or `{…}`; any other text is meant as it stands. A value replaces the one that was there, a map
   included. An upstream whose name has a hyphen can't be reached.

So the smallest configuration is no file and one variable, `HANDSHAKE_UPSTREAMS__MAIN__URL`.

Unknown keys and unknown variables that start with `HANDSHAKE_` are errors. Left alone are the variables that
Kubernetes makes for a Service with such a name: `HANDSHAKE_PROXY_SERVICE_HOST`, `HANDSHAKE_PORT`,
`HANDSHAKE_PROXY_PORT_8080_TCP_ADDR` and the like.

## Values

| type | is |
|---|---|
| duration | a number and `ms`, `s`, `m`, `h` or `d`: `250ms`, `24h`; a plain number is seconds |
| size | a whole number and `B`, `KiB`, `MiB`, `GiB`, `TiB` (or `kB`, `MB`, `GB`, `TB` of 1,000): `8MiB`; plain: bytes |
| address | host and port: `127.0.0.1:8080`, `[::1]:8080`, `localhost:0`; port 0 lets the system choose |
| JSON pointer | RFC 6901: `/id`, `/profile/name` |
| path | as on the wire, without query: `/users/bulk`, `/users/{id}`, `/files/{name*}` |
| file | path of a file; it is read again when its content changes, and must be readable at start |

Of plain YAML scalars only `null`, `true`, `false` and decimal numbers are more than text: `1:30` is not ninety, nor
`010` eight. A key that stands twice in one map is an error. Anchors and aliases may be used; the file is at most 1 MiB.

## What is checked across keys

- a resource needs `bulk`, `single` or both, and an upstream that exists; without `id` it has no `bulk` and stays in
  memory;
- no two listeners on one address; `0.0.0.0` and `[::]` take the port of every address;
- no two resources of an upstream claim one path: a `bulk` claims its method on its path, a `single` watches every
  method. Within one resource the bulk's path goes before the single's template, so `/users/bulk` and `/users/{id}`
  go together;
- `handshake.listen` on an address that is not loopback needs `handshake.token_file`, `webhooks.listen` needs
  `webhooks.secret_file`, and `client_cert_file` goes with `client_key_file`;
- files that are named must be readable, and those with a secret must hold one; `sharing.key_file` is looked at where
  a resource has `sharing: per_credential`.

## Example: two services apart

```yaml
upstreams:
  users:
    url: https://users.example.org
    listen: 127.0.0.1:8080
  businesses:
    url: https://businesses.example.org
    listen: 127.0.0.1:8082
    credential_file: /run/secrets/businesses-token
resources:
  user:
    upstream: users
    id: /id
    columns: {name: /name, email: /email}
    single: {path: "/users/{id}"}
  business:
    upstream: businesses
    storage: memory
    id: /id
    columns: {name: /name}
    freshness: {ttl: 1h}
    single: {path: "/businesses/{id}"}
```

## Example: the built-in resources, a shorter memory of absence, metrics for the whole pod network

```sh
HANDSHAKE_UPSTREAMS__MAIN__URL=https://main.example.org
HANDSHAKE_RESOURCES__USER__FRESHNESS__NEGATIVE_TTL=2s
HANDSHAKE_OPS__LISTEN=0.0.0.0:9464
```

## Keys
"""


def page() -> str:
    """The whole reference page, in Markdown."""
    every = list(keys(Config))
    parents = {found.path: found for found in every if found.inner}
    groups: dict[tuple[str, ...], list[Key]] = {}
    for found in every:
        group = groups.setdefault(found.path[:-1], [])
        if found.inner is None:
            group.append(found)
    parts = [_INTRO, "### At the top\n", _table(groups.pop(()))]
    for path, group in groups.items():
        about = parents[path[:-1] if path[-1] == NAME else path]
        parts.append(f"### `{'.'.join(path)}`\n\n{about.field.description}\n")
        parts.append(_table(group))
    return "\n".join(parts).rstrip() + "\n"


def _table(group: Sequence[Key]) -> str:
    lines = ["| key | type | default | meaning | variable |", "|---|---|---|---|---|"]
    # Defaults in human units: what a section without any value prints. Required keys are not in it.
    defaults = group[0].section.model_construct().model_dump(mode="json", warnings=False) if group else {}
    for found in group:
        name = found.path[-1]
        default = "required" if found.field.is_required() else f"`{_shown(defaults[name])}`"
        cells = (
            f"`{name}`",
            type_name(found.field.annotation, found.field.metadata),
            default,
            found.field.description or "",
            f"`{variable_of(found.path)}`",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def type_name(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What the page calls the type of a key."""
    for item in metadata:
        if isinstance(item, Kind):
            return item.name
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0], arguments[1:])
    if origin in {Union, UnionType}:
        return " or ".join(
            "null" if argument is type(None) else type_name(argument) for argument in arguments
        )
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return f"map of {type_name(arguments[1])}s"
    if origin is tuple:
        return f"list of {type_name(arguments[0])}s"
    if isinstance(annotation, type) and issubclass(annotation, TextValue):
        return annotation.KIND
    return {bool: "true or false", UUID: "UUID"}[annotation]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it with `--check`; the exit status."""
    return write_or_check(page, arguments, module="config.reference", about=__doc__, source="the model")


if __name__ == "__main__":
    sys.exit(main())
