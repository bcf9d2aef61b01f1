"""What the process takes, second by second, and whether that stays the same."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.soak.client import PATIENCE
from bench.soak.rules import MEMORY_BYTES
from bench.subject import Subject

_SAMPLE = re.compile(r"^handshake_proxy_(\w+?)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
EARLY, LATE = (0.3, 0.5), (0.8, 1.0)
"""Parts of the run whose medians are compared: what comes before the first fills the tiers, caches and pools."""
MOST_GROWTH = 0.01


@dataclass(frozen=True, slots=True)
class Moment:
    """One look at the process."""

    second: float
    resident: int
    descriptors: int
    threads: int
    tasks: int
    memory_bytes: int
    store_bytes: int
    upstream_connections: int


def read(metrics: str) -> dict[str, float]:
    """The samples without their labels, added up by name."""
    found: dict[str, float] = {}
    for name, _, value in _SAMPLE.findall(metrics):
        found[name] = found.get(name, 0.0) + float(value)
    return found


async def look(subject: Subject, second: float, upstream_connections: int) -> tuple[Moment, dict[str, float]]:
    """Measure now. Raises AssertionError if the metrics are not there or over their bound, and TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        text = await subject.metrics()
    assert text.startswith("HTTP/1.1 200 "), text[:40]
    samples = read(text)
    with subject.process.oneshot():
        moment = Moment(
            second=round(second, 1),
            resident=subject.memory(),
            descriptors=subject.process.num_fds(),
            threads=subject.process.num_threads(),
            tasks=int(samples["tasks"]),
            memory_bytes=int(samples["memory_bytes"]),
            store_bytes=int(samples["store_bytes"]),
            upstream_connections=upstream_connections,
        )
    assert moment.memory_bytes <= MEMORY_BYTES, f"memory tier of {moment.memory_bytes} bytes"
    return moment, samples


def part(moments: Sequence[Moment], span: tuple[float, float]) -> Sequence[Moment]:
    """The moments of a part of the run."""
    whole = moments[-1].second
    return [moment for moment in moments if span[0] * whole <= moment.second <= span[1] * whole]


def growth(moments: Sequence[Moment], name: str) -> float:
    """By what part of itself a value has grown from the early part of the run to the late one, median to median."""
    early, late = (median(getattr(moment, name) for moment in part(moments, span)) for span in (EARLY, LATE))
    return float(late / early - 1)
