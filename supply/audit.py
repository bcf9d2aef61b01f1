"""Asks of every pinned release whether it has a known vulnerability: `make audit`.

pip-audit does the asking. This says which of three things came of it, which its own exit code does not tell apart:

| exit code | means |
|---|---|
| 0 | every release was looked up, and none has a known vulnerability |
| 1 | some have; they are listed |
| 3 | some could not be looked up, so that nothing is known of them; 0 with `--if-reachable` if none could |
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
_PATIENCE = 600.0
"""Seconds for all look-ups together; they are one request for each release."""


def ask(program: str, service: str, locks: Sequence[Path]) -> list[dict[str, Any]] | None:
    """What pip-audit says of each release of the lock files, or None if it could not ask at all."""
    files = [argument for lock in locks for argument in ("--requirement", str(lock))]
    # The locks are complete and hashed: nothing is resolved or fetched.
    command = [
        program,
        "--disable-pip",
        "--require-hashes",
        "--vulnerability-service",
        service,
        "--format=json",
        *files,
    ]
    try:
        done = subprocess.run(  # noqa: S603 - the program that the Makefile names
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"audit: {service} did not answer in {_PATIENCE:.0f} s", file=sys.stderr)
        return None
    try:
        document = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2]
        print(f"audit: {service} could not be asked: {last.partition('(')[0].strip()}", file=sys.stderr)
        return None
    releases: list[dict[str, Any]] = document["dependencies"]
    return releases


def judge(releases: Sequence[dict[str, Any]]) -> int:
    """The exit code for what was said, with a line for each release that is not clean."""
    bad = [release for release in releases if release.get("vulns")]
    unknown = [release for release in releases if "skip_reason" in release]
    for release in bad:
        for found in release["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{release['name']} {release['version']}: {found['id']}, fixed in: {fixed}")
    looked_up = len(releases) - len(unknown)
    print(
        f"audit: {looked_up} of {len(releases)} releases were looked up, {len(bad)} have a known vulnerability"
    )
    if bad:
        return VULNERABLE
    if unknown or not releases:
        names = ", ".join(sorted(release["name"] for release in unknown)) if looked_up else "any of them"
        print(f"audit: nothing is known of {names}", file=sys.stderr)
        return UNKNOWN
    return CLEAN


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m supply.audit", description="Look the pinned releases up."
    )
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    parser.add_argument(
        "--program", default="pip-audit", help="the pip-audit to run (default: that of the path)"
    )
    parser.add_argument("--service", default="pypi", help="pypi (default) or osv")
    parser.add_argument(
        "--if-reachable", action="store_true", help="it is no failure if the service can't be asked at all"
    )
    given = parser.parse_args(arguments)
    releases = ask(given.program, given.service, given.locks)
    code = UNKNOWN if releases is None else judge(releases)
    nothing = releases is None or all("skip_reason" in release for release in releases)
    if code == UNKNOWN and nothing and given.if_reachable:
        print(
            "audit: NOT DONE, for the service that knows vulnerabilities can't be reached from here",
            file=sys.stderr,
        )
        return CLEAN
    return code


if __name__ == "__main__":
    sys.exit(main())
