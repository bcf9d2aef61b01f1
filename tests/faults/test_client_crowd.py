"""Five thousand connections to a real process, below and above `limits.connections`."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.process import PATIENCE, serving
from tests.faults.crowd import crowd, many_files, metric
from tests.faults.sick import SickUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

COUNT = 5_000
PER_CONNECTION = 24 * 1024
"""Bytes that an idle connection may cost; docs/sizing.md has 16 KiB, the allocator some more."""


async def test_five_thousand_that_may_come_are_served(tmp_path: Path) -> None:
    with many_files(2 * COUNT):
        async with SickUpstream() as upstream, serving(upstream.url, tmp_path) as process:
            assert (await process.users("known")).status == 200
            files, memory = process.descriptors(), process.memory()
            with crowd(process) as all_of_them:
                await all_of_them.come(COUNT)
                async with process.client() as client:  # among all those
                    assert (
                        (await client.users("known")).field("cache-status").startswith("handshake-proxy; hit")
                    )
                assert process.descriptors() >= files + COUNT
                assert process.memory() - memory < COUNT * PER_CONNECTION
                for each in all_of_them.sockets[::500]:
                    each.sendall(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
                    each.settimeout(PATIENCE)
                    assert (await asyncio.to_thread(each.recv, 12)) == b"HTTP/1.1 200"
            await process.closes_down_to(files + 20)
            assert (await process.users("known")).status == 200


async def test_of_five_thousand_those_beyond_the_bound_are_refused_with_503(tmp_path: Path) -> None:
    bound = 500
    with many_files(2 * COUNT):
        async with (
            SickUpstream() as upstream,
            serving(upstream.url, tmp_path, HANDSHAKE_LIMITS__CONNECTIONS=str(bound)) as process,
            process.client() as client,
        ):
            assert (await client.users("known")).status == 200
            files = process.descriptors()
            with crowd(process) as all_of_them:
                await all_of_them.come(COUNT)
                refused: list[bytes] = []
                async with asyncio.timeout(4 * PATIENCE):
                    while len(refused) < COUNT - bound:
                        refused += [said for said in await all_of_them.heard() if said]
                assert len(refused) == COUNT - bound + 1  # one of them is `client`'s place
                assert all(said.startswith(b"HTTP/1.1 503") for said in refused)
                assert all(b"Retry-After: 1\r\n" in said and b"problem+json" in said for said in refused)
                # Who had come before is served, and so are the other listeners.
                assert (await client.users("known")).field("cache-status").startswith("handshake-proxy; hit")
                login = {"userId": "known", "businessId": "shop"}
                assert (await process.call("POST", "/v1/login", login)).status == 200
                assert await metric(process, "ready") == 1
                assert process.descriptors() <= files + bound + 20
            await process.closes_down_to(files + 20)
            assert (await process.users("known")).status == 200
