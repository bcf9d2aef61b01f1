"""Whether a client that sends no more is still there to read its answer.

A client that has shut down its sending side and one that has gone look the same: both have sent their FIN. The first
has a right to its answer, the second ties up an upstream for nothing. What tells them apart is how the client's kernel
takes further bytes, for it resets a connection that nobody has any more. So an interim response asks it, which every
HTTP/1.1 client has to read over (RFC 9110 section 15.2): 102, "not completed yet" (RFC 2518 section 10.1). A client of
HTTP/1.0 knows none, and is taken at its word.
"""

import asyncio
import socket
from collections.abc import Callable

from proxy.messages import Request

_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
# Seconds until a reset is looked for: soon, as most of those who leave are near; then less and less often.
_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0


class Presence:
    """Watches one connection whose client has sent its FIN, until `stop`; aborts it once nobody is there any more.

    `current` gives the request that is being handled, if one is.
    """

    __slots__ = ("_current", "_is_asked", "_loop", "_timer", "_transport", "_wait")

    def __init__(self, transport: asyncio.Transport, current: Callable[[], Request | None]) -> None:
        self._transport = transport
        self._current = current
        self._loop = asyncio.get_running_loop()
        self._is_asked = False
        self._wait = _FIRST_LOOK
        # In a while: the request that has come with the FIN has yet to begin.
        self._timer = self._loop.call_later(self._wait, self._look)

    def stop(self) -> None:
        """Look no further. Idempotent."""
        self._timer.cancel()

    def _look(self) -> None:
        request = self._current()
        if not self._is_asked and request is not None and not request.writer.output_size:
            self._is_asked = True
            if request.version >= (1, 1):
                self._transport.write(_PROCESSING)
        if _is_reset(self._transport):
            self._transport.abort()
            return
        self._wait = min(2 * self._wait, _LAST_LOOK)
        self._timer = self._loop.call_later(self._wait, self._look)


def _is_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has refused what was written. The event loop does not read any more, and so does not know."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return True
    return bool(connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
