"""Mixed traffic with faults against the real process, every answer held against a model: `make soak`.

Memory is judged by medians of resident bytes: the last fifth of the run against the time from 30 % to 50 % of it. A run
of less than five minutes is too short for that, and says so.

The allocator takes an arena of some 2 MiB and gives it back, every other minute: the medians see through that if
neither time has it more often than not. The curve in the report shows it.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.soak.report import report
from bench.soak.run import Plan, soak


def main() -> int:
    """Run, print the report, and write it as JSON if asked to; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1, help="of traffic, faults and their order")
    parser.add_argument("--rate", type=float, default=150, help="requests a second")
    parser.add_argument("--json", type=Path, help="a file to write the report to")
    parser.add_argument("--keep", type=Path, help="an empty directory for the store and the log, which stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        plan = Plan(arguments.seconds, arguments.seed, arguments.keep or Path(place), arguments.rate)
        return report(asyncio.run(soak(plan)), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
