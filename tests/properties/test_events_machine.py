"""What an owner tells, against a model of the owner: in whatever order it arrives, however often, whatever is fetched
meanwhile, nobody is shown what is not so any more, or what never was.

A user of version v has three members besides, of which each version changes one: so it shows what it was made of.
"""

import asyncio
import json
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from proxy.outcomes import Resolution
from tests.properties.turning import opened, some_turns
from tests.unit.told import There, there

T = TypeVar("T")

IDS = ("a", "b")
TTL, WHILE = 10.0, 20.0


def content(version: int) -> dict[str, int]:
    """Which version has changed each member last."""
    return {f"m{part}": version - (version - part) % 3 for part in range(3)}


def item(entity: str, version: int) -> bytes:
    return json.dumps({"id": entity, "v": version, **content(version)}).encode()


def patch(version: int) -> dict[str, int]:
    """What a version has changed."""
    return {"v": version, f"m{version % 3}": version}


class EventsMachine(RuleBasedStateMachine):
    """One resource, over memory alone or with a database."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.now = dict.fromkeys(IDS, 1)
        self.acknowledged = dict.fromkeys(IDS, 0)
        self.asking: list[tuple[asyncio.Task[Resolution], str, int]] = []
        self.messages = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(with_database=st.booleans(), tells_version=st.booleans())
    def start(self, *, with_database: bool, tells_version: bool) -> None:
        async def begin() -> There:
            database = None
            if with_database:
                database = await opened(self.directory.name)
                self.stack.push_async_callback(database.close)
            freshness = {"ttl": TTL, "stale_while_revalidate": WHILE, "revalidate_timeout": 0}
            made = there(database, source_version="/v" if tells_version else None, freshness=freshness)
            return await self.stack.enter_async_context(made)

        self.there = self.run(begin())
        self.world = self.there.world
        self.world.upstream.users = self.now
        self.world.upstream.item = item

    @rule(entity=st.sampled_from(IDS))
    def somebody_asks(self, entity: str) -> None:
        async def ask() -> "asyncio.Task[Resolution]":
            return asyncio.create_task(self.world.ask(entity))

        self.asking.append((self.run(ask()), entity, self.acknowledged[entity]))
        self._turn()

    @rule(entity=st.sampled_from(IDS))
    def it_changes(self, entity: str) -> None:
        """And nobody is told yet."""
        self.now[entity] += 1

    @rule(
        entity=st.sampled_from(IDS),
        behind=st.integers(0, 3),
        says=st.sampled_from(("version", "patch", "item", "nothing")),
        times=st.integers(1, 2),
    )
    def an_event_arrives(self, entity: str, *, behind: int, says: str, times: int) -> None:
        """Of the newest version, or of an earlier one: late, or for the second time."""
        version = max(1, self.now[entity] - behind)
        data = {"patch": patch(version), "item": json.loads(item(entity, version))}.get(says)
        self.messages += 1
        # A flight from before it has nothing in common with one from after.
        self.world.upstream.invalidated[entity] += 1
        for _ in range(times):
            told = self.there.tell(
                None if says == "nothing" else version, data, entity=entity, name=f"event {self.messages}"
            )
            self.run(told)
        self.acknowledged[entity] = max(self.acknowledged[entity], version)
        self._turn()

    @rule()
    def what_waits_is_fetched(self) -> None:
        async def elapse() -> None:
            self.there.timers.tick(1.0)

        self.run(elapse())
        self._turn()

    @rule(slow=st.booleans())
    def upstream_speed(self, *, slow: bool) -> None:
        if slow:
            self.world.upstream.gate.clear()
        else:
            self.world.upstream.gate.set()
            self._turn()

    @rule(seconds=st.sampled_from((0.5, TTL, WHILE, 61.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    def _turn(self) -> None:
        self.run(some_turns(self.world))
        for asked in [asked for asked in self.asking if asked[0].done()]:
            self.asking.remove(asked)
            self._check(*asked)

    def _check(self, asking: "asyncio.Task[Resolution]", entity: str, at_least: int) -> None:
        resolution = asking.result()
        if not resolution.complete or resolution.pass_on:
            return
        shown = json.loads(resolution.outcomes[entity].entry.item or b"null")
        version = shown.pop("v")
        assert shown == {"id": entity, **content(version)}, "it never was so"
        assert at_least <= version <= self.now[entity], "older than what was acknowledged before the request"

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.world.upstream.gate.set()
                self.run(asyncio.wait_for(self.world.idle(), 10))
                self._turn()
                # An invalidated flight may be beside the one that follows it.
                self.world.upstream.twins.clear()
                self.run(self.stack.aclose())
        finally:
            self.runner.close()
            self.directory.cleanup()


TestEvents = EventsMachine.TestCase
TestEvents.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
