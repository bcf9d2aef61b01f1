"""Start, load, kill, look; as often as asked."""

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.files import check_erased, check_rows, copied, rows
from tests.crash.load import ACTIVE, Load
from tests.crash.people import People, TornError
from tests.e2e.process import Process, serving

WORKERS = 12
MOST_ANSWERS = 500
"""Before a kill: the first write of all, and after everything has been written a few times."""

RESOURCES = json.dumps(
    {
        "user": {
            "columns": {"name": "/name", "email": "/email", "kaha_id": "/kahaId"},
            "id": "/id",
            # Short, so that there is much to write.
            "freshness": {"ttl": "1s", "stale_while_revalidate": "30d", "stale_if_error": "90d"},
            "bulk": {
                "path": "/main/api/v3/users/bulk",
                "ids": "/userIds",
                "items": "/users",
                "count": "/count",
            },
            "single": {"path": "/users/{id}"},
        },
        "business": {
            "columns": {"name": "/name"},
            "id": "/id",
            "storage": "memory",
            "bulk": {"path": "/main/api/v3/businesses/bulk", "ids": "/businessIds", "items": "/businesses"},
        },
    }
)
ENVIRONMENT = {
    "HANDSHAKE_RESOURCES": RESOURCES,
    # The outages here are ours: the circuit would only make them longer.
    "HANDSHAKE_UPSTREAMS__MAIN__CIRCUIT__FAILURES": "100000",
}
NEVER_LOGGED = ("store_set_aside", "store_degraded", "store_failed", "internal_error", "Traceback")


@dataclass
class Summary:
    """What was done and found."""

    kills: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    in_erasures: int = 0
    """Kills while an erasure was under way."""
    stored: int = 0
    """Rows that were looked at."""
    erased: int = 0
    """Things that were looked for and not found, after the last kill."""

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.seconds:.0f} s, {self.in_erasures} of them during an erasure; "
            f"{self.answers.total()} answers; {self.stored} rows looked at; {self.erased} erased texts not found"
        )


class Harness:
    """One store in one directory, and everything that has been answered about it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory / "store"
        self.directory.mkdir()
        self._copy = directory / "copy"
        self._chance = random.Random(seed)
        self.people = People(random.Random(seed + 1))
        self.load = Load(self.people, random.Random(seed + 2))
        self.summary = Summary(answers=self.load.answers)

    async def run(self, kills: int, *, within: float) -> Summary:
        """Kill it that often, or until so many seconds are over. Raises TornError."""
        started = time.monotonic()
        for _ in range(ACTIVE // 2):
            self.people.born()
        async with self.people:
            while self.summary.kills < kills and time.monotonic() - started < within:
                async with serving(self.people.url, self.directory, **ENVIRONMENT) as proxy:
                    await self._meet(proxy)
                    await self._until_killed(proxy)
                self._look()
            async with serving(self.people.url, self.directory, **ENVIRONMENT) as proxy:
                await self._meet(proxy)
                if await proxy.terminate():
                    raise TornError("it does not stop in good order")
            self._look()
        self.summary.seconds = time.monotonic() - started
        return self.summary

    async def _meet(self, proxy: Process) -> None:
        """Everybody who is stored is answered while the owner is down, by either id."""
        self._check_log()
        known = rows(copied(self.directory, self._copy))
        self.people.is_down = True
        try:
            async with proxy.client("handshake") as api:
                for person in sorted(self.load.leaving, key=lambda person: person.id):
                    await self.load.end(api, person)
                    known.pop(person.id, None)
                for entity in self._chance.sample(sorted(known), min(20, len(known))):
                    person, row = self.people.by_id[entity], known[entity]
                    response = await api.call("GET", f"/v1/users/{person.internal}")
                    if row["item"] is None:
                        continue  # forgotten for every use, and nobody to ask
                    if response.status != 200:
                        raise TornError(f"{entity} is stored, and answered {response.status}")
                    person.check(response.json(), person.mark())
                    again = await api.call("POST", "/v1/users/ensure", {"userId": entity})
                    if again.status != 200:
                        raise TornError(f"{entity} is stored, and its login is answered {again.status}")
                    person.check(again.json(), person.mark())
        finally:
            self.people.is_down = False

    async def _until_killed(self, proxy: Process) -> None:
        workers = [asyncio.create_task(self.load.worker(proxy)) for _ in range(WORKERS)]
        wanted = self.load.count + self._chance.randrange(MOST_ANSWERS)
        in_erasure = self._chance.random() < 0.4
        async with asyncio.timeout(30):
            while not self.load.problems and (
                self.load.count < wanted or (in_erasure and not self.load.erasing)
            ):
                self.load.progress.clear()
                await self.load.progress.wait()
        for _ in range(self._chance.randrange(200)):  # some moments more
            await asyncio.sleep(0)
        self.summary.in_erasures += bool(self.load.erasing)
        await proxy.kill()
        self.summary.kills += 1
        for worker in workers:
            worker.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*workers, return_exceptions=True)
        if self.load.problems:
            raise TornError(self.load.problems[0])

    def _look(self) -> None:
        self.summary.erased = check_erased(self.directory, self.people)
        found = rows(copied(self.directory, self._copy))
        check_rows(found, self.people)
        self.summary.stored += len(found)
        self._check_log()

    def _check_log(self) -> None:
        for line in (self.directory / "log").read_text().splitlines():
            if any(word in line for word in NEVER_LOGGED):
                raise TornError(line)
