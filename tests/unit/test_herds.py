"""Many at a time: what the upstream sees of a crowd."""

import asyncio
import random
from bisect import bisect
from itertools import accumulate

import pytest

from tests.unit.world import SINGLE, versions, world

REQUESTS, IDS = 100_000, 10_000


@pytest.mark.parametrize("many", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_a_crowd_for_one_new_id_makes_one_fetch_of_it(many: int) -> None:
    """As singles, and inside overlapping random bulks; some clients go away."""
    rng = random.Random(1)
    async with world(single=SINGLE, upstream_timeout=30.0) as there:
        there.upstream.users = {str(number): 1 for number in range(500)}
        there.upstream.gate.clear()
        crowd = []
        for number in range(many):
            if number % 2:
                crowd.append(asyncio.create_task(there.ask("7", single=True)))
            else:
                others = [str(other) for other in rng.sample(range(500), rng.randint(0, 20)) if other != 7]
                others.insert(rng.randint(0, len(others)), "7")
                crowd.append(asyncio.create_task(there.ask(*others)))
        await there.upstream.arrived.wait()
        leaving = many // 10
        for gone in rng.sample(crowd, leaving):
            gone.cancel()
        there.upstream.gate.set()
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        told = [versions(answer)["7"] for answer in answers if not isinstance(answer, BaseException)]
        assert told == [1] * (many - leaving)
        assert set(there.upstream.ids.values()) == {1}
        assert there.upstream.ids["7"] == 1


@pytest.mark.slow
async def test_a_zipf_workload_fetches_each_id_once() -> None:
    """100,000 bulk requests over 10,000 ids, 32 at a time: upstream ids fetched by distinct ids asked is 1.00.

    What a cache that is keyed on the body would have fetched is counted beside it.
    """
    rng = random.Random(2)
    weights = list(accumulate(1 / rank for rank in range(1, IDS + 1)))
    asked: set[str] = set()
    bodies: set[tuple[str, ...]] = set()
    by_body = 0

    def draw() -> tuple[str, ...]:
        nonlocal by_body
        ids = tuple(
            dict.fromkeys(str(bisect(weights, rng.random() * weights[-1])) for _ in range(rng.randint(1, 5)))
        )
        asked.update(ids)
        if ids not in bodies:
            bodies.add(ids)
            by_body += len(ids)
        return ids

    async with world() as there:
        there.upstream.users = {str(number): 1 for number in range(IDS + 1)}

        async def client(requests: int) -> None:
            for _ in range(requests):
                answer = await there.ask(*draw())
                assert answer.complete

        await asyncio.gather(*(client(REQUESTS // 32) for _ in range(32)))
        fetched = sum(there.upstream.ids.values())
        assert fetched / len(asked) == 1.0
        assert by_body / fetched > 10
