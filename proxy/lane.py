"""The fast lane: hits are answered in the turn of the event loop that reads them, before a task or a request is made.

It has two parts. The first asks aiohttp's own parser for the message, and answers it if it is plain and memory has what
it asks for. The second stands in front of the parser: a table of the exact bytes of requests that the first has
answered before. At a boundary between messages equal bytes are the equal request, so nothing has to be read in them.

Whatever is not answered here goes the slow way, unchanged; without this module (`lane: false`) all of it does, and only
slower. What keeps the two alike:

- A connection is answered here only while it is idle: nothing is due on it, its client has read what was written, and
  the listener does not drain.
- `Connection._owed` knows how much of the last message is still to come. Once that can't be told any more (a head in
  two pieces, two requests in one, chunks, an upgrade) the connection stays on the slow way.
- An answer stands while its entries do (proxy/ready.py), so that invalidation, expiry and eviction need not know of it.

One thing differs: that a client has shut down its side right behind its request is not seen yet when a hit is answered.
The answer does not say `Connection: close` then; the connection is closed all the same.

This module and proxy/server.py alone touch aiohttp's private names; tests/unit/test_lane_canary.py fails when one of
them changes.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from aiohttp import hdrs
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from proxy.core.budget import FREE, Budget
from proxy.lane_table import Table
from proxy.messages import Handler
from proxy.ready import Face, Ready
from proxy.server import Connection, Server, ServerLimits

# Bytes of a request's body that are looked into here; the reader of a larger one may have stopped the transport.
_MAX_BODY = 16 * 1024
# Bytes of an answer that are written here: what a transport takes without asking for a pause. Nobody waits here for a
# client who does not read.
_MAX_ANSWER = 64 * 1024
_BLANK_LINE = b"\r\n\r\n"
_UNKNOWN = -1
_NOTHING: tuple[tuple[()], bool, bytes] = ((), False, b"")

Parsed = tuple[Any, bool, bytes]
"""What aiohttp's parser gives: messages with their payloads, whether the protocol was switched, and what is left."""


class Lane:
    """The fast lane of one listener. `face` says what answers plain requests with a method and a target, and which
    entity the target names."""

    def __init__(
        self,
        face: Callable[[str, str], tuple[Face, str] | None],
        table: Table,
        buffered: Budget,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._face = face
        self._buffered = buffered
        self.table = table
        self.clock = clock

    def find(self, message: RawRequestMessage, data: bytes, head: int, now: float) -> Ready | None:
        """What answers the one message in `data`, of which so many bytes are its head, if it is plain and a hit."""
        if message.should_close or message.version != HttpVersion11 or len(data) - head > _MAX_BODY:
            return None
        method, target, body = asked = (message.method, message.path, data[head:])
        ready = self.table.get(asked)
        if ready is not None and not ready.is_current(now):
            self.table.drop(asked)
            ready = None
        found = self._face(method, target) if ready is None else (ready.face, "")
        if found is None:
            return None
        face, entity = found
        plainness = face.head.judge(message.raw_headers)
        if plainness == "other":
            return None
        if ready is None:
            ready = _put_together(face, entity, body, now)
            if ready is None:
                return None
            if len(ready.answer) > _MAX_ANSWER:
                return None
            self.table.add(asked, ready)
        if plainness == "plain":
            self.table.add_exact(asked, data)
        return ready

    def has_room(self, ready: Ready) -> bool:
        """Whether an answer may be held for its client; up to FREE bytes always may (proxy/core/budget.py)."""
        with self._buffered.share() as share:  # given back at once: the transport takes all of it
            return share.take(ready.length)


def _put_together(face: Face, entity: str, body: bytes, now: float) -> Ready | None:
    try:
        return face.ready(entity, body, now)
    except ValueError:  # a stored field does not fit into a head: how that is said is not for here
        return None


class LaneConnection(Connection):
    """A client connection that answers hits by itself."""

    __slots__ = ("_clock", "_exact", "_lane", "_owed")

    def __init__(self, server: "LaneServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._lane = server.lane
        self._exact = server.lane.table.exact
        self._clock = server.lane.clock
        self._owed = 0
        """Bytes of the last message that are still to come; below zero: nobody knows."""
        self._parser = cast("Any", _Watched(self._parser, self))

    def data_received(self, data: bytes) -> None:
        """Answer a request that is known by its bytes, or have it read."""
        ready = self._exact.get(data)
        if ready is not None and not self._owed and self._is_free():
            started = perf_counter()
            now = self._clock()
            if ready.is_current(now) and (ready.length <= FREE or self._lane.has_room(ready)):
                self._answer(ready, now, started)
                return
        super().data_received(data)

    def is_answered(self, message: RawRequestMessage, data: bytes, head: int) -> bool:
        """Answer the one message in `data`, if that can be done here; says whether it was."""
        if not self._is_free() or head > self._server.limits.header_bytes:
            return False
        started = perf_counter()
        now = self._clock()
        ready = self._lane.find(message, data, head, now)
        if ready is None or (ready.length > FREE and not self._lane.has_room(ready)):
            return False
        self._request_count += 1
        self._answer(ready, now, started)
        return True

    def _is_free(self) -> bool:
        """Whether an answer may be written now: none is due, the client has read the last, and may send another."""
        waiter, transport = self._waiter, self.transport
        return (
            waiter is not None
            and not waiter.done()
            and transport is not None
            and not transport.get_write_buffer_size()
            and not self._server.draining
        )

    def _answer(self, ready: Ready, now: float, started: float) -> None:
        cast("asyncio.Transport", self.transport).write(ready.answer)
        at = self._loop.time()
        self._next_keepalive_close_time = at + self._keepalive_timeout
        self._server.active_at = at
        ready.face.tally.count(ready.ids, now - ready.born, ready.bucket, perf_counter() - started)


class _Watched:
    """aiohttp's parser: what it gives is looked at first, and a message that is answered here is taken out of it."""

    __slots__ = ("_connection", "_parser")

    def __init__(self, parser: Any, connection: LaneConnection) -> None:
        self._parser = parser
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Parsed:
        """Parse; an answered message counts as consumed, or the parser would stop after so many."""
        connection = self._connection
        owed, connection._owed = connection._owed, _UNKNOWN  # noqa: SLF001 - they are one thing, in two objects
        parsed: Parsed = self._parser.feed_data(data)
        messages, is_upgraded, _ = parsed
        if owed == _UNKNOWN or is_upgraded:
            return parsed
        if not messages:
            # The start of a head alone: nobody knows what it will come to.
            connection._owed = owed - len(data) if len(data) <= owed else _UNKNOWN  # noqa: SLF001
            return parsed
        if owed or len(messages) > 1 or data[0] in b"\r\n":  # the parser passes over what precedes a head
            return parsed
        message, payload = messages[0]
        head = data.find(_BLANK_LINE) + len(_BLANK_LINE)
        length = _length(message, payload)
        if length is None or head < len(_BLANK_LINE) or head + length < len(data):
            return parsed
        rest = head + length - len(data)
        connection._owed = rest  # noqa: SLF001
        if not rest and connection.is_answered(message, data, head):
            self._parser.message_consumed()
            return _NOTHING
        return parsed


def _length(message: RawRequestMessage, payload: Any) -> int | None:
    """Bytes of a message's body, if it says so."""
    if payload is EMPTY_PAYLOAD:
        return 0
    length = message.headers.get(hdrs.CONTENT_LENGTH)
    return None if length is None or message.chunked else int(length)


class LaneServer(Server):
    """A listener with a fast lane."""

    connection_class = LaneConnection

    def __init__(
        self,
        handler: Handler,
        limits: ServerLimits,
        *,
        on_error: Callable[[int, BaseException | None], None],
        lane: Lane,
    ) -> None:
        super().__init__(handler, limits, on_error=on_error)
        self.lane = lane
