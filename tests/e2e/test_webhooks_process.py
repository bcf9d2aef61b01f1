"""Events at a real process: what it has acknowledged outlives it, and a restart lets in nothing that was refused."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from proxy.signatures import TOLERANCE
from tests.e2e.process import Process, serving, taking_events, tell
from tests.fleet.replicas import RESOURCES, Owner, item, owner, shown
from tests.integration.signed import SECRET, event, send
from tests.integration.test_event_freshness import Watch
from tests.integration.test_webhooks import secret

pytestmark = pytest.mark.e2e

NEW = secret(b"n")
SETTINGS = {"HANDSHAKE_RESOURCES": json.dumps({"user": RESOURCES["user"] | {"source_version": "/version"}})}
CLIENTS = 8
EVENTS = 100
BETWEEN = 20
"""Answers between two events, at the least."""


@asynccontextmanager
async def told(source: Owner, directory: Path, *, max_rate: int = 200) -> AsyncIterator[Process]:
    """A process that takes events, over the database of the directory."""
    settings = SETTINGS | taking_events(directory, max_rate=max_rate)
    async with serving(source.url, directory, **settings) as proxy:
        yield proxy


async def shows(proxy: Process) -> int:
    """The version of the one user that it shows."""
    async with proxy.client() as client:
        return await shown(client, "u")


async def test_data_that_was_acknowledged_is_there_after_a_kill_at_once(tmp_path: Path) -> None:
    async with owner("u") as source:
        for number in range(2, 4):
            async with told(source, tmp_path) as proxy:
                assert await shows(proxy) == number - 1
                assert await tell(proxy, event("u", number, item("u", number)), message=f"m{number}") == 204
                await proxy.kill()
        async with told(source, tmp_path) as proxy, proxy.client() as client:
            answer = await client.get("/users/u")
            assert answer.body == item("u", 3).replace(b", ", b",")
            # The owner does not know of any of it: had it been asked, this would be its version 1.
            assert source.fetched["u"] == 1
            for number in range(2, 4):
                assert await tell(proxy, event("u", 9), message=f"m{number}") == 200
            assert await shows(proxy) == 3


@pytest.mark.parametrize("kind", ["updated", "deleted"])
async def test_what_was_outdated_is_so_after_a_kill_at_once(kind: str, tmp_path: Path) -> None:
    async with owner("u") as source:
        async with told(source, tmp_path) as proxy:
            assert await shows(proxy) == 1
            assert await tell(proxy, event("u", 2, kind=f"user.{kind}")) == 204
            await proxy.kill()
        if kind == "updated":
            source.change("u")
        else:
            del source.users["u"]
        async with told(source, tmp_path) as proxy, proxy.client() as client:
            answer = await client.get("/users/u")
            if kind == "updated":
                assert answer.json()["version"] == 2
            else:
                assert answer.status == 404


def mount(directory: Path, *secrets: str) -> Path:
    """Replace the file as Kubernetes does: it is a link to one below `..data`, another link, which is renamed over."""
    version = directory / f"..{time.time_ns()}"
    version.mkdir()
    (version / "webhook-secrets").write_text("".join(f"{one}\n" for one in secrets))
    data, file = directory / "..data", directory / "webhook-secrets"
    renamed = directory / "..data_tmp"
    renamed.symlink_to(version.name)
    renamed.rename(data)
    if not file.is_symlink():
        file.unlink(missing_ok=True)
        file.symlink_to("..data/webhook-secrets")
    return file


async def test_a_secret_that_is_rotated_away_counts_no_longer_with_the_next_message(tmp_path: Path) -> None:
    async with (
        owner("u") as source,
        told(source, tmp_path) as proxy,
        proxy.client() as client,
        proxy.client("webhooks") as sender,
    ):
        assert await shown(client, "u") == 1

        async def says(number: int, signed_with: str) -> tuple[int, int]:
            """The status of an event, and what is shown after it."""
            body = event("u", number, item("u", number))
            status = (await send(sender, body, time.time(), secret=signed_with)).status
            return status, await shown(client, "u")

        for held, signed_with, status in (
            ((SECRET,), SECRET, 204),
            ((SECRET,), NEW, 401),
            ((SECRET, NEW), SECRET, 204),
            ((SECRET, NEW), NEW, 204),
            ((NEW,), SECRET, 401),
            ((NEW,), NEW, 204),
            ((), NEW, 401),
            ((SECRET,), NEW, 401),
            ((SECRET,), SECRET, 204),
        ):
            before = await shown(client, "u")
            await asyncio.to_thread(mount, tmp_path, *held)
            now_shown = before + 1 if status == 204 else before
            assert await says(before + 1, signed_with) == (status, now_shown)
        assert source.fetched["u"] == 1


async def test_what_is_too_old_and_what_was_delivered_are_refused_after_a_restart_too(tmp_path: Path) -> None:
    body, late = event("u", 2, item("u", 2)), -TOLERANCE - 1
    async with owner("u") as source:
        async with told(source, tmp_path) as proxy:
            assert await shows(proxy) == 1
            assert await tell(proxy, body, seconds=late, message="msg_late") == 401
            assert await tell(proxy, body, message="msg_once") == 204
            assert await proxy.terminate() == 0
        async with told(source, tmp_path) as proxy:
            newer = event("u", 3, item("u", 3))
            assert await tell(proxy, newer, seconds=late, message="msg_late") == 401
            assert await tell(proxy, newer, seconds=-late + 5, message="msg_early") == 401
            # Signed in the past, as whoever has recorded it sends it.
            assert await tell(proxy, body, seconds=late / 2, message="msg_once") == 200
            assert await tell(proxy, newer, message="msg_once") == 200
            assert await shows(proxy) == 2
            assert await tell(proxy, newer, message="msg_late") == 204
            assert await shows(proxy) == 3
        assert source.fetched["u"] == 1


@pytest.mark.slow
async def test_under_load_no_request_that_begins_after_the_acknowledgement_sees_what_was_before(
    tmp_path: Path,
) -> None:
    watch = Watch()
    async with (
        owner("u") as source,
        told(source, tmp_path, max_rate=10_000) as proxy,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        assert await shows(proxy) == 1
        sender = await stack.enter_async_context(proxy.client("webhooks"))
        for number in range(CLIENTS):
            client = await stack.enter_async_context(proxy.client())
            tasks.create_task(watch.ask(client, by_get=bool(number % 2)))
        began = time.monotonic()
        for _ in range(EVENTS):
            number = source.change("u")
            answer = await send(sender, event("u", number), time.time())
            assert answer.status == 204
            watch.acknowledged = number
            wanted = watch.answered + BETWEEN
            while watch.answered < wanted:
                await asyncio.sleep(0)
        took = time.monotonic() - began
        watch.is_over = True
    print(f"{watch.answered / took:.0f} requests a second, {EVENTS / took:.0f} events a second")  # noqa: T201
    assert not watch.late, watch.late[:5]
    assert watch.answered >= BETWEEN * EVENTS
    assert source.fetched["u"] >= EVENTS
