"""What clients were answered in a test, and what was counted: the same with the fast lane and without it.

Tests of the transparent listener run twice (`twice`), and the second run is held against the first. That each answer
is the one that is due, the tests say themselves; this is about all that they don't look at.
"""

import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import pytest

from proxy.metrics import Metrics

# What this instance made up: its name in Via, ports, internal ids.
_OWN = re.compile(
    rb"handshake-proxy-[0-9a-f]{8}|(?<=127\.0\.0\.1:)[0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_DATE = re.compile(rb"Date: (\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT)\r\n")
# Seconds around the real time that can't be the time of a test's own clock.
_REAL = 600
# Of what is counted, that which depends on requests alone; times, sizes and what the database does differ by chance.
_COUNTED = (
    "requests_total",
    "entities_total",
    "misses_total",
    "lookups_total",
    "entity_age_seconds",
    "upstream_requests_total",
    "upstream_errors_total",
    "upstream_retries_total",
    "upstream_ids_total",
    "coalesced_ids_total",
    "evictions_total",
    "invalidations_total",
)

# By these names a module has what starts a proxy.
_ELSEWHERE = frozenset({"test_openapi_fuzz", "test_transfer"})
"""Modules that have those and ask no transparent listener."""
_STARTERS = frozenset({"running", "guarded", "serve_scripted"})
# Run twice and not compared. How many entities there is room for: the lane's tables have a part of it. And what a
# circuit lets through of many calls at a time, or what many clients see who ask all the time: that differs from run to
# run.
_NOT_COMPARED = frozenset(
    {
        "test_copies_count_in_the_bound_of_memory",
        "test_minutes_without_upstream",
        "test_no_request_that_begins_after_the_acknowledgement_sees_what_was_before",
    }
)
_ID = {True: "the lane", False: "no lane"}

Counts = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class _Lane:
    """Whether the proxies of a test have the fast lane, unless it says so itself."""

    on: bool = True


@dataclass
class Transcript:
    """One run of a test."""

    clients: list[list[bytes]] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)
    """Of each proxy, in the order in which they stopped."""

    def answers(self) -> list[list[bytes]]:
        """What each client was answered; who of those that come at once is the first is nobody's promise."""
        return sorted([neutral(piece) for piece in said] for said in self.clients)


LANE = _Lane()
_now = Transcript()
_first: dict[str, Transcript] = {}


def neutral(data: bytes) -> bytes:
    """The same without what an instance makes up, and without dates of an upstream that looks at the real clock."""
    return _DATE.sub(_timeless, _OWN.sub(b"-", data))


def _timeless(found: re.Match[bytes]) -> bytes:
    date = parsedate_to_datetime(found[1].decode("latin-1"))
    return b"" if abs(date.timestamp() - time.time()) < _REAL else found[0]


def new_client() -> list[bytes]:
    """Where to write what a new client is answered."""
    _now.clients.append([])
    return _now.clients[-1]


def counts(metrics: Metrics) -> Counts:
    """What was counted of requests, and what they caused. Ages differ by what sums of floats do."""
    found: Counts = {}
    for one in metrics.snapshot():
        # Whether the database had it in time is nobody's promise; without a row, who was invalidated was never seen.
        if one.name.startswith(_COUNTED) and one.labels.get("tier") != "database":
            labels = {
                name: "never_seen" if value == "invalidated" else value for name, value in one.labels.items()
            }
            key = one.name, tuple(sorted(labels.items()))
            found[key] = round(found.get(key, 0.0) + one.value, 4)
    return found


def count(metrics: Metrics) -> None:
    """A proxy has stopped."""
    _now.counts.append(counts(metrics))


def compared(request: pytest.FixtureRequest) -> Iterator[None]:
    """One run of a test; the second is held against the first."""
    global _now
    LANE.on, _now = getattr(request, "param", True), Transcript()
    try:
        yield
    finally:
        LANE.on = True
    name = request.node.nodeid.replace(_ID[True], "").replace(_ID[False], "")
    if name == request.node.nodeid or request.function.__name__ in _NOT_COMPARED:
        return
    first = _first.pop(name, None)
    if first is None:
        _first[name] = _now
        return
    others = [pair for pair in zip(first.answers(), _now.answers(), strict=True) if pair[0] != pair[1]]
    assert not others, others[:3]
    counted = _differences(first.counts, _now.counts)
    assert not counted, counted


def _differences(first: list[Counts], second: list[Counts]) -> list[tuple[object, ...]]:
    return [
        (key, one.get(key), other.get(key))
        for one, other in zip(first, second, strict=True)
        for key in one.keys() | other.keys()
        if one.get(key, 0.0) != other.get(key, 0.0)
    ]


def twice(metafunc: pytest.Metafunc, always: Collection[str]) -> None:
    """Have a test run with the lane and without it, if its module starts a proxy by itself: those whose name begins so
    always, others in CI."""
    module = metafunc.module.__name__.rpartition(".")[2]
    started_by = (vars(metafunc.module).get(name) for name in _STARTERS)
    if module in _ELSEWHERE or not any(
        getattr(one, "__module__", "").startswith("tests.") for one in started_by
    ):
        return
    if os.environ.get("CI") or module.startswith(tuple(always)):
        metafunc.parametrize("lane", [True, False], ids=_ID.get, indirect=True)
