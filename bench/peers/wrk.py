"""Runs wrk, the load: one thread, kept connections, a script in bench/wrk."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.peers.servers import BenchError

SCRIPTS = Path(__file__).parent.parent / "wrk"
_GRACE = 60
"""Seconds that wrk may take longer than it was told to."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of wrk came to."""

    requests: int
    seconds: float
    p50: float
    """Latencies in milliseconds."""
    p99: float
    p999: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def parse(output: str) -> Report:
    """Read the last line, which report.lua writes. Raises BenchError if it is not there, or tells of errors."""
    last = output.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        raise BenchError(f"wrk did not report:\n{output}")
    said = json.loads(last)
    errors = {kind: count for kind, count in said["errors"].items() if count}
    if errors:
        raise BenchError(f"wrk met errors: {errors}")
    if not said["requests"]:
        raise BenchError("wrk got no answer")
    return Report(
        requests=int(said["requests"]),
        seconds=said["microseconds"] / 1e6,
        p50=said["p50"] / 1000,
        p99=said["p99"] / 1000,
        p999=said["p999"] / 1000,
    )


def run(
    program: str, url: str, script: str, arguments: tuple[str, ...], *, connections: int, seconds: int
) -> Report:
    """One load. Raises BenchError if anything but successes came back."""
    command = [
        *(program, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency"),
        *("-s", script, url, "--", *arguments),
    ]
    # The scripts find each other in the directory that wrk runs in.
    done = subprocess.run(
        command, cwd=SCRIPTS, capture_output=True, text=True, check=False, timeout=seconds + _GRACE
    )
    if done.returncode:
        raise BenchError(f"wrk failed: {done.stderr or done.stdout}")
    return parse(done.stdout)
