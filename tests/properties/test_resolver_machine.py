"""Resolver, loader and store against a model: whatever happens in whatever order, nobody is told what is not so.

The model keeps, for each entity, the version that the upstream has and the one that it had when an invalidation was
last acknowledged. Requests may hang in the air while everything else goes on; what a request may be told is what could
have been true since it began.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.core.http.directives import PLAIN, RequestDirectives
from proxy.core.policy import Asked
from proxy.exchange import UpstreamError
from proxy.outcomes import Resolution
from tests.properties.turning import opened, some_turns
from tests.unit.world import SINGLE, World, versions, world

T = TypeVar("T")

IDS = ("a", "b")
UNKNOWN = "nobody"
TTL, WHILE, IF_ERROR = 10.0, 20.0, 60.0


@dataclass
class Asking:
    """A request that is under way."""

    task: "asyncio.Task[Resolution]"
    ids: tuple[str, ...]
    at_least: dict[str, int]
    """The version of each id that was acknowledged when it began."""
    single: bool


class ResolverMachine(RuleBasedStateMachine):
    """One resource with both calls, over memory and a database."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.upstream_version = dict.fromkeys(IDS, 1)
        self.acknowledged = dict.fromkeys(IDS, 0)
        self.asking: list[Asking] = []
        self.failing = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(
        with_database=st.booleans(), tiny_memory=st.booleans(), slow=st.booleans(), coarse=st.booleans()
    )
    def start(self, *, with_database: bool, tiny_memory: bool, slow: bool, coarse: bool) -> None:
        async def begin() -> World:
            database = None
            if with_database:
                database = await opened(self.directory.name)
                self.stack.push_async_callback(database.close)
            return await self.stack.enter_async_context(
                world(
                    database=database,
                    # With a database the memory may be too small for two entities: it is read again and again.
                    memory_bytes=1_500 if with_database and tiny_memory else 2**20,
                    single=SINGLE,
                    freshness={
                        "ttl": TTL,
                        "stale_while_revalidate": WHILE,
                        "stale_if_error": IF_ERROR,
                        "revalidate_timeout": 0,
                        "negative_ttl": 5,
                    },
                )
            )

        self.world = self.run(begin())
        self.world.upstream.users = self.upstream_version
        self.world.upstream.coarse = coarse
        self.upstream_speed(slow=slow)

    @rule(ids=st.lists(st.sampled_from((*IDS, UNKNOWN)), min_size=1, unique=True), no_cache=st.booleans())
    def bulk(self, ids: list[str], *, no_cache: bool) -> None:
        self._begin(tuple(ids), no_cache=no_cache, single=False)

    @rule(entity=st.sampled_from((*IDS, UNKNOWN)), no_cache=st.booleans())
    def single(self, entity: str, *, no_cache: bool) -> None:
        self._begin((entity,), no_cache=no_cache, single=True)

    @rule(which=st.integers(0, 3))
    def client_goes_away(self, which: int) -> None:
        # No precondition: how far the database's thread has come must not change what is drawn.
        if which < len(self.asking):
            self.asking.pop(which).task.cancel()
            self._turn()

    @rule(entity=st.sampled_from(IDS))
    def upstream_update(self, entity: str) -> None:
        """Nobody tells us."""
        self.upstream_version[entity] += 1

    @rule(entity=st.sampled_from(IDS), asked_before=st.booleans(), asked_after=st.booleans())
    def unsafe_method(self, entity: str, *, asked_before: bool, asked_after: bool) -> None:
        """Somebody changes the entity through the proxy, and has the answer; others ask for it meanwhile."""
        if asked_before:
            self._begin((entity,), no_cache=False, single=False)
        self.upstream_version[entity] += 1
        self.run(self.world.invalidate(entity))
        self.acknowledged[entity] = self.upstream_version[entity]
        if asked_after:
            self._begin((entity,), no_cache=False, single=False)

    @rule(failing=st.booleans(), status=st.sampled_from((500, None)))
    def upstream_health(self, *, failing: bool, status: int | None) -> None:
        upstream = self.world.upstream
        self.failing = failing
        upstream.status = status if failing and status else 200
        upstream.error = UpstreamError("reset") if failing and not status else None

    @rule(slow=st.booleans())
    def upstream_speed(self, *, slow: bool) -> None:
        if slow:
            self.world.upstream.gate.clear()
        else:
            self.world.upstream.gate.set()
            self._turn()

    @rule(seconds=st.sampled_from((0.5, 4.0, TTL, WHILE, IF_ERROR)))
    def time_passes(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule()
    def a_turn(self) -> None:
        self._turn()

    def _begin(self, ids: tuple[str, ...], *, no_cache: bool, single: bool) -> None:
        asked = Asked(RequestDirectives(no_cache=True) if no_cache else PLAIN)

        async def ask() -> "asyncio.Task[Resolution]":
            return asyncio.create_task(self.world.ask(*ids, asked=asked, single=single))

        at_least = {entity: self.acknowledged[entity] for entity in ids if entity in IDS}
        self.asking.append(Asking(self.run(ask()), ids, at_least, single))
        self._turn()

    def _turn(self) -> None:
        self.run(some_turns(self.world))
        for asking in [asking for asking in self.asking if asking.task.done()]:
            self.asking.remove(asking)
            self._check(asking)

    def _check(self, asking: Asking) -> None:
        resolution = asking.task.result()
        if not resolution.complete or resolution.pass_on:
            return
        told = versions(resolution)
        assert told.keys() == set(asking.ids)
        for entity, version in told.items():
            if entity == UNKNOWN:
                assert version is None
                continue
            assert version is not None, "an absence of what the upstream has had all the time"
            assert version >= asking.at_least[entity], "older than what was acknowledged before the request"
            assert version <= self.upstream_version[entity]

    @invariant()
    def nothing_is_fetched_twice_at_a_time(self) -> None:
        """Except where an invalidation has parted the old flight from the new one: the old one brings nothing."""
        if hasattr(self, "world"):
            assert not self.world.upstream.twins

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self._end()
        finally:
            self.run(self.stack.aclose())
            self.runner.close()
            self.directory.cleanup()

    def _end(self) -> None:
        """No waiter is lost: let the upstream answer, and everybody has an answer."""
        self.world.upstream.gate.set()

        async def all_answered() -> None:
            async with asyncio.timeout(10):
                if self.asking:
                    await asyncio.wait([asking.task for asking in self.asking])
                await self.world.idle()

        self.run(all_answered())
        for asking in self.asking:
            self._check(asking)
        loader: Any = self.world.loader
        assert (loader._flights, loader._boarding, loader._waiters, loader._refreshes) == ({}, {}, 0, 0)


TestResolver = ResolverMachine.TestCase
TestResolver.settings = settings(settings.get_profile("deep"), stateful_step_count=50)
