"""Writes the README's table of the comparison out of what `make bench` measured.

`python -m bench.readme docs/benchmark.json README.md`; with `--check` it only says whether the table is up to date.
"""

import argparse
import os
import sys
import textwrap
from pathlib import Path

from bench.peers import machine, results
from bench.peers.results import Outcome
from bench.peers.subjects import SUBJECTS
from bench.peers.workloads import WORKLOADS

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
_COLUMNS = {
    "get-hit": "GET hit",
    "get-hit-header": "a header differs",
    "bulk-1": "bulk of 1",
    "bulk-10": "bulk of 10",
    "bulk-100": "bulk of 100",
    "pass-small": "passed through",
}
_KINDS = {"floor": "the floor: a bare protocol and a table"}


def block(outcome: Outcome, chart: str) -> str:
    """What stands between the markers, and they; `chart` is the path of the picture."""
    shown = {name: title for name, title in _COLUMNS.items() if _measured(outcome, name)}
    lines = [
        BEGIN,
        f"![Processor time of each request, as bars for each server]({chart})",
        "",
        "Processor time of the server for a request, in microseconds, all measured in one run of `make bench`:",
        "",
        f"| | {' | '.join(shown.values())} | GET hits a second |",
        f"|---|{'--:|' * (len(shown) + 1)}",
    ]
    for subject in SUBJECTS:
        if subject in outcome.missing:
            continue
        cells = [_cpu(outcome, name, subject) for name in shown]
        hit = outcome.of("get-hit", subject)
        cells.append("" if hit is None else f"{hit.rate:,.0f}")
        if any(cells):
            lines.append(f"| {_KINDS.get(subject, subject)} | {' | '.join(cells)} |")
    lines += ["", *_fetched(outcome), *_wrapped(f"Measured on {machine.line(outcome.machine)}."), END]
    return "\n".join(lines)


def replaced(text: str, new: str) -> str:
    """The page with this block for its own. Raises ValueError if it has no place for one."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{new}{after}"


def _measured(outcome: Outcome, workload: str) -> bool:
    return workload in WORKLOADS and any(outcome.of(workload, subject) is not None for subject in SUBJECTS)


def _cpu(outcome: Outcome, workload: str, subject: str) -> str:
    result = outcome.of(workload, subject)
    return "" if result is None else f"{result.cpu_us:,.1f}"


def _fetched(outcome: Outcome) -> list[str]:
    if not outcome.fetched:
        return []
    first = outcome.fetched[0]
    ids = ", ".join(f"{one.upstream_ids:,} through {one.subject}" for one in outcome.fetched)
    calls = f"{first.requests:,} bulk calls for {first.asked:,} ids, drawn by Zipf's law"
    return [*_wrapped(f"{calls}: the upstream was asked for {ids}."), ""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def main() -> int:
    """Write the page, or compare; 1 if it is out of date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", type=Path, help="what `make bench` wrote; the chart is beside it")
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    chart = os.path.relpath(arguments.json.with_suffix(".svg"), arguments.page.parent)
    text = arguments.page.read_text()
    wanted = replaced(text, block(results.read(arguments.json), chart))
    if arguments.check:
        if text != wanted:
            print(
                f"{arguments.page} is out of date: python -m bench.readme {arguments.json} {arguments.page}"
            )
        return int(text != wanted)
    arguments.page.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
