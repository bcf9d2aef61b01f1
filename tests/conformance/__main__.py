"""`make conformance`: run the HTTP caching conformance suite against an opaque resource, and say what fails."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conformance.known import KNOWN
from tests.conformance.suite import Kind, Results, installed

KINDS: tuple[Kind, ...] = ("required", "optimal", "check")


def main() -> int:
    """Run it; 1 if something that is required fails and has no reason for it, 2 if the suite can't be had."""
    argparse.ArgumentParser(prog="make conformance", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        directories = [Path(name, part) for part in ("suite", "proxy")]
        for directory in directories:
            directory.mkdir()
        try:
            suite = installed(directories[0])
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            sys.stderr.write(f"{error.msg}\n")
            return 2
        results = asyncio.run(suite.run(directories[1]))
    sys.stdout.write(report(results))
    return 1 if results.failures("required").keys() - KNOWN.keys() else 0


def report(results: Results) -> str:
    """Failures of each kind, with what was wrong, and then how many have passed. Of checks, no is an answer, too."""
    lines = []
    for kind in KINDS:
        for test, wrong in results.failures(kind).items():
            lines.append(f"{kind}: {test}: {wrong}")
            if test in KNOWN:
                lines.append(f"    known: {KNOWN[test]}")
    lines += [f"{kind}: {results.passed(kind)} of {results.total(kind)}" for kind in KINDS]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
