"""One soak: the process, its upstream, the load, the faults, and the look at what is left at the end."""

import asyncio
import json
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil

from bench.soak import calls, rude, transparent
from bench.soak.held import Held
from bench.soak.rules import DRAIN_TIMEOUT, KINDS, STORE_AFTERMATH, settings
from bench.soak.scene import Asker, Scene
from bench.soak.trouble import STORE, Director, Trouble
from bench.soak.truth import MARK, Truth
from bench.soak.upstream import Upstream
from bench.soak.verdicts import Verdicts
from bench.soak.watch import Moment, look
from bench.subject import Subject
from bench.subject import settings as environment

_CALLERS = 12
_RATE = 150.0
"""Requests a second, all in all: what two cores can make and judge while they do other things too."""
_CHANGES = 8.0
"""Changes at the upstream a second that nobody tells the proxy of."""
_RUDE = 3.0
_AT_ONCE = 100
_STORE_BYTES = 64 * 2**20
_START_TIMEOUT = 60.0
_OVERTIME = 150.0
"""Seconds that the last deeds of the load may take: ten pages, each with the patience of a client."""
_QUIET = 15.0
"""Seconds in which everything that a request has left behind must end: more than any time-out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    seconds: float
    seed: int
    directory: Path
    rate: float = _RATE
    pace: float = 1.0
    """Of the faults: below 1 they are shorter and closer to each other."""
    fill: bool = True
    """Ask for everybody first, so that memory is at its bound from the beginning."""
    lie: Callable[[bytes], bytes] | None = None
    """How the upstream's answers to fills are changed, to see that the checks find it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    plan: Plan
    verdicts: Verdicts
    trouble: Trouble
    upstream_calls: dict[str, int]
    moments: list[Moment]
    first: Moment
    quiet: Moment
    samples: dict[str, float]
    erased: int


async def soak(plan: Plan) -> Outcome:
    """Run it. What is wrong stands in the verdicts; raises TimeoutError if the process does not start or end."""
    verdicts, trouble, truth = Verdicts(monotonic()), Trouble(plan.seed), Truth()
    upstream = Upstream(
        truth,
        trouble,
        wrong=lambda what: verdicts.violation(monotonic(), what, "upstream", ""),
        lie=plan.lie,
    )
    await upstream.start()
    try:
        async with _process(plan.directory, upstream.url, verdicts) as subject:
            first, _ = await look(subject, 0.0, 0)
            scene = Scene(
                truth,
                trouble,
                Held(trouble),
                verdicts,
                upstream,
                random.Random(plan.seed),  # noqa: S311 - no secret
                subject.addresses,
            )
            load = _Load(plan, scene, subject)
            await load.run()
            await upstream.stop()
            quiet, samples = await load.quiet(first)
        _search(plan.directory, load.calls.erased, verdicts)
    finally:
        await upstream.stop()
    _read_log(plan.directory / "log", trouble, verdicts)
    return Outcome(
        plan,
        verdicts,
        trouble,
        dict(upstream.calls),
        load.moments,
        first,
        quiet,
        samples,
        len(load.calls.erased),
    )


@asynccontextmanager
async def _process(directory: Path, url: str, verdicts: Verdicts) -> AsyncIterator[Subject]:
    """The command, ended by SIGTERM, which it must do well."""
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy.cli", "serve"),
            env=environment(url, directory, MALLOC_ARENA_MAX="1", **settings(_STORE_BYTES)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_TIMEOUT):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy did not start: {(directory / 'log').read_text()}")
        ready = json.loads(line)
        yield Subject(ready["addresses"], psutil.Process(process.pid))
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DRAIN_TIMEOUT + _QUIET):
            code = await process.wait()
        if code != 0:
            verdicts.violation(monotonic(), f"exit status {code}", "stop", "")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Load:
    """Everything that happens to the process."""

    def __init__(self, plan: Plan, scene: Scene, subject: Subject) -> None:
        self._plan = plan
        self._scene = scene
        self._subject = subject
        self._until = 0.0
        self.calls = calls.Calls(scene)
        self.moments: list[Moment] = []
        self._mix: list[tuple[Callable[[Asker], Awaitable[None]], int]] = [
            (transparent.bulk, 30),
            (transparent.single, 14),
            (transparent.bypass, 4),
            (transparent.write, 4),
            (transparent.echo, 8),
            (self.calls.login, 14),
            (self.calls.ensure, 8),
            (self.calls.batch, 2),
            (self.calls.exists, 4),
            (self.calls.synced, 2),
            (self.calls.refresh, 2),
            (self.calls.get, 4),
            (self.calls.patch, 3),
            (self.calls.erase, 1),
            (self.calls.erased_again, 1),
        ]

    async def run(self) -> None:
        """All of it, for the time of the plan."""
        plan = self._plan
        pager = Asker(self._scene, plan.seed)
        if plan.fill:
            await self._fill(pager)
        started = self._scene.verdicts.started = monotonic()
        self._until = started + plan.seconds
        director = Director(
            self._scene.trouble,
            plan.directory / "handshake.db",
            seed=plan.seed,
            refuse=self._refuse,
            pace=plan.pace,
        )
        rude_one = rude.Rude(self._scene, plan.seed)
        async with asyncio.timeout(plan.seconds + _OVERTIME), asyncio.TaskGroup() as tasks:
            for number in range(_CALLERS):
                tasks.create_task(self._caller(number), name=f"caller {number}")
            tasks.create_task(self._each(_RUDE, rude_one.one, plan.seed + 1), name="rude")
            tasks.create_task(self._each(0.2, lambda: self.calls.stale(pager), plan.seed + 2), name="pager")
            tasks.create_task(self._each(_CHANGES, self._change, plan.seed + 3), name="changes")
            tasks.create_task(director.play(self._until - 1), name="faults")
            tasks.create_task(self._watch(started), name="watch")
        if self.calls.unfinished:
            await asyncio.sleep(STORE_AFTERMATH)
            await self.calls.finish_erasures(pager)
        pager.close()

    async def _fill(self, asker: Asker) -> None:
        """Ask for everybody once, so that the tiers and caches are as full as they will be."""
        for kind in KINDS:
            ids = self._scene.crowds[kind.name].ids
            for at in range(0, len(ids), _AT_ONCE):
                await transparent.read(asker, kind, ids[at : at + _AT_ONCE])
                await self.calls.have(asker, kind, ids[at : at + _AT_ONCE])

    async def quiet(self, first: Moment) -> tuple[Moment, dict[str, float]]:
        """Wait until nothing is left of the load; what is left then is a leak."""
        # The database's files are open from its first use on, and its thread stays.
        most = (first.tasks, first.descriptors + 4)
        deadline = monotonic() + _QUIET
        while True:
            moment, samples = await look(self._subject, self._plan.seconds, 0)
            if (moment.tasks <= most[0] and moment.descriptors <= most[1]) or monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
        for name, now, bound in (
            ("tasks", moment.tasks, most[0]), ("descriptors", moment.descriptors, most[1]),
        ):  # fmt: skip
            if now > bound:
                self._scene.verdicts.violation(
                    monotonic(), f"{name} are left", "end", f"{now}, {bound} at first"
                )
        return moment, samples

    async def _caller(self, number: int) -> None:
        asker = Asker(self._scene, self._plan.seed * 1000 + number)
        deeds, weights = zip(*self._mix, strict=True)
        # Each once, so that even a short run has them all.
        begin = [*deeds[number:], *deeds[:number]]
        try:
            while monotonic() < self._until:
                await asyncio.sleep(asker.rng.expovariate(self._plan.rate / _CALLERS))
                deed = begin.pop() if begin else asker.rng.choices(deeds, weights)[0]
                await deed(asker)
        finally:
            asker.close()

    async def _each(self, rate: float, deed: Callable[[], Awaitable[None]], seed: int) -> None:
        """Do something so many times a second, one after the other."""
        rng = random.Random(seed)  # noqa: S311 - no secret
        while monotonic() < self._until:
            await asyncio.sleep(rng.expovariate(rate))
            await deed()

    async def _change(self) -> None:
        scene = self._scene
        crowd = scene.crowd(scene.rng)
        scene.change(crowd.kind, crowd.one(scene.rng), present=scene.rng.random() >= 0.05)

    async def _watch(self, started: float) -> None:
        while monotonic() < self._until:
            await asyncio.sleep(1)
            try:
                moment, _ = await look(self._subject, monotonic() - started, self._scene.upstream.connections)
            except (AssertionError, OSError) as error:
                self._scene.verdicts.violation(monotonic(), "a measurement", "metrics", repr(error))
                continue
            self.moments.append(moment)

    async def _refuse(self, *, refuse: bool) -> None:
        upstream = self._scene.upstream
        await (upstream.stop() if refuse else upstream.start())


def _search(directory: Path, erased: list[str], verdicts: Verdicts) -> None:
    """No file of the store has a byte of who was erased, and the database is whole."""
    for file in directory.glob("handshake.db*"):
        data = file.read_bytes()
        for entity in erased:
            if entity.encode() in data:
                verdicts.violation(monotonic(), "an erased entity is in a file", file.name, entity)
    database = sqlite3.connect(directory / "handshake.db")
    try:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            verdicts.violation(monotonic(), "the database is not whole", "end", "")
    finally:
        database.close()


def _read_log(log: Path, trouble: Trouble, verdicts: Verdicts) -> None:
    """Nothing in the log that no fault explains, and nobody's id."""
    explained = {"store_failed"} if any(trouble.played[fault] for fault in STORE) else set()
    for number, text in enumerate(log.read_text().splitlines()):
        if MARK in text:
            verdicts.violation(monotonic(), "an id or a token in the log", "log", f"line {number}")
        try:
            line = json.loads(text)
        except ValueError:
            verdicts.violation(monotonic(), "no JSON in the log", "log", text[:100])
            continue
        if line["level"] == "error" and line["event"] not in explained:
            verdicts.violation(monotonic(), f"{line['event']} in the log", "log", text[:300])
