"""Random requests of every kind, each answer looked at; they go on until the proxy is killed under them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tests.crash.people import (
    TO_THE_MILLISECOND,
    Mark,
    People,
    Person,
    TornError,
    epoch_seconds,
    item,
    version_of,
)
from tests.e2e.busy import LOST
from tests.e2e.process import Process
from tests.integration.harness import Client, Response

ACTIVE = 60
"""People who may be asked for at a time: few enough to meet one another's requests."""

Asked = tuple[Person, Mark]
Operation = Callable[[Client, Client], Awaitable[None]]


class Load:
    """Workers before one run of the proxy after another."""

    def __init__(self, people: People, chance: random.Random) -> None:
        self.people = people
        self.chance = chance
        self.answers: Counter[str] = Counter()
        """By operation and status."""
        self.problems: list[str] = []
        self.progress = asyncio.Event()
        self.erasing = 0
        """Erasures under way."""
        self.leaving: set[Person] = set()
        """Of whom it is not known whether they are erased."""
        self._operations: list[tuple[Operation, int]] = [
            (self._bulk, 6), (self._single, 4), (self._unsafe, 4), (self._ensure, 6), (self._batch, 2),
            (self._login, 3), (self._refresh, 4), (self._patch, 4), (self._synced, 2), (self._get, 4),
            (self._explain, 1), (self._stale, 1), (self._erase, 2), (self._retire, 2), (self._grow, 2),
        ]  # fmt: skip

    @property
    def count(self) -> int:
        """Answers so far."""
        return self.answers.total()

    async def worker(self, proxy: Process) -> None:
        """One connection to either listener, request after request. Ends with the proxy, or at what must not be."""
        kinds, weights = zip(*self._operations, strict=True)
        try:
            async with proxy.client() as main, proxy.client("handshake") as api:
                while not self.problems:
                    (operation,) = self.chance.choices(kinds, weights)
                    await operation(main, api)
        except LOST:
            return
        except TornError as error:
            self.problems.append(str(error))
        finally:
            self.progress.set()

    def _take(self, name: str, response: Response, *expected: int, asked: Sequence[Asked] = ()) -> bool:
        """Count an answer; whether it is a 200. Who was erased meanwhile may be unavailable to those who asked."""
        self.answers[f"{name} {response.status}"] += 1
        self.progress.set()
        is_erased = any(person.erasing or mark.erasures != person.erasures for person, mark in asked)
        if response.status not in {200, *expected, *((503,) if is_erased else ())}:
            raise TornError(f"{name} was answered {response.status} {response.body[:300]!r}")
        return response.status == 200

    async def _bulk(self, main: Client, _api: Client) -> None:
        with self.people.some(self.chance.randint(1, 8)) as asked:
            response = await main.users(*(person.id for person, _ in asked))
            if self._take("bulk", response, asked=asked):
                users = response.json()["users"]
                if [user["id"] for user in users] != [person.id for person, _ in asked]:
                    raise TornError(f"a bulk leaves somebody out: {response.body[:200]!r}")
                for (person, mark), user in zip(asked, users, strict=True):
                    self._whole(person, mark, user["name"], response.body)

    async def _single(self, main: Client, _api: Client) -> None:
        with self.people.some(1) as ((person, mark),):
            response = await main.get(f"/users/{person.id}")
            if self._take("single", response, asked=[(person, mark)]):
                self._whole(person, mark, response.json()["name"], response.body)

    def _whole(self, person: Person, mark: Mark, name: str, body: bytes) -> None:
        version = version_of(person.id, name)
        if item(person.id, version) not in body:
            raise TornError(f"{person.id}: not the bytes of version {version}")
        person.check_item(version, mark)

    async def _unsafe(self, main: Client, _api: Client) -> None:
        """The owner changes somebody: nothing older may be shown once that is answered."""
        with self.people.some(1) as ((person, _),):
            async with person.lock:
                method = self.chance.choice(("PUT", "PATCH"))
                target = f"/users/{person.id}"
                response = await main.send_body(method, target, b"{}", "Content-Length: 2\r\n")
                if self._take("unsafe", response):
                    person.least = max(person.least, response.json()["version"])

    async def _ensure(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, mark),):
            response = await api.call("POST", "/v1/users/ensure", {"userId": person.id})
            if self._take("ensure", response, asked=[(person, mark)]):
                person.check(response.json(), mark)

    async def _batch(self, _main: Client, api: Client) -> None:
        with self.people.some(10) as asked:
            ids = [person.id for person, _ in asked]
            response = await api.call("POST", "/v1/users/ensure-batch", {"userIds": ids})
            if self._take("ensure-batch", response):
                marks = {person.id: (person, mark) for person, mark in asked}
                for user in response.json()["users"]:
                    person, mark = marks[user["userId"]]
                    person.check(user, mark)

    async def _login(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, mark),):
            ids = {"userId": person.id, "businessId": "acme"}
            response = await api.call("POST", "/v1/login", ids)
            if self._take("login", response, asked=[(person, mark)]):
                person.check(response.json()["user"], mark)

    async def _refresh(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, mark),):
            if self.chance.random() < 0.5:
                person.current += 1
            response = await api.call("POST", "/v1/users/refresh", {"userId": person.id})
            if self._take("refresh", response, asked=[(person, mark)]):
                person.check(response.json(), mark)

    async def _explain(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, _),):
            response = await api.call("POST", "/v1/users/explain", {"userId": person.id})
            self._take("explain", response)
            is_certain = person.shown_in == person.erasures and not person.erasing
            if is_certain and person.internal not in response.body.decode():
                raise TornError(f"{person.id} is explained without its id")

    async def _get(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, mark),):
            is_certain = person.shown_in == mark.erasures and not person.erasing
            response = await api.call("GET", f"/v1/users/{person.internal}")
            if self._take("get", response, 404, asked=[(person, mark)]):
                person.check(response.json(), mark)
            elif is_certain and person.erasures == mark.erasures:
                raise TornError(
                    f"{person.id}: its internal id was shown and leads nowhere: {response.status}"
                )

    async def _stale(self, _main: Client, api: Client) -> None:
        marks = {
            person.id: (person, person.mark()) for person in self.people.by_id.values() if not person.is_gone
        }
        response = await api.call("GET", "/v1/users/stale?hours=0&limit=20")
        if self._take("stale", response, 422):
            for user in response.json()["users"]:
                if user["userId"] not in marks:
                    raise TornError(f"{user['userId']} was erased and is listed")
                person, mark = marks[user["userId"]]
                person.check(user, mark)

    async def _patch(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, _),):
            async with person.lock:
                if person.shown_in != person.erasures:
                    return
                mark = person.mark()
                person.patches += 1
                person.locals.add(person.patches)
                local = person.local(person.patches)
                began = time.time()
                response = await api.call("PATCH", f"/v1/users/{person.internal}", local)
                if self._take("patch", response):
                    shown = response.json()
                    person.locals = {person.patches}
                    person.check(shown, mark)
                    # Forgotten before, it was fetched to be shown, and that change of the row is written behind.
                    is_fetched = epoch_seconds(shown["lastSyncedAt"]) >= began - TO_THE_MILLISECOND
                    person.version = max(person.version, shown["version"] - is_fetched)

    async def _synced(self, _main: Client, api: Client) -> None:
        with self.people.some(1) as ((person, _),):
            async with person.lock:
                now = time.time()
                response = await api.call("POST", "/v1/users/synced", {"userId": person.id})
                self._take("synced", response, 204, 404)
                if response.status == 204:
                    person.synced = now

    async def _erase(self, _main: Client, api: Client) -> None:
        """Erase somebody who may be asked for at the same time: of the versions until then nothing may stay."""
        with self.people.some(1) as ((person, _),):
            async with person.lock:
                await self._erase_now(api, person)

    async def _erase_now(self, api: Client, person: Person) -> None:
        before, person.current = person.current, person.current + 1
        is_certain = person.shown_in == person.erasures
        person.erasures += 1
        person.erasing = True
        self.erasing += 1
        self.progress.set()
        try:
            response = await api.call("DELETE", f"/v1/users/{person.internal}")
        finally:
            self.erasing -= 1
        # Of somebody who was never shown the row may be on its way still.
        is_done = self._take("erase", response, *(() if is_certain else (404,)))
        person.erasing = False
        person.locals, person.version, person.synced = {0}, 0, 0.0
        if is_done:
            person.dead = before

    async def _retire(self, _main: Client, api: Client) -> None:
        """Erase somebody whom nobody will ask for again: nothing may stay."""
        if len(self.people.active) < ACTIVE // 2:
            return
        person = self.chance.choice(self.people.active)
        self.people.active.remove(person)
        while person.users:
            self.progress.clear()
            await self.progress.wait()
        mark = person.mark()
        response = await api.call("POST", "/v1/users/ensure", {"userId": person.id})
        if self._take("ensure", response, asked=[(person, mark)]):
            person.check(response.json(), mark)
            await self.end(api, person)

    async def end(self, api: Client, person: Person) -> None:
        """Erase somebody for good; one whose erasure is not answered is among the `leaving`."""
        self.leaving.add(person)
        async with person.lock:
            await self._erase_now(api, person)
        self.leaving.discard(person)
        person.is_gone = True

    async def _grow(self, _main: Client, _api: Client) -> None:
        if len(self.people.active) < ACTIVE:
            self.people.born()
