"""What the upstream had, and when: against this every answer is judged.

An item is a function of its id and its version, so that any answer can be told to be a version that there was, to the
byte. Times are monotonic seconds of the process that makes the load.
"""

import json
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import Any
from zlib import crc32

from bench.soak.rules import SLACK, TIMEOUT, Kind

MARK = "soak-"
"""All made-up ids begin so: none may stand in a log."""
_LONGEST_FILLING = 1500


@lru_cache(maxsize=20_000)
def item(kind: Kind, entity: str, number: int) -> bytes:
    """The bytes of a version, with spacing of its own that nobody may change."""
    seal = crc32(f"{kind.name} {entity} {number}".encode())
    members: dict[str, Any] = {"id": entity, "v": number}
    members |= {member: f"{member} {number} of {entity} \u00e9" for _, member in kind.columns}
    members |= {"balance": seal / 100, "seal": seal, "filling": "x" * (seal % _LONGEST_FILLING)}
    spaces = (",", ", ", ",  ", " ,\n ")[seal % 4], (":", " : ", ": ")[seal % 3]
    return json.dumps(members, separators=spaces, ensure_ascii=bool(seal % 2)).encode()


def etag(kind: Kind, entity: str, number: int) -> str:
    """The validator of a version."""
    return f'"{crc32(f"{kind.name}/{entity}".encode()):08x}-{number}"'


def version_of(member: object) -> int | None:
    """The version that a column of the handshake API says it is of."""
    words = str(member).split(" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


@dataclass(slots=True)
class Life:
    """The versions of one entity: number 0 is before there was any."""

    since: list[float] = field(default_factory=lambda: [-inf])
    present: list[bool] = field(default_factory=lambda: [False])
    fences: list[tuple[float, int]] = field(default_factory=list)
    """From a moment on, nothing older than a version: an invalidation was answered."""

    @property
    def number(self) -> int:
        """The version of now."""
        return len(self.since) - 1

    def until(self, number: int) -> float:
        """When a version was over."""
        return self.since[number + 1] if number < self.number else inf

    def least(self, asked: float) -> int:
        """The oldest version that a request made at this moment may see."""
        return max((number for moment, number in self.fences if moment < asked), default=0)


@dataclass(frozen=True, slots=True)
class Shown:
    """When something was shown, and how old it is said to be."""

    asked: float
    answered: float
    oldest: float
    """Seconds that may lie between the upstream's saying so and the answer."""

    @classmethod
    def fetched(cls, asked: float, answered: float) -> "Shown":
        """By a call that the request may have joined."""
        return cls(asked, answered, 0.0)

    @property
    def begin(self) -> float:
        """The earliest moment at which the upstream may have said so."""
        return self.asked - self.oldest - TIMEOUT - SLACK


class Truth:
    """Every entity of every kind."""

    def __init__(self) -> None:
        self._lives: dict[tuple[str, str], Life] = {}

    def life(self, kind: Kind, entity: str) -> Life:
        """What became of an entity so far."""
        return self._lives.setdefault((kind.name, entity), Life())

    def change(self, kind: Kind, entity: str, now: float, *, present: bool = True) -> int:
        """A new version, or the end of the entity; the number."""
        life = self.life(kind, entity)
        life.since.append(now)
        life.present.append(present)
        return life.number

    def current(self, kind: Kind, entity: str) -> tuple[int, bytes | None]:
        """The version of now, and its bytes if there is one."""
        life = self._lives.get((kind.name, entity))
        if life is None or not life.present[-1]:
            return (0 if life is None else life.number), None
        return life.number, item(kind, entity, life.number)

    def fence(self, kind: Kind, entity: str, answered: float, number: int) -> None:
        """A change was answered at that moment: who asks after it must see this version or a later one."""
        fences = self.life(kind, entity).fences
        fences.append((answered, number))

    def wrong(self, kind: Kind, entity: str, number: int | None, shown: Shown) -> str | None:
        """What is wrong with an answer that shows this version (None: absence), or None if nothing is."""
        life = self.life(kind, entity)
        least = life.least(shown.asked)
        if number is None:
            return self._wrong_absence(life, least, shown)
        if not 0 < number <= life.number or not life.present[number]:
            return "there was no such version"
        if life.since[number] > shown.answered:
            return "the version is from later than the answer"
        if number < least:
            return "it was invalidated"
        if life.until(number) < shown.begin:
            return "older than it says, or may be"
        return None

    @staticmethod
    def _wrong_absence(life: Life, least: int, shown: Shown) -> str | None:
        first = max(least, bisect_left(life.since, shown.begin) - 1, 0)
        for number in range(first, life.number + 1):
            if life.since[number] > shown.answered:
                break
            if not life.present[number]:
                return None
        return "said to be absent when it was there"


_UNSET: Any = None


@dataclass(slots=True)
class Register:
    """A value that is written by one at a time and read by many: what a read may find.

    A write that was answered counts from there on. One that failed, or was never answered, may or may not have been
    done; nobody can tell until the next that was.
    """

    certain: Any = _UNSET
    since: float = -inf
    """When the certain value was answered."""
    before: list[tuple[Any, float]] = field(default_factory=list)
    """Values that were certain or possible before, and until when."""
    possible: list[Any] = field(default_factory=list)
    """Values of writes after the certain one that are under way or of which nobody knows."""

    def begin(self, value: Any) -> None:
        """A write is sent."""
        self.possible.append(value)

    def done(self, value: Any, now: float) -> None:
        """The write was answered."""
        self.before = [(self.certain, now), *((other, now) for other in self.possible if other != value)] + [
            (old, until) for old, until in self.before if until > now - 60
        ]
        self.certain, self.since, self.possible = value, now, []

    def allows(self, value: Any, asked: float) -> bool:
        """Whether a read that was sent at this moment may find the value."""
        if value == self.certain or value in self.possible:
            return True
        return any(value == old and asked <= until for old, until in self.before)
