"""The fast lane: hits are answered in the turn of the event loop that reads them, before a task or a request is made.

A request is known by its bytes, when the same bytes were answered before, or with the fields taken out that differ each
time; or it is read by an expression that takes only what can be read in one way; or out of aiohttp's own parser. At a
boundary between messages equal bytes are the equal request, so nothing has to be read in them.

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
from typing import Any, cast

from aiohttp import hdrs
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from proxy.core.budget import FREE, Budget
from proxy.core.http.plain import PlainRequest, read
from proxy.core.http.varying import Varying
from proxy.lane_table import Table, asked_by
from proxy.messages import Handler
from proxy.ready import Face, Ready
from proxy.server import Connection, Server, ServerLimits
from proxy.steady import SteadyClock

# Bytes of a request that is looked into here: of a larger one the parser may have stopped the transport, and to hash
# what is no request would make uploads dearer.
_MAX_READ = 16 * 1024
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
    entity the target names; what begins with none of `starts` is no such request, and is not looked into."""

    def __init__(
        self,
        face: Callable[[bytes, bytes], tuple[Face, str] | None],
        table: Table,
        varying: Varying,
        buffered: Budget,
        *,
        clock: SteadyClock,
        starts: tuple[bytes, ...],
    ) -> None:
        self._face = face
        self._buffered = buffered
        self._varying = varying
        self.table = table
        self.clock = clock
        self.starts = starts

    def known(self, data: bytes) -> Ready | None:
        """What answers a request that is known by its bytes but for the fields that differ each time."""
        return None if self._varying.is_empty else self.table.exact.get(self._varying.without(data))

    def find(self, request: PlainRequest, data: bytes, now: float) -> Ready | None:
        """What answers a request, which stands in `data` and nothing else does, if it is plain and a hit."""
        asked = asked_by(request.method, request.target, request.body)
        ready = self.table.get(asked)
        if ready is not None and not ready.is_current(now):
            self.table.drop(asked)
            ready = None
        found = self._face(request.method, request.target) if ready is None else (ready.face, "")
        if found is None:
            return None
        face, entity = found
        plainness = face.head.judge(request.fields)
        if plainness == "other":
            return None
        if ready is None:
            ready = _put_together(face, entity, request.body, now)
            if ready is None or len(ready.answer) > _MAX_ANSWER:
                return None
            self.table.add(asked, ready)
        if plainness == "plain":
            self.table.add_exact(asked, self._varying.without(data))
            self._varying.learn(request.fields)
        return ready if self.has_room(ready) else None

    def has_room(self, ready: Ready) -> bool:
        """Whether an answer may be held for its client; up to FREE bytes always may (proxy/core/budget.py)."""
        if ready.length <= FREE:
            return True
        with self._buffered.share() as share:  # given back at once: the transport takes all of it
            return share.take(ready.length)


def _put_together(face: Face, entity: str, body: bytes, now: float) -> Ready | None:
    try:
        return face.ready(entity, body, now)
    except ValueError:  # a stored field does not fit into a head: how that is said is not for here
        return None


class LaneConnection(Connection):
    """A client connection that answers hits by itself."""

    __slots__ = ("_clock", "_exact", "_is_tried", "_lane", "_max_read", "_monotonic", "_owed")

    def __init__(self, server: "LaneServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._lane = server.lane
        self._exact = server.lane.table.exact
        self._clock = server.lane.clock
        self._monotonic = server.lane.clock.monotonic
        self._max_read = min(_MAX_READ, server.limits.header_bytes)
        self._owed = 0
        """Bytes of the last message that are still to come; below zero: nobody knows."""
        self._is_tried = False
        """Whether what the parser is fed was looked into already, and has no answer here."""
        self._parser = cast("Any", _Watched(self._parser, self))

    def data_received(self, data: bytes) -> None:
        """Answer a request that is known by its bytes, or read in one way only, or have the parser read it."""
        waiter: asyncio.Future[None] | None = self._waiter
        transport: Any = self.transport  # there while anybody waits
        # What `_is_free`, `_answer` and `Tally.count` say stands here once more: a call would be a twentieth of a hit.
        if (
            self._owed
            or waiter is None
            or waiter.done()
            or len(data) > self._max_read
            or transport.get_write_buffer_size()
            or self._server.draining
        ):
            super().data_received(data)
            return
        started = self._monotonic()
        # A look at one clock: at the other was looked when the head was written, and that is good for a second at most.
        now = started + self._clock.offset
        ready = self._exact.get(data) or self._lane.known(data)
        if (
            ready is None
            or now >= ready.until
            or ready.slot.entry is not ready.entry
            or (ready.is_heavy and not (ready.stands() and self._lane.has_room(ready)))
        ):
            now = self._clock()
            ready = self._read(data, now)
        if ready is not None:
            transport.write(ready.answer)
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            tally = ready.tally
            tally.ids += ready.ids
            tally.age += now - ready.born
            tally.ages[ready.bucket] += 1
            took = self._monotonic() - started
            tally.seconds += took
            tally.took[0 if took <= tally.least else tally.duration_bucket(took)] += 1
            return
        super().data_received(data)
        self._is_tried = False

    def is_answered(self, message: RawRequestMessage, data: bytes, head: int) -> bool:
        """Answer the one message in `data`, of which so many bytes are its head; says whether that could be done."""
        if self._is_tried or len(data) > self._max_read or not self._is_free():
            return False
        if message.should_close or message.version != HttpVersion11:
            return False
        started = self._monotonic()
        now = self._clock()
        target = message.path.encode("utf-8", "surrogateescape")
        request = PlainRequest(message.method.encode(), target, message.raw_headers, data[head:])
        ready = self._lane.find(request, data, now)
        if ready is None:
            return False
        self._request_count += 1
        self._answer(ready, now, started)
        return True

    def _is_free(self) -> bool:
        """Whether an answer may be written now: none is due, the client has read the last, and may send another."""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and not cast("asyncio.Transport", self.transport).get_write_buffer_size()
            and not self._server.draining
        )

    def _read(self, data: bytes, now: float) -> Ready | None:
        if not data.startswith(self._lane.starts):
            self._is_tried = True
            return None
        request = read(data)
        self._is_tried = request is not None
        return None if request is None else self._lane.find(request, data, now)

    def _answer(self, ready: Ready, now: float, started: float) -> None:
        cast("asyncio.Transport", self.transport).write(ready.answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        ready.tally.count(ready.ids, now - ready.born, ready.bucket, self._monotonic() - started)


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
