"""A real process of the command, started and ended by the test."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.harness import Reachable

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
