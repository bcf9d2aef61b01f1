"""Whether a client that sends no more is still there to read its answer.

A client that has shut down its sending side and one that has gone look the same: both have sent their FIN. The first
has a right to its answer, the second ties up an upstream for nothing. What tells them apart is how the client's kernel
takes further bytes, for it resets a connection that nobody has any more. So an interim response asks it, which every
HTTP/1.1 client has to read over (RFC 9110 section 15.2). It is 100, which a client discards that did not ask for it
(section 15.2.1), and which those read over, too, that take any other for the answer, as Python's http.client does.

A client of HTTP/1.0 knows none, and so can't be asked. Those that there are (balancers, above all) shut down one side
only when they leave, so it counts as gone when its answer has not begun by the first look.

An answer that has begun can't be interrupted to ask. Its own bytes ask, as they come; one that brings none for a while
is given up.
"""

import asyncio
import socket
from collections.abc import Callable

from proxy.messages import Request

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Seconds until a reset is looked for: soon, as most of those who leave are near; then less and less often.
_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0
# Seconds for which an answer that has begun may bring no byte. A pause within an answer is seldom so long; and who
# leaves within a long poll, which has the longest, must not hold a connection to the upstream for much longer.
_STILL = 5.0


class Presence:
    """Watches one connection whose client has sent its FIN, until `stop`; aborts it once nobody is there any more.

    `current` gives the request that is being handled, if one is. Once `is_over`, nothing is due to the client any
    more, and the connection is closed.
    """

    __slots__ = (
        "_current",
        "_is_asked",
        "_is_over",
        "_loop",
        "_moved_at",
        "_timer",
        "_transport",
        "_wait",
        "_written",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        current: Callable[[], Request | None],
        is_over: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._current = current
        self._is_over = is_over
        self._loop = asyncio.get_running_loop()
        self._is_asked = False
        self._written = 0
        self._moved_at = self._loop.time()
        self._wait = _FIRST_LOOK
        # In a while: the request that has come with the FIN has yet to begin.
        self._timer = self._loop.call_later(self._wait, self._look)

    def stop(self) -> None:
        """Look no further. Idempotent."""
        self._timer.cancel()

    def _look(self) -> None:
        request = self._current()
        if not self._is_asked and request is not None and not request.writer.output_size:
            if request.version < (1, 1):
                self._transport.abort()
                return
            self._is_asked = True
            self._transport.write(_CONTINUE)
        if _is_reset(self._transport) or self._is_still(request):
            self._transport.abort()
            return
        if self._is_over():
            self._transport.close()
            return
        self._wait = min(2 * self._wait, _LAST_LOOK)
        self._timer = self._loop.call_later(self._wait, self._look)

    def _is_still(self, request: Request | None) -> bool:
        """Whether an answer has begun and brings nothing any more. Who is slow to read has a time of his own."""
        written = 0 if request is None else request.writer.output_size
        now = self._loop.time()
        if not written or written != self._written or self._transport.get_write_buffer_size():
            self._written, self._moved_at = written, now
        return now - self._moved_at >= _STILL


def _is_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has refused what was written. The event loop does not read any more, and so does not know."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return True
    return bool(connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
