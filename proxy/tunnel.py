"""A connection that has left HTTP: bytes in, bytes out, with back-pressure (RFC 9110 section 7.8)."""

import asyncio
from typing import Any, cast

from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

# What is buffered of one direction before its sender is no longer read: enough for a read of the event loop.
_BUFFER = 64 * 1024


class Tunnel:
    """The bytes of a connection that has left HTTP, in the place of aiohttp's WebSocket reader."""

    __slots__ = ("reader",)

    def __init__(self, reader: StreamReader) -> None:
        self.reader = reader

    @classmethod
    def on(cls, protocol: Any) -> "Tunnel":
        """Take over an aiohttp protocol, of either side."""
        tunnel = cls(StreamReader(protocol, _BUFFER, loop=asyncio.get_running_loop()))
        if isinstance(protocol, RequestHandler):
            protocol.set_parser(cast("Any", tunnel))
        else:
            protocol.set_parser(tunnel, tunnel.reader)
        return tunnel

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes have arrived. Called by aiohttp."""
        self.reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """The peer is gone. Called by aiohttp."""
        self.reader.feed_eof()
