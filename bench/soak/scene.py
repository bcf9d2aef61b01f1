"""What all parts of the load share, and the people that it is about."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate, count
from time import monotonic

from bench.soak.client import Answer, BadFraming, Client, Cut, Request
from bench.soak.held import Held
from bench.soak.judge import Judge
from bench.soak.rules import BUSINESS, USER, Kind
from bench.soak.trouble import Trouble
from bench.soak.truth import MARK, Truth
from bench.soak.upstream import TICKET, Upstream
from bench.soak.verdicts import Verdicts

USERS, BUSINESSES = 4000, 300
_UNKNOWN = 0.05
"""Part of the ids that the upstream does not know."""
_NEW_CONNECTION = 0.08
"""Part of the requests that have a connection of their own."""


class Crowd:
    """The ids of one kind, of which few are asked for often and most seldom (Zipf)."""

    def __init__(self, kind: Kind, size: int, rng: random.Random) -> None:
        self.kind = kind
        self.ids = [f"{MARK}{kind.name}-{number:05d}" for number in range(size)]
        rng.shuffle(self.ids)
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(size)))

    def some(self, rng: random.Random, number: int) -> list[str]:
        """So many ids at the most, each once."""
        return list(dict.fromkeys(rng.choices(self.ids, cum_weights=self._weights, k=number)))

    def one(self, rng: random.Random) -> str:
        """An id."""
        return self.some(rng, 1)[0]


@dataclass
class Scene:
    """The model, the upstream, and where the proxy listens."""

    truth: Truth
    trouble: Trouble
    held: Held
    verdicts: Verdicts
    upstream: Upstream
    rng: random.Random
    addresses: dict[str, str]
    crowds: dict[str, Crowd] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    """Who writes about an entity by the handshake API; one entry for each that was ever written about."""
    tickets: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.judge = Judge(self.truth, self.trouble, self.held, self.verdicts)
        for kind, size in ((USER, USERS), (BUSINESS, BUSINESSES)):
            crowd = self.crowds[kind.name] = Crowd(kind, size, self.rng)
            for entity in crowd.ids:
                if self.rng.random() >= _UNKNOWN:
                    self.truth.change(kind, entity, monotonic())

    @property
    def transparent(self) -> str:
        """Where the transparent listener is."""
        return self.addresses["upstreams.main"]

    @property
    def handshake(self) -> str:
        """Where the handshake API is."""
        return self.addresses["handshake"]

    def crowd(self, rng: random.Random) -> Crowd:
        """Users, mostly."""
        return self.crowds["user" if rng.random() < 0.8 else "business"]

    def change(self, kind: Kind, entity: str, *, present: bool = True) -> None:
        """The upstream's own change, which nobody tells the proxy of."""
        if not present:
            self.held.losing(kind, entity)
        self.truth.change(kind, entity, monotonic(), present=present)
        if present:
            self.held.lost(kind, entity, monotonic())

    @asynccontextmanager
    async def writing(self, entity: str) -> AsyncIterator[None]:
        """One writer at a time, so that it is known what is there afterwards."""
        async with self.locks.setdefault(entity, asyncio.Lock()):
            yield


class Asker:
    """One caller: a kept connection to each listener, and judgement of what is no HTTP or never comes."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self._kept = {address: Client(address) for address in (scene.transparent, scene.handshake)}

    async def ask(self, place: str, address: str, request: Request) -> Answer | None:
        """The answer; None if there was none, which is judged here."""
        verdicts = self.scene.verdicts
        verdicts.requests[place] += 1
        kept = self.rng.random() >= _NEW_CONNECTION
        client = self._kept[address] if kept else Client(address)
        asked = monotonic()
        try:
            answer = await client.ask(request)
        except (Cut, TimeoutError, OSError) as error:
            verdicts.answers["cut"] += 1
            if not (isinstance(error, Cut) and self.scene.trouble.upstream(asked)):
                verdicts.violation(monotonic(), "no whole answer", place, f"{error!r} to {request.method}")
            return None
        except BadFraming as error:
            verdicts.answers["not HTTP"] += 1
            verdicts.violation(monotonic(), "no HTTP", place, str(error))
            return None
        finally:
            if not kept:
                client.close()
        verdicts.answers[str(answer.status)] += 1
        return answer

    async def ticketed(self, place: str, request: Request) -> tuple[Answer | None, str]:
        """The same on the transparent listener, with a number by which the upstream tells of the request."""
        ticket = str(next(self.scene.tickets))
        fields = (*request.fields, (TICKET, ticket))
        numbered = Request(request.method, request.target, fields, request.body, request.chunked)
        return await self.ask(place, self.scene.transparent, numbered), ticket

    def arrived(self, ticket: str) -> int:
        """How often a request reached the upstream."""
        return self.scene.upstream.tickets.pop(ticket, 0)

    def close(self) -> None:
        """End the connections."""
        for client in self._kept.values():
            client.close()
