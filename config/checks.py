"""Checks that look at more than one key. Each finding names a place and all that it looked at."""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from config.address import Address
from config.naming import camel

if TYPE_CHECKING:
    from config.model import Config
    from config.model_resource import ResourceConfig

Path = tuple[str, ...]

_MEMBERS: Final = ("id", "lastSyncedAt", "version", "source", "data")
"""What each entity has in the handshake API besides its columns."""

SEPARATELY: Final = {"cross_checks": "separately"}
"""Validation context of a caller that runs `find` itself."""


class Finding(NamedTuple):
    """Something that does not fit together."""

    path: Path
    message: str
    looks_at: tuple[Path, ...] = ()
    """Other keys it depends on: while one of these is wrong itself, the finding may be a mere consequence."""


def find(config: "Config") -> list[Finding]:
    """All that does not fit together in a configuration whose single fields are valid."""
    every = (_upstreams, _resources, _claims, _listeners, _files)
    return [finding for check in every for finding in check(config)]


def _upstreams(config: "Config") -> Iterator[Finding]:
    if not config.upstreams:
        yield Finding(
            ("upstreams",),
            "at least one upstream is required, such as main: {url: https://main.example.org}",
            (("upstreams",),),
        )


def _resources(config: "Config") -> Iterator[Finding]:
    for name, resource in config.resources.items():
        at = ("resources", name)
        if resource.bulk is None and resource.single is None:
            yield Finding(
                at,
                "bulk or single is required: without either nothing asks for it",
                ((*at, "bulk"), (*at, "single")),
            )
        if resource.upstream not in config.upstreams:
            known = ", ".join(config.upstreams) or "none"
            yield Finding(
                (*at, "upstream"),
                f"no upstream has the name {resource.upstream} (known: {known})",
                (("upstreams", resource.upstream),),
            )
        if f"{name}_id" in resource.columns:
            yield Finding(
                (*at, "columns", f"{name}_id"),
                f"the table has a column {name}_id of its own; choose another name",
            )
        yield from _members(at, name, resource)
        upstream = config.upstreams.get(resource.upstream)
        if upstream is not None and upstream.credential_file and "authorization" in resource.key_headers:
            yield Finding(
                (*at, "key_headers"),
                "authorization can't be part of the key: fills bear the one of the upstream's credential_file",
                (("upstreams", resource.upstream, "credential_file"),),
            )
        if resource.id is None:
            yield from _opaque(at, resource)


def _members(at: Path, name: str, resource: "ResourceConfig") -> Iterator[Finding]:
    """In the handshake API each column is a member of its own."""
    taken = dict.fromkeys([f"{camel(name)}Id", *_MEMBERS], "every entity")
    for column in resource.columns:
        member = camel(column)
        if member in taken and column != f"{name}_id":  # which is taken in the table already
            yield Finding(
                (*at, "columns", column),
                f"would be the member {member} in the handshake API, which {taken[member]} has; choose another name",
            )
        taken[member] = f"the column {column}"


def _opaque(at: Path, resource: "ResourceConfig") -> Iterator[Finding]:
    pointer = ((*at, "id"),)
    if resource.bulk is not None:
        yield Finding(
            (*at, "bulk"), "needs id: the items of an answer are told apart by it, as in id: /id", pointer
        )
    if resource.storage == "database":
        yield Finding(
            (*at, "storage"),
            "database needs id, as in id: /id; an opaque resource is kept in memory",
            pointer,
        )


def _claims(config: "Config") -> Iterator[Finding]:
    """Two resources must not both be meant by one request. Within a resource its bulk path goes first."""
    for (first, one), (second, two) in combinations(config.resources.items(), 2):
        if one.upstream != two.upstream:
            continue
        for place, other in _overlaps(one, two):
            at = ("resources", second, place, "path")
            there = ("resources", first, other, "path")
            yield Finding(
                at,
                f"overlaps with {'.'.join(there)}: a request could mean either",
                (there, ("resources", first, "upstream"), ("resources", second, "upstream")),
            )


def _overlaps(one: "ResourceConfig", two: "ResourceConfig") -> Iterator[tuple[str, str]]:
    """Which claims of `two` overlap with which of `one`. A single watches every method, a bulk has its own."""
    if two.bulk and one.bulk and (two.bulk.method, two.bulk.path) == (one.bulk.method, one.bulk.path):
        yield "bulk", "bulk"
    if two.bulk and one.single and two.bulk.path.overlaps(one.single.path):
        yield "bulk", "single"
    if two.single and one.bulk and two.single.path.overlaps(one.bulk.path):
        yield "single", "bulk"
    if two.single and one.single and two.single.path.overlaps(one.single.path):
        yield "single", "single"


def _listeners(config: "Config") -> Iterator[Finding]:
    listeners: list[tuple[Path, Address]] = [
        (("upstreams", name, "listen"), upstream.listen) for name, upstream in config.upstreams.items()
    ]
    listeners += [(("handshake", "listen"), config.handshake.listen), (("ops", "listen"), config.ops.listen)]
    if config.webhooks.listen is not None:
        listeners.append((("webhooks", "listen"), config.webhooks.listen))
    for (there, one), (at, two) in combinations(listeners, 2):
        if one.collides(two):
            yield Finding(
                at, f"two listeners on one address: {two} is taken by {'.'.join(there)} ({one})", (there,)
            )


def _files(config: "Config") -> Iterator[Finding]:
    for name, upstream in config.upstreams.items():
        at = ("upstreams", name)
        if (upstream.client_cert_file is None) != (upstream.client_key_file is None):
            given, absent = ("client_cert_file", "client_key_file")
            if upstream.client_cert_file is None:
                given, absent = absent, given
            yield Finding((*at, absent), f"is required with {given}", ((*at, given),))
    handshake = config.handshake
    if not handshake.listen.is_loopback and handshake.token_file is None:
        yield Finding(
            ("handshake", "token_file"),
            f"is required: handshake.listen ({handshake.listen}) is not a loopback address",
            (("handshake", "listen"),),
        )
    if config.webhooks.listen is not None and config.webhooks.secret_file is None:
        yield Finding(
            ("webhooks", "secret_file"), "is required with webhooks.listen", (("webhooks", "listen"),)
        )
