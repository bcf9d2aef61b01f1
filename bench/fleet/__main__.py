"""A simulation of fleets: `python -m bench.fleet`. Replicas from 1 to 1,000, users up to 10 million, in three ways.

The program's own policy, resolver, loader and tiers run on a simulated clock (bench/fleet/model.py says what happens to
them). No sockets, no waiting; a few minutes of one core, or `--quick`.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench.fleet.chart import NAMES, chart, table
from bench.fleet.model import Outcome, Way, run

_REPLICAS = (1, 3, 10, 30, 100, 300, 1000)
_USERS = (10_000, 100_000, 1_000_000, 10_000_000)
_SAMPLE, _QUICK_SAMPLE = 400, 50
_BEGIN, _END = "<!-- table: begin -->\n", "<!-- table: end -->"


def main() -> int:
    """Simulate, print the table, and write what there is a file for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few users, and up to 30 replicas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for what was simulated")
    parser.add_argument("--svg", type=Path, help="a file for the chart")
    parser.add_argument("--page", type=Path, help="a page to put the table into, between its marks")
    arguments = parser.parse_args()
    sample = _QUICK_SAMPLE if arguments.quick else _SAMPLE
    results: dict[tuple[Way, int], Outcome] = {}
    for count in (one for one in _REPLICAS if not arguments.quick or one <= 30):
        for way in NAMES:
            results[way, count] = run(way, count, users=sample, seed=arguments.seed)
            print(f"{count} replicas, {NAMES[way]}: done", file=sys.stderr)
    print(table(results, _USERS))
    if arguments.json is not None:
        rows = [{"way": way, "replicas": count, **asdict(one)} for (way, count), one in results.items()]
        document = {"sample": sample, "seed": arguments.seed, "results": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.svg is not None:
        arguments.svg.write_text(chart(results))
    if arguments.page is not None:
        before, _, rest = arguments.page.read_text().partition(_BEGIN)
        arguments.page.write_text(before + _BEGIN + table(results, _USERS) + _END + rest.partition(_END)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
