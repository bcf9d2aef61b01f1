"""A real process that has no file descriptor left, and then has some again."""

import asyncio
import json
import resource
from pathlib import Path

import psutil
import pytest

from tests.e2e.process import PATIENCE, serving
from tests.faults.crowd import crowd, metric
from tests.faults.sick import SickUpstream, says
from tests.faults.watch import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]
LEFT = 2


def events(directory: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (directory / "log").read_text().splitlines()]


async def logged(directory: Path, event: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while event not in await asyncio.to_thread(events, directory):
            await asyncio.sleep(0)


async def test_a_process_without_descriptors_serves_whom_it_has_and_recovers(tmp_path: Path) -> None:
    async with (
        SickUpstream() as upstream,
        serving(upstream.url, tmp_path, HANDSHAKE_UPSTREAMS__MAIN__TIMEOUT="1s") as process,
    ):
        pid = process.process.pid
        async with (
            process.client() as client,
            process.client("handshake") as other,
            process.client("ops") as ops,
        ):
            assert (await client.users("known")).status == 200
            files = process.descriptors()
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (files + LEFT, hard))
            with crowd(process) as comers:
                await comers.come(LEFT + 50)
                await logged(tmp_path, "descriptors_exhausted")
                # It does not go round and round over those whom it can't accept.
                busy = psutil.Process(pid).cpu_times()
                for _ in range(5):
                    await logged(tmp_path, "descriptors_exhausted")
                    assert (await client.users("known")).status == 200
                # Connections that there are, hits, and writes to the database go on.
                for number in range(20):
                    answer = await client.users(
                        f"new-{number}"
                    )  # by the connection that it has to the upstream
                    assert answer.status == 200
                login = {"userId": "known", "businessId": "shop"}
                assert (await other.call("POST", "/v1/login", login)).status == 200
                assert (await ops.get("/livez")).status == 200
                spent = psutil.Process(pid).cpu_times()
                assert spent.user + spent.system - busy.user - busy.system < 2.0
                # A further connection to the upstream can't be had.
                upstream.illness = says(b"", then="hang")
                calls = len(upstream.upstream.seen)
                waiting = asyncio.create_task(other.call("POST", "/v1/users/ensure", {"userId": "late"}))
                await until(lambda: len(upstream.upstream.seen) > calls)
                assert (await client.get("/elsewhere")).status == 503
                scraped = (await ops.get("/metrics")).body.decode()
                assert 'upstream_errors_total{reason="overloaded",upstream="main"}' in scraped
                assert 'reason="connect"' not in scraped  # that it can't be reached is not its fault
                assert process.process.returncode is None
            upstream.illness = None
            assert (await waiting).status == 503
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
            await logged(tmp_path, "descriptors_available")
            assert (await client.get("/elsewhere")).status == 200
            assert (await process.users("known")).status == 200
            assert await metric(process, "store_errors_total") == 0
            assert "internal_error" not in await asyncio.to_thread(events, tmp_path)
