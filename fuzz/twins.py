"""Two listeners before equal worlds, one with a fast lane and one without: whatever is sent to both, nobody can tell
which is which.

One thing differs, and is left out: with a client's end right behind its request. The slow way has seen it by the time
that it writes its answer, and says `Connection: close` in that. Here an end comes when what was sent before has been
seen to.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, cast

import structlog

from fuzz.lane_world import CONFIG, World, counted
from fuzz.transports import HandLoop, Pipe, Served
from proxy.core.http.plain import PlainRequest
from proxy.lane import Lane, LaneServer
from proxy.metrics import Metrics
from proxy.ready import Ready
from proxy.server import Connection, Server, ServerLimits

IDLE_TIMEOUT, HEADER_TIMEOUT = 20.0, 8.0
LIMITS = ServerLimits(CONFIG.limits.header_bytes, HEADER_TIMEOUT, IDLE_TIMEOUT, connections=4)
_LONG = 3 * IDLE_TIMEOUT
"""Seconds after which no connection is open that nobody uses."""

Verb = Literal[
    "connect",
    "send",
    "end",
    "leave",
    "stall",
    "read",
    "tick",
    "invalidate",
    "renew",
    "drop",
    "sweep",
    "drain",
]


class Step(NamedTuple):
    """Something that happens, to both alike. `told` are the bytes to send, the seconds to let pass, or the id of the
    entity that it happens to. Bytes in a tuple arrive in one turn of the loop after the other, whoever is not ready."""

    verb: Verb
    told: Any = None


class Tally(NamedTuple):
    """By which way the fast one has answered how many requests."""

    exact: int
    """That it has known by their bytes."""
    masked: int
    """That it has known by their bytes without the fields that differ each time."""
    read: int
    """That it has read by itself."""
    parsed: int
    """That the parser has read before."""


class _Watch:
    """Stands before a lane, and sees by which way it comes to its last answer."""

    def __init__(self, lane: Lane) -> None:
        self._find, self._known = lane.find, lane.known
        self.way = "exact"
        lane.find = self.find  # type: ignore[method-assign]
        lane.known = self.known  # type: ignore[method-assign]

    def find(self, request: PlainRequest, data: bytes, now: float) -> Ready | None:
        """As the lane's."""
        ready = self._find(request, data, now)
        if ready is not None:
            self.way = "read"
        return ready

    def known(self, data: bytes) -> Ready | None:
        """As the lane's."""
        ready = self._known(data)
        if ready is not None:
            self.way = "masked"
        return ready


class Twin:
    """One of the two."""

    def __init__(self, loop: HandLoop, *, fast: bool) -> None:
        self.metrics = Metrics()
        self._loop = loop
        self.world = World(self.metrics, loop.time)
        self.errors: list[str] = []
        if fast:
            self.server: Server = LaneServer(
                self.world.handler, LIMITS, on_error=self._failed, lane=self.world.lane
            )
        else:
            self.server = Server(self.world.handler, LIMITS, on_error=self._failed)
        self.pipes: list[Pipe] = []
        self._draining: asyncio.Task[None] | None = None
        self._later: list[asyncio.Task[None]] = []
        self._watch = _Watch(self.world.lane)
        self.ways: Counter[str] = Counter()
        """How many answers of the lane were come to by which way."""

    def _failed(self, status: int, error: BaseException | None) -> None:
        self.errors.append(f"{status} {error!r}")

    def do(self, step: Step) -> None:
        """Have it happen; for the loop, but for `tick`."""
        pipe = self.pipes[-1] if self.pipes else None
        if step.verb == "connect":
            self.pipes.append(Pipe(self._loop, cast("Served", self.server())))
        elif step.verb == "invalidate":
            self._later.append(self._loop.create_task(self.world.invalidate(step.told)))
        elif step.verb == "renew":
            self.world.renew(step.told)
        elif step.verb == "drop":
            self.world.drop()
        elif step.verb == "sweep":
            self.world.lane.table.sweep()
        elif step.verb == "drain":
            if self._draining is None:
                self._draining = self._loop.create_task(self.server.drain(IDLE_TIMEOUT, linger=0.5))
        elif pipe is not None:
            self._to(pipe, step)

    def _to(self, pipe: Pipe, step: Step) -> None:
        if step.verb == "send":
            self._send(pipe, step.told if isinstance(step.told, tuple) else (step.told,))
        elif step.verb == "end":
            pipe.end()
        elif step.verb == "leave":
            pipe.leave()
        elif step.verb == "stall":
            pipe.stall()
        elif step.verb == "read":
            pipe.read()

    def _send(self, pipe: Pipe, pieces: tuple[bytes, ...]) -> None:
        connection = cast("Connection", pipe.protocol)
        hits, parsed = self._hits(), connection._request_count  # noqa: SLF001 - who has answered shows here alone
        self._watch.way = "exact"
        pipe.send(pieces[0])
        if self._hits() > hits:
            is_parsed = connection._request_count > parsed  # noqa: SLF001
            self.ways["parsed" if is_parsed else self._watch.way] += 1
        if pieces[1:]:
            self._loop.call_soon(self._send, pipe, pieces[1:])

    def _hits(self) -> int:
        return sum(tally.requests for tally in self.metrics._tallies.values())  # noqa: SLF001

    def shown(self) -> dict[str, object]:
        """All that others can see of it since it was last looked at."""
        return {
            "connections": [
                (bytes(pipe.written), pipe.fate, pipe.is_read, self._is_idle(pipe)) for pipe in self.pipes
            ],
            "upstream": list(self.world.upstream.seen),
            "errors": [*self.errors, *self.world.failures],
            "open": self.server._open,  # noqa: SLF001
            # While somebody is connected nobody asks, and hits are not written down.
            "active": None if self.server._open else self.server.active_at,  # noqa: SLF001
            "buffered": self.world.buffered.used,
        }

    def forget(self) -> None:
        """What was shown up to now is not shown again."""
        self.pipes = [pipe for pipe in self.pipes if pipe is self.pipes[-1] or not pipe.is_over]
        for pipe in self.pipes:
            pipe.written.clear()
        for seen in (self.world.upstream.seen, self.errors, self.world.failures):
            seen.clear()

    @staticmethod
    def _is_idle(pipe: Pipe) -> bool:
        return pipe.fate == "open" and cast("Connection", pipe.protocol).is_idle

    def end(self) -> None:
        """Cut what is left."""
        for pipe in self.pipes:
            pipe.abort()
        self._later.append(self._loop.create_task(self.world.supervisor.close()))


class Twins:
    """Both, on one loop. `play` compares them after each step. Raises AssertionError where they differ."""

    def __init__(self) -> None:
        self.loop = HandLoop()
        made: list[Twin] = []
        self.loop.rest(lambda: made.extend(Twin(self.loop, fast=fast) for fast in (False, True)))
        self.slow, self.fast = made

    def play(self, steps: Iterable[Step]) -> Tally:
        """Have all of it happen, then all connections end."""
        known = structlog.get_config()
        # Each request that fails would be a line.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            self._do(Step("connect"))
            for number, step in enumerate(steps):
                self._do(step, number)
            self._do(Step("read"))
            self._do(Step("tick", _LONG))
            return self._tallied()
        finally:
            self._end()
            structlog.configure(**known)
            assert not self.loop.failures, self.loop.failures

    def _do(self, step: Step, number: int | None = None) -> None:
        if step.verb == "tick":
            self.loop.tick(step.told)
        else:
            for twin in (self.slow, self.fast):
                self.loop.rest(self._doing(twin, step))
        fast, slow = self.fast.shown(), self.slow.shown()
        assert fast == slow, f"after {step}, which is number {number}"
        self.fast.forget()
        self.slow.forget()

    @staticmethod
    def _doing(twin: Twin, step: Step) -> Callable[[], None]:
        return lambda: twin.do(step)

    def _tallied(self) -> Tally:
        assert counted(self.fast.metrics) == counted(self.slow.metrics)
        return Tally(*(self.fast.ways[way] for way in Tally._fields))

    def _end(self) -> None:
        for twin in (self.slow, self.fast):
            self.loop.rest(twin.end)
        self.loop.failures += [f"{task!r} is left" for task in asyncio.all_tasks(self.loop)]
        self.loop.close()
