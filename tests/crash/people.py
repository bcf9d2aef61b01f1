"""The people of the crash harness: what their owner sends, and what the answers so far have bound the proxy to."""

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.integration.handshake import internal_id
from tests.integration.harness import ScriptedUpstream, Seen

VERSION = re.compile(r"-v(\d+)\.")


TO_THE_MILLISECOND = 0.002
"""Seconds by which a time that is shown may differ."""


class TornError(Exception):
    """Something was shown, or is stored, that must not be."""


def item(entity: str, version: int) -> bytes:
    """What the owner sends of a version: each has its own name, and its own size of some bytes to some pages."""
    chance = random.Random(f"{entity} {version}")
    size = 40_000 if chance.random() < 0.02 else chance.randrange(2_000)
    name = f"{entity}-v{version}."
    document = {
        "id": entity,
        "name": name,
        "email": f"{name}@example.org",
        "kahaId": f"K-{name}",
        "pad": "p" * size,
    }
    return json.dumps(document).encode()


def version_of(entity: str, name: Any) -> int:
    """Which version a name is of. Raises TornError."""
    found = VERSION.search(str(name))
    if found is None or name != f"{entity}-v{found[1]}.":
        raise TornError(f"{name!r} is no name of {entity}")
    return int(found[1])


def epoch_seconds(text: str) -> float:
    """A time as it is shown and stored."""
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True, slots=True)
class Mark:
    """What was certain of a person when a request was sent."""

    erasures: int | None
    """How many had begun, or None while one was under way: its answer may overtake others'."""
    least: int
    local: int
    version: int
    synced: float


@dataclass(slots=True, eq=False)
class Person:
    """One user. What concerns writes is changed by whoever has the lock."""

    id: str
    internal: str
    current: int = 1
    """The version that the owner has."""
    least: int = 1
    """No version before this may be shown: an unsafe method was answered."""
    locals: set[int] = field(default_factory=lambda: {0})
    """Local attributes that the row may have, by the number of their PATCH: one, or two when an answer is missing."""
    patches: int = 0
    version: int = 0
    """Of our row, as a change that was answered has shown it."""
    synced: float = 0.0
    erasures: int = 0
    """How many have begun."""
    erasing: bool = False
    """One has not been answered."""
    shown_in: int = -1
    """Before which erasure an answer has shown the internal id."""
    dead: int = 0
    """Versions up to this are erased for good."""
    is_gone: bool = False
    """Erased, and never asked for again."""
    users: int = 0
    """Requests about it that are under way."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def mark(self) -> Mark:
        return Mark(
            None if self.erasing else self.erasures, self.least, min(self.locals), self.version, self.synced
        )

    def local(self, number: int) -> dict[str, Any]:
        """The local attributes of a PATCH; they belong together."""
        return {"departmentId": f"department {number}", "isFieldWorker": bool(number % 2)}

    def local_number(self, department: Any, is_field_worker: Any) -> int:
        """The PATCH that these are from, 0 for none. Raises TornError for those of two."""
        number = 0 if department is None else int(str(department).rpartition(" ")[2])
        expected = self.local(number) if number else {"departmentId": None, "isFieldWorker": None}
        flag = is_field_worker if is_field_worker is None else bool(is_field_worker)
        if expected != {"departmentId": department, "isFieldWorker": flag}:
            raise TornError(f"{self.id}: {department!r} and {is_field_worker!r} were not set together")
        return number

    def check_item(self, version: int, mark: Mark) -> None:
        """A version that an answer shows."""
        least = mark.least if mark.erasures == self.erasures and not self.erasing else self.dead
        if not least <= version <= self.current:
            raise TornError(f"{self.id}: version {version} is not between {least} and {self.current}")

    def check(self, shown: dict[str, Any], mark: Mark) -> None:
        """What a call of the handshake API shows. Raises TornError."""
        if shown["id"] != self.internal:
            raise TornError(f"{self.id}: the internal id has become {shown['id']}")
        version = version_of(self.id, shown["name"])
        columns = json.loads(item(self.id, version))
        if any(shown[name] != columns[name] for name in ("name", "email", "kahaId")):
            raise TornError(f"{self.id}: a mixture of versions: {shown}")
        self.check_item(version, mark)
        number = self.local_number(shown["departmentId"], shown["isFieldWorker"])
        if mark.erasures != self.erasures or self.erasing:
            return
        if not mark.local <= number <= self.patches:
            raise TornError(f"{self.id}: local attributes {number}, not {mark.local} to {self.patches}")
        if shown["version"] < mark.version:
            raise TornError(f"{self.id}: version {shown['version']} after {mark.version}")
        self.shown_in = self.erasures


class People(ScriptedUpstream):
    """Everybody, and the service that owns them; `is_down` makes it fail."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(self._answer)
        self._chance = chance
        self.by_id: dict[str, Person] = {}
        self.active: list[Person] = []
        """Who may be asked for."""
        self.is_down = False

    def born(self, imported: str | None = None) -> Person:
        """Somebody new, whom the proxy will name by itself if no import has."""
        digest = hashlib.sha256(b"%d" % self._chance.getrandbits(64)).hexdigest()[:12]
        entity = f"person{len(self.by_id):05}{digest}"
        person = Person(entity, imported or internal_id(entity))
        self.by_id[entity] = person
        self.active.append(person)
        return person

    @contextmanager
    def some(self, count: int) -> Iterator[list[tuple[Person, Mark]]]:
        """People to ask for, who stay as long as that takes."""
        chosen = self._chance.sample(self.active, min(count, len(self.active)))
        for person in chosen:
            person.users += 1
        try:
            yield [(person, person.mark()) for person in chosen]
        finally:
            for person in chosen:
                person.users -= 1

    async def _answer(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.clear()  # nobody looks at them, and they would grow without end
        method, target, _ = seen.line.decode().split(" ")
        if self.is_down:
            writer.write(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n")
            return
        if "/bulk" in target:
            (member, ids), *_ = json.loads(seen.body).items()
            if member == "businessIds":
                found = [b'{"id":"%b","name":"Acme"}' % entity.encode() for entity in ids]
            else:
                found = [item(entity, self.by_id[entity].current) for entity in ids if entity in self.by_id]
            body = b'{"%b":[%b],"count":%d}' % (member[:-3].encode() + b"s", b",".join(found), len(found))
            body = body.replace(b'{"businesss"', b'{"businesses"', 1)
        else:
            person = self.by_id[target.rpartition("/")[2]]
            if method == "GET":
                body = item(person.id, person.current)
            else:
                person.current += 1
                body = b'{"version":%d}' % person.current
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
