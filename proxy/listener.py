"""The listening sockets of a server, and an end of them that resets nobody."""

import asyncio
import socket
from collections.abc import Callable

from proxy.kernel_queues import close_listener, hear_nobody_new

# Connections that the kernel makes ahead of us, for each socket.
_BACKLOG = 1024
# Bytes that are asked of the kernel to keep of a connection until they are read; it takes twice as much, its own
# overhead included. The event loop reads all of it at a time, before anybody can say that it is too much: left to
# itself the kernel would let it be 256 KiB for each connection. With half as much an upload takes thrice the CPU.
_RECEIVE = 64 * 1024
# Seconds for whoever was half-way when nobody new was heard any more: the other side of a busy machine.
_HALF_WAY = 0.05


class Listener:
    """Has `protocol_factory` serve what connects. A name with two addresses is two sockets."""

    __slots__ = ("_factory", "_listening")

    def __init__(self, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        self._factory = protocol_factory
        self._listening: asyncio.Server | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody who connects is heard."""
        return self._listening is not None

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Bind and accept; return the (first) bound address. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            self._factory, host, port, backlog=_BACKLOG, reuse_address=True
        )
        for bound in self._listening.sockets:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)  # its connections inherit it
        name = self._listening.sockets[0].getsockname()
        return name[0], name[1]

    async def stop(self) -> None:
        """Close, having taken what is connected. Idempotent; if it is cancelled, `close` is still to be called."""
        listening = self._listening
        if listening is None:
            return
        hear_nobody_new(listening)
        await asyncio.sleep(_HALF_WAY)
        self._listening = None
        waiting = close_listener(listening, _BACKLOG)
        try:
            while waiting:
                waiting[-1].setblocking(False)  # noqa: FBT003 - the socket's own way to say it
                await asyncio.get_running_loop().connect_accepted_socket(self._factory, waiting.pop())
        finally:
            for connected in waiting:
                connected.close()

    def close(self) -> None:
        """Close at once; who waits to be accepted is reset."""
        if self._listening is not None:
            self._listening.close()
