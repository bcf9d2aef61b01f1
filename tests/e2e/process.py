"""A real process of the command, started and ended by the test."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.integration.harness import Reachable
from tests.integration.signed import send, webhooks

PATIENCE = 30.0


@dataclass
class Process(Reachable):
    """A running `handshake-proxy serve`."""

    process: asyncio.subprocess.Process
    addresses: dict[str, str]

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def descriptors(self) -> int:
        """Descriptors that it has open."""
        return int(psutil.Process(self.process.pid).num_fds())

    async def closes_down_to(self, descriptors: int) -> None:
        """Wait until it has no more than so many descriptors open: its ends of connections take a moment."""
        async with asyncio.timeout(4 * PATIENCE):
            while self.descriptors() > descriptors:
                await asyncio.sleep(0)

    async def kill(self) -> None:
        """Send SIGKILL: nothing in the process gets a chance to tidy up."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """Send SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def serving(url: str, directory: Path, **environment: str) -> AsyncIterator[Process]:
    """The command with the built-in configuration, before `url`, its database in `directory`."""
    settings = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": url,
        "HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_OPS__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
        **environment,
    }
    log = directory / "log"
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "proxy.cli",
            "serve",
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            ready = json.loads(await process.stdout.readline() or b"{}")
        assert ready.get("event") == "ready", log.read_text()
        yield Process(process, ready["addresses"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def taking_events(directory: Path, *, max_rate: int = 200) -> dict[str, str]:
    """Settings of one that takes events, whose file of secrets is in `directory`; `max_rate` a second."""
    section = webhooks(directory) | {"max_rate": str(max_rate)}
    return {f"HANDSHAKE_WEBHOOKS__{name.upper()}": value for name, value in section.items()}


async def tell(proxy: Reachable, body: bytes, *, seconds: float = 0.0, **how: Any) -> int:
    """Send an event that is signed so many seconds from now, on a connection of its own; the status of the answer."""
    async with proxy.client("webhooks") as client:
        return (await send(client, body, time.time() + seconds, **how)).status
