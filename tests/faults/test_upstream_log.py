"""What is logged of an upstream that fails many times a second."""

from pathlib import Path

from tests.faults.asking import answered
from tests.faults.sick import SickUpstream, says
from tests.faults.watch import USER, watched


async def test_each_kind_of_failure_is_logged_every_ten_seconds(tmp_path: Path) -> None:
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path) as seen:
        upstream.illness = says(b"garbage\r\n\r\n")
        for number in range(20):
            await answered(seen, "pass", f"{USER}-{number}")
        assert seen.errors() == {"protocol": 20}
        assert seen.logged("upstream_failed", reason="protocol") == 1
        await upstream.stop()
        await answered(seen, "pass")
        assert seen.logged("upstream_failed", reason="connect") == 1  # another kind has a line of its own
        seen.proxy.clock.tick(9.9)
        await answered(seen, "pass")
        assert seen.logged("upstream_failed") == 2
        seen.proxy.clock.tick(0.1)
        await answered(seen, "pass")
        assert seen.logged("upstream_failed", reason="connect") == 2


async def test_an_open_circuit_is_logged_as_seldom(tmp_path: Path) -> None:
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path) as seen:
        upstream.illness = says(b"garbage\r\n\r\n")
        for number in range(20):
            assert (await answered(seen, "bulk", f"{USER}-{number}")).status == 503
        assert seen.errors() == {"protocol": 5, "circuit_open": 15}
        assert seen.logged("upstream_failed", reason="circuit_open") == 1
        assert seen.logged("upstream_failed") == 2
