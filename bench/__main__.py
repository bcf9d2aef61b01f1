"""Everything that is measured, in one run: `make bench`. Nothing is installed; what is missing is said.

The comparison with the peers (bench.peers) comes first, then what the other modules measure of this proxy alone. Each
runs by itself too: `python -m bench.added`, `bench.startup`, `bench.sizing`, `bench.handshake`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.figure import Figure
from bench.peers import __main__ as peers
from bench.peers.results import Outcome
from bench.peers.servers import BenchError

ALONE: dict[str, tuple[str, ...]] = {
    "added": (),
    "startup": (),
    # The parts that say what memory a process and an entity take; `make bench-sizing` has them all.
    "sizing": ("--part", "idle", "--part", "tiers"),
    "handshake": (),
}
"""Modules that measure this proxy alone, with their options."""


def alone(name: str, options: Sequence[str], python: Sequence[str] = (sys.executable, "-m")) -> list[Figure]:
    """Run a module that writes its figures as JSON; a missed target is no failure. Raises BenchError."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "figures.json"
        done = subprocess.run([*python, f"bench.{name}", "--json", str(file), *options], check=False)
        if done.returncode not in {0, 1} or not file.exists():
            raise BenchError(f"bench.{name} ended with {done.returncode}")
        return [Figure(**{**one, "name": f"{name}: {one['name']}"}) for one in json.loads(file.read_text())]


def main() -> int:
    """Measure, print, and write what there is a file for; 1 if a target was missed, 2 if there are no figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[peers.options()],
    )
    parser.add_argument(
        "--alone", default=",".join(ALONE), help=f"of {','.join(ALONE)}; empty: the comparison only"
    )
    arguments = parser.parse_args()
    peers.end_with_servers()
    try:
        wish = peers.wished(arguments)
        outcome = peers.measure(wish)
        peers.show(outcome)
        # What has been measured stays, whatever becomes of the rest.
        peers.save(outcome, arguments.json, arguments.svg)
        if not wish.quick:
            outcome = _with_figures(outcome, [name for name in arguments.alone.split(",") if name])
            peers.save(outcome, arguments.json, arguments.svg)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    missed = [figure.name for figure in outcome.figures if figure.missed]
    print("\n".join(f"missed: {name}" for name in missed) or "no target was missed")
    return 0 if wish.quick else int(bool(missed))


def _with_figures(outcome: Outcome, names: Sequence[str]) -> Outcome:
    for name in names:
        if name not in ALONE:
            raise BenchError(f"there is no {name} to measure: {', '.join(ALONE)}")
        print(f"\n{name}", flush=True)
        outcome = replace(outcome, figures=[*outcome.figures, *alone(name, ALONE[name])])
    return outcome


if __name__ == "__main__":
    sys.exit(main())
