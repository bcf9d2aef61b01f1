"""`make crash`: kill the proxy again and again, and see what it remembers."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.crash.people import TornError
from tests.crash.rounds import Harness


def main() -> int:
    """Run as the arguments say; 1 when something was shown or kept that must not be."""
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--within", type=float, default=1_800.0, metavar="SECONDS", help="stop after so long")
    arguments = parser.parse_args()
    sys.stdout.write(f"kills {arguments.kills}, seed {arguments.seed}\n")
    with tempfile.TemporaryDirectory(prefix="crash-") as directory:
        harness = Harness(Path(directory), arguments.seed)
        try:
            summary = asyncio.run(harness.run(arguments.kills, within=arguments.within))
        except TornError as error:
            sys.stdout.write(f"{harness.summary}\nFAILED: {error}\n")
            return 1
    sys.stdout.write(f"{summary}\n")
    for name, count in sorted(summary.answers.items()):
        sys.stdout.write(f"  {name}: {count}\n")
    return 0 if summary.kills >= arguments.kills else 1


if __name__ == "__main__":
    sys.exit(main())
