"""What has to be reached, as ratios within one run: a noisy machine is as noisy for the others."""

from dataclasses import dataclass

from bench.figure import Figure
from bench.peers.results import Outcome
from bench.peers.subjects import FLOOR, OURS


@dataclass(frozen=True, slots=True)
class Target:
    """Processor time of a request to this proxy, at most so many times that of another."""

    workload: str
    subject: str
    other: str
    """The workload of the other."""
    most: float

    @property
    def name(self) -> str:
        """Which of which."""
        other = "" if self.workload == self.other else f"'s {self.other}"
        return f"{self.workload}: CPU against {self.subject}{other}"


TARGETS = (
    Target("get-hit", "haproxy", "get-hit", 1.0),
    Target("get-hit", "nginx", "get-hit", 0.6),
    Target("get-hit", FLOOR, "get-hit", 1.2),
    Target("get-hit-header", "nginx", "get-hit-header", 1.0),
    Target("bulk-1", "nginx", "get-hit", 1.2),
)
_ENTITIES = 100
ENTITY = f"bulk-{_ENTITIES}: CPU per entity, for 2 million a second"
_ENTITY_US = 0.5


def judge(outcome: Outcome) -> tuple[list[Figure], dict[str, str]]:
    """The figures with their targets, and those that can't be had, with the reason."""
    figures, skipped = [], {}
    for target in TARGETS:
        mine, other = outcome.of(target.workload, OURS), outcome.of(target.other, target.subject)
        if mine is None or other is None:
            lacking = OURS if mine is None else target.subject
            skipped[target.name] = f"{lacking}: {outcome.missing.get(lacking, 'not measured in this run')}"
            continue
        figures.append(Figure(target.name, mine.cpu_us / other.cpu_us, "x", target.most))
    bulk = outcome.of(f"bulk-{_ENTITIES}", OURS)
    if bulk is None:
        skipped[ENTITY] = f"{OURS}: not measured in this run"
    else:
        figures.append(Figure(ENTITY, bulk.cpu_us / _ENTITIES, "us", _ENTITY_US))
    return figures, skipped
