"""An event loop whose time stands still until it is moved, and connections on it without a network."""

import asyncio
import selectors
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

_MOST_TURNS = 20_000
"""Turns of the loop after which it is taken to go in circles."""
_HIGH_WATER = 64 * 1024
"""Bytes that a transport takes before it asks its writer to pause, as those of asyncio and uvloop do."""


class _Idle(selectors.BaseSelector):
    """Waits for nothing: where the loop would, it is stopped instead."""

    def __init__(self) -> None:
        self.stop: Callable[[], None] = lambda: None
        self.turns = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Nothing is ever ready."""
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """The same."""
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Nothing is registered."""
        return {}

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Nothing is registered."""
        raise KeyError(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Called in each turn; with a timeout that is not 0 when there is nothing left to do."""
        self.turns += 1
        if self.turns > _MOST_TURNS:
            raise RuntimeError("the loop does not come to rest")
        if timeout is None or timeout > 0:
            self.stop()
        return []


class HandLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, in seconds from 0, that `tick` moves."""

    def __init__(self) -> None:
        self._idle = _Idle()
        self._now = 0.0
        self.failures: list[str] = []
        """What no caller could be told of."""
        self.wire = socket.socketpair()
        """For who asks the kernel about a connection: it is there, and has nothing unread."""
        super().__init__(self._idle)
        self._idle.stop = self.stop
        self.set_exception_handler(lambda _, context: self.failures.append(repr(context)))

    def close(self) -> None:
        """Close the loop, and what goes for a connection."""
        super().close()
        for end in self.wire:
            end.close()

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def rest(self, work: Callable[[], object] | None = None) -> None:
        """Do `work` in the loop, and all that is to be done after it, until everybody waits. Raises what `work` does,
        and RuntimeError if that has no end."""
        failed: list[BaseException] = []

        def begin() -> None:
            try:
                if work is not None:
                    work()
            except BaseException as error:  # noqa: BLE001 - raised again outside of the loop
                failed.append(error)

        self._idle.turns = 0
        self.call_soon(begin)
        self.run_forever()
        if failed:
            raise failed[0]

    def tick(self, seconds: float) -> None:
        """Let time pass, from timer to timer."""
        end = self._now + seconds
        while (due := self._next_timer()) is not None and due <= end:
            self._now = max(self._now, due)
            self.rest()
        self._now = end
        self.rest()

    def _next_timer(self) -> float | None:
        """When the next timer is due that nobody has cancelled."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return min((timer.when() for timer in scheduled if not timer.cancelled()), default=None)


class Served(Protocol):
    """What a transport serves: the methods of asyncio.Protocol that it calls."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def data_received(self, data: bytes, /) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Pipe(asyncio.Transport):
    """One connection: a transport whose peer is played. It behaves as asyncio's own over a socket does."""

    def __init__(self, loop: HandLoop, protocol: Served) -> None:
        super().__init__()
        self.written = bytearray()
        """What the protocol has written, read by the peer or not."""
        self.fate = "open"
        """Or closing, aborted, and what ends as such: closed, cut; or left, by the peer."""
        self.is_stalled = False
        """Whether the peer reads nothing."""
        self.is_read = True
        """Whether the protocol wants to be told of what the peer sends."""
        self._loop = loop
        self.protocol = protocol
        self._unread = 0
        self._is_paused = False
        self._coming: deque[bytes] = deque()
        self._is_ended = False
        protocol.connection_made(self)

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen on it any more."""
        return self.fate in {"closed", "cut", "left"}

    # The peer's side:

    def send(self, data: bytes) -> None:
        """The peer sends this, in one piece if it is read now; else with whatever comes until then."""
        self._coming.append(data)
        self._deliver()

    def end(self) -> None:
        """The peer sends no more."""
        self._is_ended = True
        self._deliver()

    def leave(self) -> None:
        """The peer is gone, and has read nothing more."""
        if self.fate in {"open", "closing", "aborted"}:
            self.fate = "left"
            self.protocol.connection_lost(None)

    def stall(self) -> None:
        """The peer reads no more."""
        self.is_stalled = True

    def read(self) -> None:
        """The peer reads again, and all there is."""
        self.is_stalled = False
        self._unread = 0
        if self._is_paused:
            self._is_paused = False
            self.protocol.resume_writing()
        if self.fate == "closing":
            self._loop.call_soon(self._lose)

    def _deliver(self) -> None:
        if self._is_deaf():
            return
        if self._coming:
            data = b"".join(self._coming)
            self._coming.clear()
            self.protocol.data_received(data)
        # Of a socket the end is read apart from what is before it.
        if self._is_ended and not self._is_deaf():
            self._is_ended = False
            self._loop.call_soon(self._tell_end)

    def _is_deaf(self) -> bool:
        """Whether the protocol is told nothing now."""
        return not self.is_read or self.fate != "open"

    def _tell_end(self) -> None:
        if self.fate == "open" and not self.protocol.eof_received():
            self.close()

    # The protocol's side:

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket, and addresses of nobody."""
        known = {"socket": self._loop.wire[0], "sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 9)}
        return known.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take what is written, unless the connection is gone."""
        if self.fate not in {"open", "closing"} or (self.fate == "closing" and not self._unread):
            return
        self.written += data
        if self.is_stalled:
            self._unread += len(data)
            if self._unread > _HIGH_WATER and not self._is_paused:
                self._is_paused = True
                self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not read."""
        return self._unread

    def is_closing(self) -> bool:
        """Whether it is, or has done so."""
        return self.fate != "open"

    def pause_reading(self) -> None:
        """Deliver no more."""
        self.is_read = False

    def resume_reading(self) -> None:
        """Deliver again, in a turn of the loop."""
        self.is_read = True
        self._loop.call_soon(self._deliver)

    def close(self) -> None:
        """Close, when the peer has read all."""
        if self.fate == "open":
            self.fate = "closing"
            if not self._unread:
                self._loop.call_soon(self._lose)

    def abort(self) -> None:
        """Close at once."""
        if self.fate in {"open", "closing"}:
            self.fate = "aborted"
            self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        if self.fate in {"closing", "aborted"}:
            self.fate = "closed" if self.fate == "closing" else "cut"
            self.protocol.connection_lost(None)
