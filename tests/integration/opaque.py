"""An HTTP origin that answers as the test says, and the proxy before it with one opaque resource that is all of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from tests.integration import harness
from tests.integration.harness import Clock, Proxy, Response, ScriptedUpstream, Seen

_BODILESS = frozenset({204, 304})


@dataclass(frozen=True)
class Answer:
    """One answer of the origin."""

    fields: tuple[str, ...] = ()
    status: str = "200 OK"
    body: bytes | None = None
    """None: the number of the request, counted from 1, so that each body says which answer it came with."""
    interim: bytes = b""
    """What is sent before it."""
    takes: float = 0.0
    """Seconds that pass before it."""
    confirms: bool = False
    """It is a 304 if the request has If-None-Match or If-Modified-Since."""

    def rendered(self, number: int, asked: dict[bytes, bytes], *, is_head: bool) -> bytes:
        """Its bytes, to the request with this number and these fields (lower-case names)."""
        status = self.status
        if self.confirms and asked.keys() & {b"if-none-match", b"if-modified-since"}:
            status = "304 Not Modified"
        body = b"%d" % number if self.body is None else self.body
        lines = [f"HTTP/1.1 {status}", *self.fields]
        is_bodiless = int(status[:3]) in _BODILESS
        if not is_bodiless:
            lines.append(f"Content-Length: {len(body)}")
        sent = b"" if is_bodiless or is_head else body
        return self.interim + "\r\n".join([*lines, "", ""]).encode("latin-1") + sent


CLOSED = None
"""Instead of an answer: the connection is closed."""


@dataclass
class Origin:
    """Gives each request the next of its answers, and the last one to all that follow."""

    answers: tuple[Answer | None, ...]
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.upstream = ScriptedUpstream(self._script)

    @property
    def seen(self) -> list[Seen]:
        """The requests that it has had."""
        return self.upstream.seen

    def asked(self, number: int) -> dict[bytes, bytes]:
        """The fields of a request by their lower-case names; -1 is the last one."""
        return {name.lower(): value for name, value in self.seen[number].fields}

    async def _script(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.seen)
        answer = self.answers[min(number, len(self.answers)) - 1]
        if answer is None:
            raise ConnectionAbortedError
        self.clock.tick(answer.takes)
        asked = {name.lower(): value for name, value in seen.fields}
        writer.write(answer.rendered(number, asked, is_head=seen.line.startswith(b"HEAD ")))


def answering(*fields: str, **more: Any) -> Answer:
    """An answer with these field lines."""
    return Answer(fields, **more)


def at(seconds: float = 0.0) -> str:
    """The HTTP-date so long after the start of a test."""
    return formatdate(Clock().now + seconds, usegmt=True)


@asynccontextmanager
async def running(
    directory: Path, *answers: Answer | None, **freshness: Any
) -> AsyncIterator[tuple[Proxy, Origin]]:
    """The proxy before an origin with these answers. `freshness` is the resource's; without any, the origin rules."""
    origin = Origin(answers)
    resource = {"id": None, "single": {"path": "/{rest*}"}, "freshness": {"ttl": "0s", **freshness}}
    async with (
        origin.upstream as upstream,
        harness.running(
            upstream.url,
            directory,
            resources={"all": resource},
            upstream={"retries": 0},
            clock=origin.clock,
        ) as proxy,
    ):
        yield proxy, origin


async def reused(directory: Path, *fields: str, seconds: float = 3.0, **more: Any) -> Response | None:
    """What is answered to the second of two equal requests with so long between them, if the origin was asked for the
    first one alone, and its answer had these fields. Else None."""
    async with running(directory, answering(*fields, **more)) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(seconds)
        response = await proxy.get("/a")
        return response if len(origin.seen) == 1 else None
