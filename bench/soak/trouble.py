"""The faults: which is played when, and what it excuses afterwards."""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Protocol

from bench.soak.rules import AFTERMATH, LONGEST_BACKOFF, STORE_AFTERMATH

UPSTREAM = (
    "refuse", "hang", "hang_after_head", "reset", "status_500", "status_503", "status_429", "not_json",
    "too_short", "too_long", "drip", "close_reused", "slow",
)  # fmt: skip
_LOCKING = frozenset({"locked"})
STORE = _LOCKING | {"read_for_long"}
_FAILING = frozenset(UPSTREAM) - {"slow"}
# Every so many faults two are played at a time.
_PAIR_EVERY = 4


class Trouble:
    """Which faults are on, and which were."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self.on: dict[str, float] = {}
        """The faults of now, each with the part of the calls that meet it."""
        self._began: dict[str, float] = {}
        self.played: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        """How many calls met a fault."""
        self._ended: dict[str, float] = {}
        """When each fault was over for the last time."""
        self.history: list[tuple[str, float, float]] = []
        """Each fault with its beginning and end."""

    def begin(self, fault: str, part: float) -> None:
        """A fault starts."""
        self.on[fault] = part
        self._began[fault] = monotonic()
        self.played[fault] += 1

    def end(self, fault: str) -> None:
        """A fault is over."""
        del self.on[fault]
        self._ended[fault] = monotonic()
        self.history.append((fault, self._began.pop(fault), self._ended[fault]))

    def draw(self) -> str | None:
        """The fault that a call to the upstream meets, if any."""
        for fault, part in self.on.items():
            if fault not in STORE and self._rng.random() < part:
                self.met[fault] += 1
                return fault
        return None

    @property
    def fails_now(self) -> bool:
        """Whether the upstream fails at this moment, now and then or always."""
        return bool(_FAILING & self.on.keys())

    def upstream(self, since: float, aftermath: float = AFTERMATH) -> bool:
        """Whether the upstream has failed, or may be thought to, at some time from `since` until now."""
        return self._was(_FAILING, since, aftermath)

    def left_alone(self, since: float) -> bool:
        """Whether the upstream may be left alone for what there is a copy of."""
        return self._was(_FAILING, since, AFTERMATH + LONGEST_BACKOFF)

    def store(self, since: float, *, reading: bool = False) -> bool:
        """The same of the database; `reading`: to read it for long counts, too."""
        return self._was(STORE if reading else _LOCKING, since, STORE_AFTERMATH)

    def _was(self, faults: frozenset[str], since: float, aftermath: float) -> bool:
        last = max((self._ended.get(fault, float("-inf")) for fault in faults), default=0.0)
        return bool(faults & self.on.keys()) or last + aftermath > since


class Refuse(Protocol):
    """Has the upstream refuse connections, or take them again."""

    async def __call__(self, *, refuse: bool) -> None: ...


class Director:
    """Plays the faults, one after the other and sometimes two at a time, in an order made of the seed."""

    def __init__(self, trouble: Trouble, database: Path, *, seed: int, refuse: Refuse, pace: float) -> None:
        self._trouble = trouble
        self._database = database
        self._refuse = refuse
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._pace = pace

    async def play(self, until: float) -> None:
        """Play faults until that moment, each kind once before any comes twice; calm between them."""
        waiting: list[str] = []
        number = 0
        while monotonic() < until:
            await asyncio.sleep(self._rng.uniform(2, 9) * self._pace)
            number += 1
            chosen = []
            for _ in range(1 + (number % _PAIR_EVERY == 0)):
                if not waiting:
                    waiting = [*UPSTREAM, *sorted(STORE)]
                    self._rng.shuffle(waiting)
                chosen.append(waiting.pop())
            seconds = min(self._rng.uniform(2, 6) * self._pace, max(0.0, until - monotonic()))
            await asyncio.gather(*(self._one(fault, seconds) for fault in dict.fromkeys(chosen)))

    async def _one(self, fault: str, seconds: float) -> None:
        self._trouble.begin(fault, self._rng.choice((0.3, 1.0)))
        try:
            if fault in STORE:
                await asyncio.to_thread(_hold, self._database, fault, seconds)
            else:
                if fault == "refuse":
                    await self._refuse(refuse=True)
                await asyncio.sleep(seconds)
        finally:
            if fault == "refuse":
                await self._refuse(refuse=False)
            self._trouble.end(fault)


def _hold(database: Path, fault: str, seconds: float) -> None:
    """A person's shell on the database: writing, so that nobody else can, or reading without an end."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=5)) as shell:
        try:
            shell.execute("BEGIN IMMEDIATE" if fault == "locked" else "BEGIN")
            shell.execute("SELECT count(*) FROM users").fetchone()
        except sqlite3.OperationalError:
            return  # the proxy was in the way of the person, which is no fault of it
        time.sleep(seconds)
        shell.execute("ROLLBACK")
