"""Two instances are restarted in turn under constant load: not one request fails, and none is tried again."""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.busy import LOST, Upstream, Work
from tests.e2e.process import PATIENCE, Process, serving
from tests.integration.harness import Client

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]
RESTARTS = 4
"""Of the two together."""
WORKERS = 8
POLL = 0.02
"""Seconds between two looks at the probes at the most, while Kubernetes takes its time with each."""


class Instance:
    """One of the two: each run is another process at other addresses, as a pod's are, with the same volume."""

    def __init__(self, upstream: Upstream, directory: Path) -> None:
        self._upstream = upstream
        self._directory = directory
        self._stack = AsyncExitStack()
        self.process: Process | None = None

    async def start(self) -> None:
        self.process = await self._stack.enter_async_context(serving(self._upstream.url, self._directory))

    async def stop(self) -> int:
        assert self.process is not None
        code = await self.process.terminate()
        await self._stack.aclose()
        self.process = None
        return code

    async def is_ready(self) -> bool:
        process = self.process
        if process is None:
            return False
        try:
            async with process.client("ops") as ops:
                return (await ops.get("/readyz")).status == 200
        except LOST:
            return False


@dataclass
class Service:
    """What stands before them: whoever asks is sent to one that was ready when it was last looked at."""

    instances: list[Instance]
    work: Work
    ready: list[Process] = field(default_factory=list)
    served: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Answers by process."""
    _idle: dict[tuple[int, str], list[tuple[AsyncExitStack, Client]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    async def look(self) -> None:
        while True:
            found = [(one.process, await one.is_ready()) for one in self.instances]
            self.ready = [process for process, is_ready in found if process is not None and is_ready]
            try:
                async with asyncio.timeout(POLL):
                    await asyncio.Event().wait()
            except TimeoutError:
                continue

    async def until_both(self, served: int) -> None:
        """Return when both are ready and each has answered that often."""
        async with asyncio.timeout(30):
            while len(self.ready) < 2 or any(self.served[one.process.pid] < served for one in self.ready):
                await self.work.answers(1)

    async def worker(self, number: int, stop: asyncio.Event) -> None:
        """Half of the workers keep their connections for whoever comes next, oldest first, the others use each once."""
        listener = "handshake" if number % 4 == 0 else "upstreams.main"
        while not stop.is_set():
            process = self.work.chance.choice(self.ready)
            try:
                stack, client = await self._connection(process, listener)
                may_live = await self.work.ask(client, handshake=listener == "handshake")
            except LOST as error:
                self.work.failures.append(f"{listener}: {error!r}")
                return
            self.served[process.process.pid] += 1
            if may_live and number % 2:
                self._idle[process.process.pid, listener].append((stack, client))
            else:
                await stack.aclose()

    async def close(self) -> None:
        """Close what nobody has come to use again."""
        for idle in self._idle.values():
            for stack, _ in idle:
                await stack.aclose()

    async def _connection(self, process: Process, listener: str) -> tuple[AsyncExitStack, Client]:
        idle = self._idle[process.process.pid, listener]
        while idle:
            stack, client = idle.pop(0)
            if not client.reader.at_eof():  # as every pool looks before it uses one again
                return stack, client
            await stack.aclose()
        stack = AsyncExitStack()
        return stack, await stack.enter_async_context(process.client(listener))


async def test_a_rolling_restart_under_load_shows_no_failed_request(tmp_path: Path) -> None:
    work, stop = Work(seed=4), asyncio.Event()
    async with Upstream() as upstream:
        instances = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            instances.append(Instance(upstream, tmp_path / name))
            await instances[-1].start()
        service = Service(instances, work)
        looking = asyncio.create_task(service.look())
        async with asyncio.timeout(PATIENCE):
            while len(service.ready) < 2:
                await asyncio.sleep(0)
        workers = [asyncio.create_task(service.worker(number, stop)) for number in range(WORKERS)]
        for turn in range(RESTARTS):
            await service.until_both(served=50)
            assert await instances[turn % 2].stop() == 0
            await instances[turn % 2].start()
        await service.until_both(served=50)
        stop.set()
        await asyncio.gather(*workers)
        looking.cancel()
        await service.close()
        for instance in instances:
            assert await instance.stop() == 0
    assert work.failures == []
    assert work.told_to_close > 0
