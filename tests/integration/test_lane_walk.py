"""Whatever happens in whatever order, the fast lane changes speed only."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.twins import Pair, Twins, bulk, get, twins, user

ENTITIES = ("a", "b", "c")
LINES = ("", "X-Own: 1", "Authorization: Bearer a", "Cache-Control: no-cache", "Cache-Control: max-age=5",
         "Cache-Control: max-stale", 'If-None-Match: "1"', "Connection: keep-alive")  # fmt: skip
DIFFERING = (
    "X-Request-Id: {}",
    "traceparent: 00-{}-01",
    "X-Request-Id: {0}\r\nX-Request-Id: {0}",
    "X-Request-Id: \xe9{}",
    "X-Request-Id: a\tb{}",
    "X-Request-Id: {}\r\nAuthorization: Bearer a",
    "X-Request-Id: {}\r\nCache-Control: no-cache",
    "User-Agent: {}",
    "Authorization: Bearer {}",
    "Cache-Control: max-age={}",
)
"""Lines with a number that is another in each request."""
TICKS = (0.0, 1e-6, 0.3, 0.5, 0.999999, 1.0, 7.25, 30.0, 59.0, 61.0, 100.0, 700.0)

entity = st.sampled_from(ENTITIES)
line = st.sampled_from(LINES)
differing = st.one_of(st.just(DIFFERING[0]), st.sampled_from(DIFFERING))
ask_one = st.tuples(st.just("one"), entity, line, st.integers(1, 5))
ask_many = st.tuples(st.just("many"), st.lists(entity, min_size=1, max_size=3), line, st.integers(1, 5))
STEPS = st.lists(
    st.one_of(
        ask_one,
        ask_many,
        ask_one,
        ask_many,
        st.tuples(st.just("differing"), entity, differing, st.integers(1, 16)),
        st.tuples(
            st.just("differing_many"), st.lists(entity, min_size=1, max_size=3), differing, st.integers(1, 16)
        ),
        st.tuples(st.just("tick"), st.sampled_from(TICKS)),
        st.tuples(st.just("put"), entity),
        st.tuples(st.just("change"), entity),
        st.tuples(st.just("hide"), entity),
        st.tuples(st.just("fail"), st.booleans()),
        st.tuples(st.just("together"), entity, st.lists(entity, min_size=1, max_size=2)),
        st.tuples(st.just("in_two"), entity, st.integers(1, 30)),
        st.tuples(st.just("sweep")),
    ),
    min_size=4,
    max_size=24,
)


@dataclass
class Stage:
    """Twins that live through all examples; each has entities of its own."""

    runner: asyncio.Runner
    there: Twins
    names: Iterator[int]
    in_lane: int = 0
    masked: int = 0


@pytest.fixture(scope="module", params=["anonymous", "service", "per_credential"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # The database would have some of it in time, and some of it not.
    resources = user(storage="memory", sharing=request.param)

    async def start(directory: Path, stack: AsyncExitStack) -> Twins:
        return await stack.enter_async_context(twins(directory, resources))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        one = Stage(runner, runner.run(start(tmp_path_factory.mktemp("walk"), stack)), count())
        yield one
        runner.run(stack.aclose())
    assert one.in_lane
    assert one.masked


class Walk:
    """One example: a step is the name of a method here, and what it is given."""

    def __init__(self, there: Twins, pair: Pair, prefix: str) -> None:
        self._there = there
        self._pair = pair
        self._prefix = prefix

    def _name(self, entity: str) -> str:
        return f"{self._prefix}{entity}"

    def _get(self, entity: str, *lines: str) -> bytes:
        return get(f"/users/{self._name(entity)}", *filter(None, lines))

    def _bulk(self, entities: list[str], *lines: str) -> bytes:
        return bulk(*map(self._name, entities), lines=[*filter(None, lines)])

    async def _ask(self, request: bytes, times: int) -> None:
        for _ in range(times):
            await self._pair.ask(request)
            await self._there.calm()

    async def one(self, entity: str, line: str, times: int) -> None:
        await self._ask(self._get(entity, line), times)

    async def many(self, entities: list[str], line: str, times: int) -> None:
        await self._ask(self._bulk(entities, line), times)

    async def differing(self, entity: str, line: str, times: int) -> None:
        for _ in range(times):
            await self._ask(self._get(entity, line.format(next(self._there.numbers))), 1)
            await self.tick(
                0.0173
            )  # at the moment at which an entity comes its head is written anew each time

    async def differing_many(self, entities: list[str], line: str, times: int) -> None:
        for _ in range(times):
            await self._ask(self._bulk(entities, line.format(next(self._there.numbers))), 1)
            await self.tick(0.0173)

    async def tick(self, seconds: float) -> None:
        self._there.clock.tick(seconds)

    async def put(self, entity: str) -> None:
        await self._ask(f"PUT /users/{self._name(entity)} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 1)

    async def change(self, entity: str) -> None:
        self._there.change(lambda origin: origin.versions.update({self._name(entity): 50}))

    async def hide(self, entity: str) -> None:
        self._there.change(lambda origin: origin.hidden.add(self._name(entity)))

    async def fail(self, is_down: bool) -> None:
        self._there.change(lambda origin: setattr(origin, "is_down", is_down))

    async def together(self, entity: str, entities: list[str]) -> None:
        """On a connection of its own, which has left the lane behind that."""
        async with self._there.pair() as pair:
            await pair.send(self._get(entity) + self._bulk(entities))
            await pair.receive()
            await pair.receive()
            await self._there.calm()

    async def in_two(self, entity: str, place: int) -> None:
        """Likewise."""
        async with self._there.pair() as pair:
            request = self._get(entity)
            await pair.send(request[:place], request[place:])
            await pair.receive()
            await self._there.calm()

    async def sweep(self) -> None:
        for table in self._there.tables:
            table.sweep()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("differing", "a", DIFFERING[0], 16)])
@given(steps=STEPS)
def test_a_walk(stage: Stage, steps: list[tuple[Any, ...]]) -> None:
    there = stage.there

    async def walk() -> None:
        there.change(lambda origin: setattr(origin, "is_down", False))
        there.clock.tick(3600.0)  # nothing of the example before is left, a failing upstream included
        async with there.pair() as pair:
            there_now = Walk(there, pair, f"{next(stage.names)}")
            for name, *given_to_it in steps:
                await getattr(there_now, name)(*given_to_it)
        stage.in_lane += there.in_lane
        stage.masked += there.masked
        there.same_counts()

    stage.runner.run(walk())
