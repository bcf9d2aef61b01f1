"""What a run came to: kept as JSON, of which the table, the chart and the README are made."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figure import Figure


@dataclass(frozen=True, slots=True)
class Result:
    """One subject under one workload; medians of the rounds."""

    workload: str
    subject: str
    requests: int
    """Of all rounds."""
    cpu_us: float
    """Processor time of the server for a request, in microseconds."""
    rate: float
    """Requests a second."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    peak_mib: float
    """The most that was resident, warm-up included; what processes share counts for each of them."""
    rounds_cpu_us: tuple[float, ...] = ()
    """Each round, to see how far they differ."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the Zipf workload had the upstream deliver."""

    subject: str
    requests: int
    asked: int
    """Ids in all requests."""
    distinct: int
    """Different ids among them: no cache of entities can fetch fewer."""
    upstream_requests: int
    upstream_ids: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole run."""

    machine: dict[str, str]
    settings: dict[str, int]
    results: Sequence[Result] = ()
    fetched: Sequence[Fetched] = ()
    missing: dict[str, str] = field(default_factory=dict)
    """Subjects that could not run, with the reason."""
    figures: Sequence[Figure] = ()
    """Those with a target, and those of the other measurements."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Targets that could not be judged, with the reason."""

    def of(self, workload: str, subject: str) -> Result | None:
        """The result of one subject under one workload."""
        return next((one for one in self.results if (one.workload, one.subject) == (workload, subject)), None)


def write(outcome: Outcome, path: Path) -> None:
    """As JSON, figures rounded to what they are good for."""
    path.write_text(json.dumps(_rounded(asdict(outcome)), indent=1) + "\n")


def read(path: Path) -> Outcome:
    """What `write` wrote. Raises KeyError or TypeError for anything else."""
    said = json.loads(path.read_text())
    results = [Result(**{**one, "rounds_cpu_us": tuple(one["rounds_cpu_us"])}) for one in said["results"]]
    return Outcome(
        machine=said["machine"],
        settings=said["settings"],
        results=results,
        fetched=[Fetched(**one) for one in said["fetched"]],
        missing=said["missing"],
        figures=[Figure(**one) for one in said["figures"]],
        skipped=said["skipped"],
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(member) for member in value]
    return value
