"""The servers that are measured beside each other, and what each of them can do."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Literal

Ability = Literal["get", "post", "pass"]
"""To answer a GET from a cache; a POST from a cache; to pass on what is not cached."""

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs."""

    directory: Path
    port: int
    """Where it listens, if it can't choose."""
    origin: int
    """The port of the upstream."""
    root: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of server."""

    name: str
    can: frozenset[Ability]
    command: Callable[[Place], list[str]]
    """How to start it so that it stays in the foreground; writes its configuration first."""
    program: str | None = None
    """What has to be installed for that; None for what comes with the project."""
    package: str = ""
    """The Debian package that has it."""
    version: tuple[str, ...] = field(default=())
    """Options that have the program say its version."""
    says_port: bool = False
    """It prints a line of JSON with its address when it is ready; the others listen on the place's port."""


def configuration(name: str, place: Place, **more: str) -> Path:
    """Fill a template in and write it into the place. Raises KeyError for a name that has no value."""
    values = {
        "directory": str(place.directory),
        "port": str(place.port),
        "origin": str(place.origin),
        # As root, nginx would run its worker as somebody who may not read a temporary directory.
        "user": "user root;" if place.root else "",
        **more,
    }
    path = place.directory / name
    path.write_text(Template((TEMPLATES / name).read_text()).substitute(values))
    return path


def has_database(subject: Subject) -> bool:
    """Whether it can start with entities that it holds."""
    return subject.name.startswith(OURS)


def _floor(_: Place) -> list[str]:
    return [sys.executable, "-m", "bench.floor", "--port", "0"]


def _proxy(lane: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        file = configuration("handshake-proxy.yaml", place, lane=lane)
        return [sys.executable, "-m", "proxy.cli", "serve", "--config", str(file)]

    return command


def _nginx(place: Place) -> list[str]:
    return ["nginx", "-p", str(place.directory), "-c", str(configuration("nginx.conf", place))]


def _haproxy(place: Place) -> list[str]:
    return ["haproxy", "-db", "-q", "-f", str(configuration("haproxy.cfg", place))]


def _varnish(place: Place) -> list[str]:
    # One pool for the one core, with threads enough for each connection of the load from the start: Varnish lends a
    # thread to a connection. No jail: it would want a user of its own. Entities are in memory (malloc).
    parameters = ("thread_pools=1", "thread_pool_min=100", "thread_pool_max=1000", "listen_depth=4096")
    return [
        *("varnishd", "-F", "-j", "none", "-n", str(place.directory / "varnish")),
        *("-f", str(configuration("varnish.vcl", place)), "-a", f"127.0.0.1:{place.port}", "-s", "malloc,2g"),
        *(word for parameter in parameters for word in ("-p", parameter)),
    ]


def _squid(place: Place) -> list[str]:
    # As root it becomes a user that has to write here.
    place.directory.chmod(0o777)
    return ["squid", "-N", "-f", str(configuration("squid.conf", place))]


SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("floor", frozenset({"get", "post"}), _floor, says_port=True),
        Subject("handshake-proxy", frozenset({"get", "post", "pass"}), _proxy("true"), says_port=True),
        # What passes through takes the same way with and without the lane.
        Subject("handshake-proxy (lane off)", frozenset({"get", "post"}), _proxy("false"), says_port=True),
        Subject("nginx", frozenset({"get", "post", "pass"}), _nginx, "nginx", "nginx", ("-v",)),
        Subject("haproxy", frozenset({"get", "pass"}), _haproxy, "haproxy", "haproxy", ("-v",)),
        Subject("varnish", frozenset({"get", "pass"}), _varnish, "varnishd", "varnish", ("-V",)),
        Subject("squid", frozenset({"get", "pass"}), _squid, "squid", "squid", ("-v",)),
    )
}
OURS = "handshake-proxy"
OURS_SLOW = "handshake-proxy (lane off)"
FLOOR = "floor"
