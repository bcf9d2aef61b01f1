"""A simulation of fleets: `python -m bench.fleet`. Replicas from 1 to 1,000, users up to 10 million, in three ways.

The program's own policy, resolver, loader and tiers run on a simulated clock (bench/fleet/model.py says what happens to
them). No sockets, no waiting; some eight minutes of one core, or `--quick`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.fleet.chart import chart
from bench.fleet.document import Document, Result
from bench.fleet.load import Load
from bench.fleet.model import run
from bench.fleet.outcome import NAMES, Way
from bench.fleet.tables import LOADS, TABLES, filled

_REPLICAS = (1, 3, 10, 30, 100, 300, 1000)
_OF_OTHER_LOADS = (3, 10, 30, 100)
_SAMPLE, _QUICK_SAMPLE = 1_000, 40
_USUAL = 20
"""Look-ups a day: of users who do more of them fewer are simulated."""


def main() -> int:
    """Simulate, print the tables, and write what there is a file for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few users, and up to 30 replicas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for what was simulated")
    parser.add_argument("--svg", type=Path, help="a file for the chart")
    parser.add_argument("--page", type=Path, help="a page to put the tables into, between their marks")
    arguments = parser.parse_args()
    sample = _QUICK_SAMPLE if arguments.quick else _SAMPLE
    results = []
    for way, count, load in _runs(most=30 if arguments.quick else _REPLICAS[-1]):
        users = int(sample * min(1.0, _USUAL / load.lookups) / (1 if load == Load() else 2))
        results.append(Result(way, count, load, run(way, count, users=users, load=load, seed=arguments.seed)))
        print(f"{count} replicas, {NAMES[way]}, {load.lookups:.0f} look-ups: done", file=sys.stderr)
    document = Document(sample, arguments.seed, results)
    for table in TABLES.values():
        print(table(document))
    if arguments.json is not None:
        document.write(arguments.json)
    if arguments.svg is not None:
        arguments.svg.write_text(chart(document))
    if arguments.page is not None:
        arguments.page.write_text(filled(arguments.page.read_text(), document))
    return 0


def _runs(*, most: int) -> Iterator[tuple[Way, int, Load]]:
    """Each way under the usual load, for up to so many replicas; the stores under others, too."""
    for count in (one for one in _REPLICAS if one <= most):
        for way in NAMES:
            yield way, count, Load()
    others = [load for load in LOADS.values() if load != Load()]
    counts = [one for one in _OF_OTHER_LOADS if one <= most]
    for load in others:
        for count in counts:
            yield "per pod", count, load
        yield "shared", counts[-1], load


if __name__ == "__main__":
    sys.exit(main())
