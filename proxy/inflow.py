"""A response's body on its way in: read by who has caused the call as it comes, and put together to be kept.

What is kept is read at its origin's pace; what is not waits for its reader.
"""

import asyncio
from collections.abc import AsyncIterator

from proxy.core.budget import Share
from proxy.exchange import UpstreamError

# Of what is not kept so much waits for its reader before the origin has to.
_AHEAD = 64 * 1024


class Inflow:
    """One body, of at most `max_body` bytes if it is to be kept; what is held of it is taken from `share`."""

    def __init__(self, share: Share, max_body: int) -> None:
        self.is_kept = False
        """Whether all of it is put together."""
        self.is_whole = False
        self.has_reader = True
        self._share = share
        self._max_body = max_body
        self._data = bytearray()
        """What is kept of it, and what has not been read."""
        self._read_to = 0
        self._error: UpstreamError | None = None
        self._came, self._went = asyncio.Event(), asyncio.Event()

    def take(self, whole: bytes) -> bool:
        """All of it has come at once. False where there is no room to keep it."""
        if self.is_kept and not self._has_room(len(whole)):
            return False
        self._data += whole
        return True

    def makes_room(self, size: int) -> bool:
        """Take room for so many bytes more. False: there was none, and it is not kept any more."""
        if not self.is_kept or self._has_room(size):
            return True
        self.is_kept = False
        self._forget_read()
        return False

    async def feed(self, chunk: bytes) -> bool:
        """Some of it has come, for which there is room; waits for the reader if it is not kept. False: nobody is there
        for it."""
        self._data += chunk
        self._came.set()
        while not self.is_kept and len(self._data) > _AHEAD and self.has_reader:
            self._went.clear()
            await self._went.wait()
        return self.is_kept or self.has_reader

    def end(self) -> bytes:
        """That was all of it. What is kept."""
        self.is_whole = True
        self._came.set()
        return bytes(self._data) if self.is_kept else b""

    def fail(self, error: UpstreamError) -> None:
        """The rest does not come, unless it has. Idempotent."""
        if self._error is None:
            self._error = error
        self._came.set()

    def left(self) -> None:
        """The reader has gone. Idempotent."""
        self.has_reader = False
        self._went.set()
        self._came.set()

    def arrived(self) -> bytes | None:
        """The body, if all of it is here."""
        if not self.is_whole or self._read_to:
            return None
        return bytes(self._data)

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives, for one reader. Raises UpstreamError when it ends too early."""
        while True:
            if len(self._data) > self._read_to:
                chunk = bytes(self._data[self._read_to :])
                self._read_to = len(self._data)
                self._forget_read()
                yield chunk
            elif self.is_whole:
                return
            elif self._error is not None:
                raise self._error
            elif not self.has_reader:
                raise UpstreamError("disconnected")  # it has gone away itself
            else:
                self._came.clear()
                await self._came.wait()

    def _has_room(self, size: int) -> bool:
        return len(self._data) + size <= self._max_body and self._share.take(size)

    def _forget_read(self) -> None:
        if not self.is_kept:
            del self._data[: self._read_to]
            self._read_to = 0
            self._went.set()
