"""Calls of the handshake API, each judged."""

import json
from time import monotonic
from typing import Any

from bench.soak.client import Answer, Request
from bench.soak.persons import LOCAL, Persons
from bench.soak.rules import BUSINESS, USER, Kind
from bench.soak.scene import Asker, Scene
from bench.soak.truth import MARK

_PAGES = 10
_ERASED = 400
"""So many erased people are asked about again and again; the files are searched for all of them at the end."""


class Calls:
    """What the calls share: what is known of people, and who was erased."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.persons = Persons(scene.judge)
        self.erased: list[str] = []
        self.unfinished: list[str] = []
        """Erasures that could not be done, or not be finished, at the time."""
        self._born = 0

    async def login(self, asker: Asker) -> None:
        """Both sides at a time."""
        user, business = (self.scene.crowds[kind.name].one(asker.rng) for kind in (USER, BUSINESS))
        answer = await self._post(asker, "login", "/v1/login", {"userId": user, "businessId": business})
        if answer is None:
            return
        ids = {USER: user, BUSINESS: business}
        if answer.status == 200:
            given = answer.json()
            for kind, entity in ids.items():
                source = given["source"][kind.name]
                self.persons.judge("login", kind, entity, given[kind.name], answer, source=source)
        elif answer.status == 404:
            pointers = {
                fault.get("pointer") or fault.get("name") for fault in answer.json().get("errors", [])
            }
            for kind, entity in ids.items():
                if f"#/{kind.id_member}" in pointers:
                    self.persons.absent("login", kind, entity, answer)
            if not pointers & {f"#/{kind.id_member}" for kind in ids}:
                self.scene.judge.wrong("login", "404 of nobody", str(answer.json())[:200], answer)
        else:
            self.persons.unavailable("login", USER, [], answer)

    async def ensure(self, asker: Asker) -> None:
        """One entity."""
        crowd = self.scene.crowd(asker.rng)
        await self._entity(asker, "ensure", crowd.kind, crowd.one(asker.rng))

    async def refresh(self, asker: Asker) -> None:
        """One entity, fetched now: nobody is shown an older one afterwards."""
        crowd = self.scene.crowd(asker.rng)
        await self._entity(asker, "refresh", crowd.kind, crowd.one(asker.rng))

    async def _entity(self, asker: Asker, call: str, kind: Kind, entity: str) -> Answer | None:
        answer = await self._post(asker, call, f"/v1/{kind.plural}/{call}", {kind.id_member: entity})
        if answer is None:
            return None
        if answer.status == 200:
            source = "miss" if call == "refresh" else "hit"
            self.persons.judge(call, kind, entity, answer.json(), answer, source=source)
        elif answer.status == 404:
            self.persons.absent(call, kind, entity, answer)
        else:
            ids = [] if call == "refresh" else [entity]
            self.persons.unavailable(call, kind, ids, answer)
        return answer

    async def batch(self, asker: Asker) -> None:
        """Many at a time."""
        crowd = self.scene.crowd(asker.rng)
        await self.have(asker, crowd.kind, crowd.some(asker.rng, 20))

    async def have(self, asker: Asker, kind: Kind, ids: list[str]) -> None:
        """All of these at a time; a part that fails does not fail the others."""
        answer = await self._post(asker, "batch", f"/v1/{kind.plural}/ensure-batch", {kind.ids: ids})
        if answer is None:
            return
        if answer.status != 200:
            self.persons.unavailable("batch", kind, ids, answer)
            return
        given = answer.json()
        found = {person[kind.id_member]: person for person in given[kind.plural]}
        if sorted([*found, *given["missing"], *given["failed"]]) != sorted(ids):
            self.scene.judge.wrong("batch", "not the ids that were asked for", f"{len(ids)}", answer)
        for entity, person in found.items():
            self.persons.judge("batch", kind, entity, person, answer)
        for entity in given["missing"]:
            self.persons.absent("batch", kind, entity, answer)
        trouble = self.scene.trouble
        if given["failed"] and not trouble.upstream(answer.asked) and not trouble.store(answer.asked):
            self.scene.judge.wrong("batch", "some failed without a fault", f"{len(given['failed'])}", answer)

    async def exists(self, asker: Asker) -> None:
        """Whether there is a local copy; and explain, which says more."""
        entity = self.scene.crowds["user"].one(asker.rng)
        for call in ("exists", "explain"):
            answer = await self._post(asker, call, f"/v1/users/{call}", {"userId": entity})
            if answer is None:
                continue
            if answer.status != 200:
                self.persons.unavailable(call, USER, [entity], answer)
                continue
            given = answer.json()
            if given["id"] not in {None, USER.internal(entity)}:
                self.scene.judge.wrong(call, "another id than ever before", entity, answer)
            if call == "explain" and given["id"] is None and self.persons.is_known(USER, entity):
                self.scene.judge.wrong(call, "an id that was shown is not known", entity, answer)

    async def synced(self, asker: Asker) -> None:
        """Move the time of last sync of somebody known."""
        entity = self._somebody(asker)
        if entity is None:
            return
        answer = await self._post(asker, "synced", "/v1/users/synced", {"userId": entity})
        if answer is not None and answer.status != 204:
            self.persons.unavailable("synced", USER, [], answer)

    async def get(self, asker: Asker) -> None:
        """Somebody known, by the internal id that was shown."""
        entity = self._somebody(asker)
        if entity is None:
            return
        target = f"/v1/users/{USER.internal(entity)}?include=data"
        answer = await asker.ask("get", self.scene.handshake, Request("GET", target))
        if answer is None:
            return
        if answer.status == 200:
            self.persons.judge("get", USER, entity, answer.json(), answer)
        elif answer.status == 404:
            self.persons.absent("get", USER, entity, answer)
        else:
            self.persons.unavailable("get", USER, [entity], answer)

    async def patch(self, asker: Asker) -> None:
        """Set local attributes of somebody known; what was confirmed is shown from then on."""
        entity = self._somebody(asker)
        if entity is not None:
            async with self.scene.writing(entity):
                await self._patch(asker, entity)

    async def _patch(self, asker: Asker, entity: str) -> None:
        rng = asker.rng
        values: dict[str, Any] = {
            "departmentId": rng.choice((None, f"d-{rng.randrange(1000)}")),
            "isFieldWorker": rng.choice((None, True, False)),
        }
        named = rng.sample(LOCAL, rng.choice((1, 2)))
        registers = self.persons.of(USER, entity).locals
        for name in named:
            registers[name].begin(values[name])
        body = json.dumps({name: values[name] for name in named}).encode()
        request = Request("PATCH", f"/v1/users/{USER.internal(entity)}", _JSON, body)
        answer = await asker.ask("patch", self.scene.handshake, request)
        if answer is None:
            return
        if answer.status != 200:
            self.persons.unavailable("patch", USER, [], answer)
            return
        given = answer.json()
        if any(given[name] != values[name] for name in named):
            self.scene.judge.wrong("patch", "answered with another value", entity, answer)
        self.persons.judge("patch", USER, entity, given, answer, source="stale", husk=True)
        for name in named:
            registers[name].done(values[name], answer.answered)

    async def stale(self, asker: Asker) -> None:
        """Page through who was not synced for some seconds."""
        cursor = ""
        for _ in range(_PAGES):
            target = f"/v1/users/stale?hours=0.002&limit=50{cursor}"
            answer = await asker.ask("stale", self.scene.handshake, Request("GET", target))
            if answer is None:
                return
            if answer.status != 200:
                self.persons.unavailable("stale", USER, [], answer)
                return
            given = answer.json()
            for person in given["users"]:
                entity = person["userId"]
                self.persons.judge("stale", USER, entity, person, answer, source="stale", husk=True)
                if entity in self.erased:
                    self.scene.judge.wrong("stale", "an erased entity is listed", entity, answer)
            if given["next"] is None:
                return
            cursor = f"&cursor={given['next']}"

    async def erase(self, asker: Asker) -> None:
        """Somebody comes, is given a department, leaves, and is erased: nothing is left."""
        self._born += 1
        entity = f"{MARK}erased-{self._born:06d}"
        self.scene.truth.change(USER, entity, monotonic())
        answer = await self._entity(asker, "ensure", USER, entity)
        if answer is None or answer.status != 200:
            return
        await self._patch(asker, entity)
        self.scene.truth.change(USER, entity, monotonic(), present=False)
        request = Request("DELETE", f"/v1/users/{USER.internal(entity)}")
        answer = await asker.ask("erase", self.scene.handshake, request)
        if answer is None:
            return
        if answer.status == 200:
            self.scene.truth.fence(USER, entity, answer.answered, 2)
            self.erased.append(entity)
        else:
            self.persons.unavailable("erase", USER, [], answer, reading=True)
            self.unfinished.append(entity)

    async def finish_erasures(self, asker: Asker) -> None:
        """Ask once more for what could not be done at the time; now nobody is in the way."""
        for entity in self.unfinished:
            request = Request("DELETE", f"/v1/users/{USER.internal(entity)}")
            answer = await asker.ask("erase", self.scene.handshake, request)
            if answer is None or answer.status not in {200, 404}:
                self.scene.verdicts.violation(
                    monotonic(), "an erasure that can't be finished", "erase", entity
                )
            else:
                self.erased.append(entity)

    async def erased_again(self, asker: Asker) -> None:
        """Nobody who was erased is ever found again."""
        if not self.erased:
            return
        entity = asker.rng.choice(self.erased[-_ERASED:])
        await self._entity(asker, "ensure", USER, entity)
        answer = await self._post(asker, "exists", "/v1/users/exists", {"userId": entity})
        if answer is not None and answer.status == 200 and answer.json()["exists"]:
            self.scene.judge.wrong("exists", "an erased entity is there", entity, answer)
        request = Request("GET", f"/v1/users/{USER.internal(entity)}")
        answer = await asker.ask("get", self.scene.handshake, request)
        if answer is not None and answer.status != 404:
            self.persons.unavailable("get", USER, [], answer)

    def _somebody(self, asker: Asker) -> str | None:
        entity = self.scene.crowds["user"].one(asker.rng)
        return entity if self.persons.is_known(USER, entity) else None

    async def _post(self, asker: Asker, place: str, target: str, document: object) -> Answer | None:
        request = Request("POST", target, _JSON, json.dumps(document).encode())
        return await asker.ask(place, self.scene.handshake, request)


_JSON = (("Content-Type", "application/json"),)
