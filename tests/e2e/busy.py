"""What a proxy has to do when it is told to stop: an upstream that holds back some of its answers, and workers."""

import asyncio
import json
import random
from dataclasses import dataclass, field

from tests.e2e.process import PATIENCE, Process
from tests.integration.harness import Client, Response, ScriptedUpstream, Seen, read_body

BLOCK = bytes(64 * 1024)
BLOCKS = 8
"""Of which a download is made; one comes at once, the others when they are let go."""

LOST = (ConnectionError, asyncio.IncompleteReadError, TimeoutError)
"""What a client sees of a request that was not answered."""


def item(entity: str) -> bytes:
    return b'{"id":"%s","name":"Name of %s"}' % (entity.encode(), entity.encode())


class Upstream(ScriptedUpstream):
    """Users and businesses by the bulk, uploads and downloads. What is slow waits for `go`."""

    def __init__(self) -> None:
        super().__init__(self._answer, read_body=False)
        self.go = asyncio.Event()
        self.begun: set[str] = set()
        """What is slow and has been asked for: ids, and `upload` and `download`."""

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith(b"GET /download"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BLOCK) * BLOCKS) + BLOCK)
            await writer.drain()
            self.begun.add("download")
            await self.go.wait()
            for _ in range(BLOCKS - 1):
                writer.write(BLOCK)
                await writer.drain()
            return
        if seen.line.startswith(b"PUT"):
            self.begun.add("upload")
            answer = b"%d" % len(await read_body(seen.head, reader))
        else:
            kind = b"users" if b"/users/" in seen.line else b"businesses"
            ((_, ids),) = json.loads(await read_body(seen.head, reader)).items()
            if slow := {entity for entity in ids if entity.startswith("slow")}:
                self.begun |= slow
                await self.go.wait()
            answer = b'{"%b":[%b],"count":%d}' % (kind, b",".join(map(item, ids)), len(ids))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            + answer
        )


@dataclass
class Work:
    """What the workers asked for, and what came of it."""

    seed: int
    answered: int = 0
    refused: int = 0
    """Workers that have found nobody listening."""
    told_to_close: int = 0
    fetched: list[str] = field(default_factory=list)
    """Ids that nobody had asked for before."""
    failures: list[str] = field(default_factory=list)
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each answer; for whoever waits to clear."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def an_id(self) -> str:
        """One in four was never asked for before."""
        if self.chance.random() < 0.25:
            self.fetched.append(f"new{len(self.fetched)}")
            return self.fetched[-1]
        return f"u{self.chance.randrange(50)}"

    async def ask(self, client: Client, *, handshake: bool = False) -> bool:
        """Make one request; whether the connection may be used again. Raises what `LOST` names."""
        entity = self.an_id()
        if handshake:
            response = await client.call("POST", "/v1/users/ensure", {"userId": entity})
            is_right = response.status == 200 and response.json()["userId"] == entity
        else:
            response = await client.users(entity)
            is_right = (response.status, response.body) == (200, b'{"users":[%b],"count":1}' % item(entity))
        if not is_right:
            self.failures.append(f"{response.status} {response.body!r} for {entity}")
        self.answered += 1
        self.progress.set()
        return not await self.is_closed(client, response)

    async def is_closed(self, client: Client, response: Response) -> bool:
        """Whether the answer says so; then the connection has to end in good order."""
        if response.field("connection") != "close":
            return False
        self.told_to_close += 1
        async with asyncio.timeout(PATIENCE):
            if left := await client.reader.read():
                self.failures.append(f"{left!r} behind an answer")
        return True

    async def until_refused(self, proxy: Process) -> None:
        """One worker: requests without a pause, on a new connection whenever the last has been closed."""
        while True:
            try:
                async with proxy.client() as client:
                    while await self.ask(client):
                        pass
            except ConnectionRefusedError:
                self.refused += 1
                return
            except LOST as error:
                self.failures.append(repr(error))
                return

    async def answers(self, count: int) -> None:
        """Return when there have been that many more."""
        wanted = self.answered + count
        while self.answered < wanted:
            self.progress.clear()
            async with asyncio.timeout(PATIENCE):
                await self.progress.wait()
