"""Many connections to a real process, as plain sockets: what they cost is the other side's."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.process import PATIENCE, Process
from tests.integration.harness import Reachable
from tests.needed import missing

_SPARE = 200
"""Descriptors that a test needs besides."""


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Let this process, and those it starts meanwhile, have so many descriptors and some to spare."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        missing(f"the hard limit of open files is {hard}: {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Connections that were opened and are not used. Ended by `leave`."""

    def __init__(self, process: Reachable, listener: str = "upstreams.main") -> None:
        host, _, port = process.addresses[listener].rpartition(":")
        self._address = (host, int(port))
        self.sockets: list[socket.socket] = []

    async def come(self, count: int) -> None:
        """Open so many more."""
        await asyncio.to_thread(self._come, count)

    def _come(self, count: int) -> None:
        for _ in range(count):
            each = socket.socket()
            self.sockets.append(each)
            # Some kernels would keep megabytes for one who reads nothing: what is not read is to be the other side's.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.settimeout(PATIENCE)
            each.connect(self._address)

    async def say(self, data: bytes) -> None:
        """Have each send this, as far as the kernel takes it."""
        for each in self.sockets:
            each.setblocking(False)
            try:
                each.send(data)
            except OSError:  # it is closed already
                continue
            await asyncio.sleep(0)

    async def heard(self) -> list[bytes]:
        """What each has been told, as far as one read gives it; nothing for those that hear nothing."""
        return await asyncio.to_thread(self._heard)

    def _heard(self) -> list[bytes]:
        said = []
        for each in self.sockets:
            each.setblocking(False)
            try:
                said.append(each.recv(4096))
            except OSError:
                said.append(b"")
        return said

    def leave(self) -> None:
        """Close all."""
        for each in self.sockets:
            each.close()
        self.sockets.clear()


@contextmanager
def crowd(process: Reachable, listener: str = "upstreams.main") -> Iterator[Crowd]:
    """A crowd that leaves at the end."""
    one = Crowd(process, listener)
    try:
        yield one
    finally:
        one.leave()


async def metric(process: Process, name: str, *labels: str) -> float:
    """The sum of the samples whose line has these labels."""
    async with process.client("ops") as client:
        text = (await client.get("/metrics")).body.decode()
    lines = [line for line in text.splitlines() if line.startswith(f"handshake_proxy_{name}")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels))
