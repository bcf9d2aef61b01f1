"""The program under measurement: a real process of the command, on a core of its own where there are two."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A running `handshake-proxy serve`."""

    addresses: dict[str, str]
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of processor time so far, in user and kernel mode."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)

    async def metrics(self) -> str:
        """What /metrics says, head included."""
        address = self.addresses["ops"]
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        text = (await reader.read()).decode()
        writer.close()
        return text


def settings(url: str, directory: Path, **more: str) -> dict[str, str]:
    """The environment of a proxy before `url` that keeps its database in `directory`."""
    own = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": url,
        "HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_OPS__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
        "HANDSHAKE_STORE__MAX_BYTES": "2GiB",
        "HANDSHAKE_LOG__LEVEL": "warning",
    }
    return {**os.environ, **own, **more}


@asynccontextmanager
async def running(url: str, directory: Path, **more: str) -> AsyncIterator[Subject]:
    """The command before `url`; it is ended by its id. Raises TimeoutError if it does not start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.cli", "serve"),
        env=settings(url, directory, **more),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_TIMEOUT):
            ready = json.loads(await process.stdout.readline())
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            psutil.Process(process.pid).cpu_affinity(cores[-1:])
        yield Subject(ready["addresses"], psutil.Process(process.pid))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def keep_off_the_subjects_core() -> None:
    """Have this process, which makes the load, run on the other cores."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:-1])
