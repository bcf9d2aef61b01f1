"""What an owner has told is what the very next request sees: on the lane, from memory, and from the database."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.in_process import Wall
from tests.fleet.replicas import RESOURCES, Owner, item, owner, version
from tests.integration.harness import Client, Proxy, Response, running
from tests.integration.signed import event, send, tell, webhooks

USER = RESOURCES["user"] | {"source_version": "/version"}
CLIENTS = 8
EVENTS = 60


@asynccontextmanager
async def told(source: Owner, directory: Path, *, user: Any, **sections: Any) -> AsyncIterator[Proxy]:
    """A proxy that takes events."""
    sections |= {"resources": {"user": USER | user}, "webhooks": webhooks(directory)}
    async with running(source.url, directory, **sections) as proxy:
        yield proxy


def shown(answer: Response) -> tuple[int, str]:
    """The version of the one user in an answer, and where it came from."""
    assert answer.status == 200, answer.body
    (one,) = answer.json()["users"]
    return version(json.dumps(one).encode()), answer.field("cache-status")


@pytest.mark.parametrize("storage", ["database", "memory"])
async def test_the_very_next_request_sees_what_an_event_has_brought(storage: str, tmp_path: Path) -> None:
    async with (
        owner("u") as source,
        told(source, tmp_path, user={"storage": storage}) as proxy,
        proxy.client() as client,
    ):
        for _ in range(3):
            assert shown(await client.users("u"))[0] == 1
        for number in range(2, 6):
            source.change("u")
            assert await tell(proxy, event("u", number, item("u", number))) == 204
            assert shown(await client.users("u")) == (number, "handshake-proxy; hit; ttl=86400")
        got = await client.get("/users/u")
        assert (got.body, got.field("etag")) == (item("u", 5).replace(b", ", b","), "")
    assert source.fetched["u"] == 1


async def test_what_an_event_has_brought_is_in_the_database(tmp_path: Path) -> None:
    async with owner("u") as source:
        async with told(source, tmp_path, user={}) as proxy:
            await proxy.users("u")
            await proxy.durable()
            assert await tell(proxy, event("u", 2, b'{"name":"New","version":2}'), message="msg_0") == 204
            # As if it were killed now: what is not in the database is lost.
            await proxy.app._storage.tiers.close()
        async with told(source, tmp_path, user={}) as proxy:
            assert shown(await proxy.users("u")) == (2, "handshake-proxy; hit; ttl=86400")
            # What was delivered to the one that is gone was delivered.
            assert await tell(proxy, event("u", 9), message="msg_0") == 200
            assert shown(await proxy.users("u"))[0] == 2
        assert source.fetched["u"] == 1


@dataclass
class Watch:
    """Clients that ask all the time, and what they must not see."""

    acknowledged: int = 1
    """The version that the proxy has said that it knows."""
    answered: int = 0
    is_over: bool = False
    late: list[str] = field(default_factory=list)

    async def ask(self, client: Client, *, by_get: bool) -> None:
        while not self.is_over:
            least = self.acknowledged
            if by_get:
                answer = await client.get("/users/u")
                seen, source = version(answer.body), answer.field("cache-status")
            else:
                seen, source = shown(await client.users("u"))
            self.answered += 1
            if seen < least:
                self.late.append(f"{seen} after {least}: {source}")


@pytest.mark.parametrize("storage", ["database", "memory"])
@pytest.mark.parametrize("way", ["merged", "refetched"])
async def test_no_request_that_begins_after_the_acknowledgement_sees_what_was_before(
    storage: str, way: str, tmp_path: Path
) -> None:
    watch = Watch()
    async with (
        owner("u", latency=0.001) as source,
        told(source, tmp_path, user={"storage": storage}, clock=Wall(), monotonic=time.monotonic) as proxy,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        await proxy.users("u")
        sender = await stack.enter_async_context(proxy.client("webhooks"))
        for number in range(CLIENTS):
            client = await stack.enter_async_context(proxy.client())
            tasks.create_task(watch.ask(client, by_get=bool(number % 2)))
        began = time.monotonic()
        for _ in range(EVENTS):
            before = watch.answered
            number = source.change("u")
            data = item("u", number) if way == "merged" else None
            answer = await send(sender, event("u", number, data), time.time())
            assert answer.status == 204
            watch.acknowledged = number
            while watch.answered < before + 2 * CLIENTS:
                await asyncio.sleep(0)
        took = time.monotonic() - began
        watch.is_over = True
    print(f"{watch.answered / took:.0f} requests a second, {EVENTS / took:.0f} events a second")  # noqa: T201
    assert not watch.late, watch.late[:5]
    assert watch.answered >= 2 * CLIENTS * EVENTS
    if way == "merged":
        assert source.fetched["u"] == 1
