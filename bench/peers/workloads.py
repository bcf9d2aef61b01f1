"""What is asked of each subject."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.origin import BULK
from bench.peers.subjects import OURS, OURS_SLOW, SUBJECTS, Ability

LARGE = 16 * 2**20
"""Bytes of a large body."""
_SMALL = 200
_FILLED = frozenset(SUBJECTS) - {OURS_SLOW, "squid"}
"""To fill all of them with many entities would take longer than the rest of the run."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One load, made by a script of bench/wrk."""

    name: str
    title: str
    needs: Ability
    path: str
    script: str = "report.lua"
    arguments: tuple[str, ...] = ()
    connections: int = 32
    ids: int = 0
    """Of a bulk call."""
    entities: int = 0
    """Users u0, u1, … that have to be held before."""
    large: bool = False
    """Bodies of 16 MiB: counted in MiB a second and in processor time per GiB."""
    only: frozenset[str] = frozenset(SUBJECTS)

    @property
    def cached(self) -> bool:
        """Nothing of it may reach the upstream."""
        return self.needs != "pass"

    def runs_on(self, subject: str) -> bool:
        """Whether this subject can do it and is asked to."""
        return subject in self.only and self.needs in SUBJECTS[subject].can


def _bulk(ids: int) -> Workload:
    title = f"bulk hit of {ids} id{'s' if ids > 1 else ''}"
    return Workload(f"bulk-{ids}", title, "post", BULK, "bulk.lua", (str(ids),), ids=ids)


def _hits(name: str, entities: int, only: frozenset[str]) -> Workload:
    title = f"GET hits at {entities:,} entities"
    return Workload(name, title, "get", "/", "range.lua", (str(entities),), entities=entities, only=only)


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("get-hit", "GET hit", "get", "/users/u0"),
        Workload("get-hit-header", "GET hit, a header differs each time", "get", "/users/u0", "header.lua"),
        _bulk(1),
        _bulk(10),
        _bulk(100),
        Workload("pass-small", "passed through, 200 bytes", "pass", f"/bytes/{_SMALL}"),
        Workload(
            "pass-get-16m",
            "passed through, 16 MiB down",
            "pass",
            f"/bytes/{LARGE}",
            connections=4,
            large=True,
        ),
        Workload(
            *("pass-post-16m", "passed through, 16 MiB up", "pass", "/bytes", "upload.lua", (str(LARGE),)),
            connections=4,
            large=True,
        ),
        _hits("hits-1k", 1_000, _FILLED),
        _hits("hits-100k", 100_000, _FILLED),
        # The peers can only be filled one look-up at a time, which would take longer than all the rest.
        _hits("hits-1m", 1_000_000, frozenset({OURS})),
    )
}
ZIPF = "zipf"
QUICK: Sequence[str] = tuple(name for name, one in WORKLOADS.items() if not one.entities)
"""The workloads that need no filling."""
