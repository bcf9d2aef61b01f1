"""What two servers could read differently, the fast lane and the way without it read alike: between plain hits on one
connection, where the lane has answered by the bytes alone, and would again."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.corpus import Expect, Sample
from tests.hostile.judge import cut
from tests.hostile.test_smuggling import CORPUS
from tests.integration.people import BULK
from tests.integration.twins import Twins, bulk, get, twins

# The paths of the corpus are those of entities, so that a request which is taken for another would find one.
RESOURCES: dict[str, Any] = {
    "user": {
        "id": "/id",
        "storage": "memory",
        "single": {"path": "/{id}"},
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
    }
}
PLAIN = (get("/x"), get("/smuggled"), bulk("a1"))
# Of each sample, beside the whole in one segment; what each byte's place does is tried elsewhere.
CUTS = 4 if os.environ.get("CI") else 0


async def _sent_between_hits(there: Twins, sample: Sample, pieces: Sequence[bytes]) -> None:
    async with there.pair() as pair:
        for request in PLAIN:
            await pair.times(3, request)  # the sample before may have been one that invalidates
        there.clock.tick(0.0173)  # never a whole second: at that moment a head is written anew each time
        for request in PLAIN:
            await pair.ask(request)
        unread = there.unread
        for request in PLAIN:
            await pair.ask(request)
        assert there.unread == unread + len(PLAIN)
        await pair.send(*pieces)
        if sample.expect not in {Expect.ONE, Expect.TWO}:
            await pair.rest()
        else:
            for line in sample.sees:
                while (await pair.receive(head_only=line[0] == b"HEAD")).status < 200:
                    pass
            for request in PLAIN * 2:
                await pair.ask(request)
    async with there.pair() as another:
        for request in PLAIN:
            await another.ask(request)


@pytest.mark.parametrize("group", CORPUS)
async def test_the_lane_reads_a_request_as_it_is_read_without(group: str, tmp_path: Path) -> None:
    async with twins(tmp_path, RESOURCES) as there:
        async with there.pair() as pair:
            for request in PLAIN:
                await pair.warm(request)
        for sample in CORPUS[group]:
            try:
                for pieces in ([sample.data], *cut(sample, CUTS)):
                    await _sent_between_hits(there, sample, pieces)
                    await there.calm()
            except (AssertionError, OSError, EOFError, TimeoutError) as error:
                error.add_note(f"sample: {sample.name}")
                raise
