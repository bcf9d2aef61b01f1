"""Bulk calls as an application makes them: popular users come often, and no two calls are alike.

A cache of responses that is keyed on the body can hardly ever answer one; a cache of entities fetches each user once.
"""

import itertools
import random
from collections.abc import Sequence

import uvloop

from bench.load import post
from bench.origin import BULK
from bench.peers.results import Fetched
from bench.peers.rounds import fetched, load_all
from bench.peers.servers import Server

USERS = 10_000
LARGEST = 20
"""Ids of the largest call."""
_CONNECTIONS = 8


def draw(requests: int, seed: int = 1) -> list[list[str]]:
    """So many calls of 1 to 20 different ids each, the same for the same seed.

    The user of rank r is drawn with a weight of 1/r: Zipf's law with s = 1, over 10,000 users.
    """
    source = random.Random(seed)  # noqa: S311 - no secret
    ranks = range(USERS)
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in ranks))
    calls = []
    for _ in range(requests):
        size = source.randint(1, LARGEST)
        chosen: dict[int, None] = {}
        while len(chosen) < size:
            chosen[source.choices(ranks, cum_weights=weights)[0]] = None
        calls.append([f"z{rank}" for rank in chosen])
    return calls


def measure(origin: str, servers: Sequence[Server], requests: int) -> list[Fetched]:
    """The same calls through each server, and what each had the upstream deliver. Raises BenchError."""
    calls = draw(requests)
    asked = sum(len(ids) for ids in calls)
    distinct = len({entity for ids in calls for entity in ids})
    found = []
    for server in servers:
        address = server.address
        before = fetched(origin)

        def request(index: int, address: str = address) -> bytes:
            return post(address, BULK, {"userIds": calls[index]})

        uvloop.run(load_all(address, request, requests, _CONNECTIONS))
        after = fetched(origin)
        found.append(
            Fetched(server.name, requests, asked, distinct, after[0] - before[0], after[1] - before[1])
        )
    return found
