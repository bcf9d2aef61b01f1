"""A short run of the comparison with real processes: every kind of workload, on what comes with the project."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from bench.peers import results
from bench.peers.results import Outcome
from bench.peers.subjects import FLOOR, OURS
from tests.needed import tool

ROOT = Path(__file__).parents[2]
QUICK = ("--quick", "--subjects", f"{FLOOR},{OURS}")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


async def bench(*options: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.peers", *options),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def wrk() -> str:
    return tool("wrk", "apt-get install wrk")


@pytest.mark.slow
async def test_a_quick_run_measures_what_it_says(wrk: str, tmp_path: Path) -> None:
    files = (tmp_path / "benchmark.json", tmp_path / "benchmark.svg")
    chosen = "get-hit,get-hit-header,bulk-10,pass-post-16m,hits-1k,zipf"
    process = await bench(*QUICK, "--only", chosen, "--json", str(files[0]), "--svg", str(files[1]))
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    outcome = results.read(files[0])
    measured = {(one.workload, one.subject) for one in outcome.results}
    assert measured == {
        *(
            (name, subject)
            for name in ("get-hit", "get-hit-header", "bulk-10", "hits-1k")
            for subject in (FLOOR, OURS)
        ),
        ("pass-post-16m", OURS),
    }
    assert all(one.requests > 0 and one.cpu_us > 0 and one.peak_mib > 1 for one in outcome.results)
    assert all(0 < one.p50_ms <= one.p99_ms <= one.p999_ms for one in outcome.results)
    each_id_was_fetched_once(outcome)
    assert "GET hit (get-hit)" in printed.decode()
    assert files[1].read_text().startswith("<svg")


def each_id_was_fetched_once(outcome: Outcome) -> None:
    (one,) = outcome.fetched
    assert one.subject == OURS
    assert one.upstream_ids == one.distinct < one.asked


@pytest.mark.slow
async def test_a_run_that_is_told_to_end_takes_its_servers_with_it(wrk: str) -> None:
    process = await bench(*QUICK, "--only", "get-hit")
    assert process.stderr is not None
    # What it says when the servers are up.
    assert b"GET hit" in await process.stderr.readline()
    servers = psutil.Process(process.pid).children(recursive=True)
    assert len(servers) >= 3
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert [server for server in servers if server.is_running()] == []


async def test_without_wrk_it_names_the_package(tmp_path: Path) -> None:
    process = await bench(*QUICK, PATH=str(tmp_path))
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert "apt-get install wrk" in errors.decode()
