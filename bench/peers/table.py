"""The results as text, aligned: a table for each workload, its subjects below one another."""

from collections.abc import Sequence

from bench.peers.results import Outcome, Result
from bench.peers.subjects import SUBJECTS
from bench.peers.workloads import LARGE, WORKLOADS, Workload

_GIB = 2**30 // LARGE
"""Large bodies of one GiB."""
_MIB = LARGE // 2**20


def cpu(workload: Workload, result: Result) -> tuple[float, str]:
    """Processor time and its unit: of a request, or of a GiB where bodies are large."""
    return (result.cpu_us * _GIB / 1000, "ms/GiB") if workload.large else (result.cpu_us, "us")


def throughput(workload: Workload, result: Result) -> tuple[float, str]:
    """What came through in a second."""
    return (result.rate * _MIB, "MiB/s") if workload.large else (result.rate, "requests/s")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they have to be: names to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def tables(outcome: Outcome) -> str:
    """Everything that was measured beside the peers."""
    parts = ["\n".join(lines) for workload in WORKLOADS.values() if (lines := _workload(outcome, workload))]
    if outcome.fetched:
        parts.append("\n".join(_fetched(outcome)))
    return "\n\n".join(parts)


def _workload(outcome: Outcome, workload: Workload) -> list[str]:
    results = [one for name in SUBJECTS if (one := outcome.of(workload.name, name)) is not None]
    if not results:
        return []
    heads = ("CPU, " + cpu(workload, results[0])[1], throughput(workload, results[0])[1])
    rows = [[f"{workload.title} ({workload.name})", *heads, "p50 ms", "p99 ms", "p99.9 ms", "peak MiB"]]
    for name in SUBJECTS:
        result = outcome.of(workload.name, name)
        if result is None:
            reason = outcome.missing.get(name, "-")
            rows.append([f"  {name}", reason, *("" for _ in range(5))])
        else:
            rows.append(_row(workload, result))
    return aligned(rows)


def _row(workload: Workload, result: Result) -> list[str]:
    return [
        f"  {result.subject}",
        f"{cpu(workload, result)[0]:,.1f}",
        f"{throughput(workload, result)[0]:,.0f}",
        *(f"{value:.2f}" for value in (result.p50_ms, result.p99_ms, result.p999_ms)),
        f"{result.peak_mib:,.0f}",
    ]


def _fetched(outcome: Outcome) -> list[str]:
    first = outcome.fetched[0]
    title = (
        f"Zipf bulks: {first.requests:,} calls for {first.asked:,} ids, {first.distinct:,} of them different"
    )
    rows = [[title, "upstream calls", "upstream ids"]]
    rows += [
        [f"  {one.subject}", f"{one.upstream_requests:,}", f"{one.upstream_ids:,}"] for one in outcome.fetched
    ]
    return aligned(rows)
