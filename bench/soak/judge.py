"""Holds the answers of the transparent listener against the model."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.soak.client import Answer, BadFraming
from bench.soak.held import Held
from bench.soak.rules import JITTER, REVALIDATE_TIMEOUT, Kind
from bench.soak.trouble import Trouble
from bench.soak.truth import Shown, Truth, etag, item
from bench.soak.upstream import envelope
from bench.soak.verdicts import Verdicts

_STATUS = re.compile(
    r"handshake-proxy(?:; hit; ttl=(?P<ttl>-?\d+)"
    r"|; fwd=bypass; detail=(?P<bypass>[a-z-]+)"
    r"|; fwd=(?P<fwd>uri-miss|stale|request|miss)(?:; fwd-status=(?P<status>\d{3}))?"
    r"(?P<stored>; stored)?(?:; collapsed)?"
    r'(?:; detail="(?P<detail>[a-z0-9=,]+)")?)'
)
_FAILED = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Cached:
    """What Cache-Status and Age say."""

    word: str
    """hit, stale, miss, partial, bypass."""
    ttl: int | None = None
    age: int | None = None
    stored: bool = False

    @classmethod
    def of(cls, answer: Answer) -> "Cached":
        """Raises BadFraming for what no such cache says."""
        text, age = answer.field("cache-status"), answer.field("age")
        match = _STATUS.fullmatch(text or "")
        if match is None or (age is not None and not age.isdigit()):
            raise BadFraming(f"Cache-Status {text!r}, Age {age!r}")
        seconds = None if age is None else int(age)
        if match["ttl"] is not None:
            ttl = int(match["ttl"])
            return cls("hit" if ttl >= 0 else "stale", ttl, seconds, stored=True)
        if match["bypass"] is not None:
            return cls("bypass")
        word = "partial" if match["detail"] else "miss"
        stored = bool(match["stored"]) or match["status"] == "304"
        return cls(word, None, seconds, stored)


class Judge:
    """Says what is wrong with an answer, if anything is."""

    def __init__(self, truth: Truth, trouble: Trouble, held: Held, verdicts: Verdicts) -> None:
        self.truth = truth
        self.trouble = trouble
        self.held = held
        self.verdicts = verdicts

    def bulk(
        self, kind: Kind, ids: Sequence[str], answer: Answer, arrived: int, *, past: bool = False
    ) -> None:
        """A bulk answer. `arrived`: how often the request itself reached the upstream; `past`: it was to go past the
        cache."""
        place = f"{kind.name}.bulk"
        if answer.status != 200:
            self.failed(place, kind, () if past else ids, answer)
            return
        cached = self._cached(place, kind, answer, arrived)
        if cached is None:
            return
        try:
            shown = [(entity["id"], int(entity["v"])) for entity in answer.json()[kind.plural]]
        except (ValueError, KeyError, TypeError):
            self.wrong(place, "no such answer", answer.body[:60].decode(errors="replace"), answer)
            return
        items = [item(kind, entity, number) for entity, number in shown]
        if cached.word == "bypass":
            expected = envelope(kind, items)
        else:
            expected = b'{"%b":[%b],"count":%d}' % (kind.plural.encode(), b",".join(items), len(items))
        if answer.body != expected:
            self.wrong(place, "not the bytes of the upstream", f"{len(answer.body)} bytes", answer)
        versions = dict(shown)
        if [entity for entity in ids if entity in versions] != [entity for entity, _ in shown]:
            self.wrong(place, "order or choice of items", f"{ids[:5]} against {shown[:5]}", answer)
        for entity in dict.fromkeys(ids):
            self.entity(place, kind, entity, versions.get(entity), answer, cached)

    def single(
        self,
        kind: Kind,
        entity: str,
        answer: Answer,
        arrived: int,
        *,
        head: bool = False,
        known: int | None = None,
        past: bool = False,
        part: int | None = None,
    ) -> None:
        """The answer to a GET or HEAD. `known`: the version whose validator the request had; `past` as above; `part`:
        so many bytes of the beginning were asked for."""
        place = f"{kind.name}.single"
        if answer.status not in {200, 304, 404} | ({206} if part else set()):
            self.failed(place, kind, () if past else [entity], answer)
            return
        cached = self._cached(place, kind, answer, arrived)
        if cached is None:
            return
        number: int | None = None
        if answer.status == 304:
            number = known
            if known is None or answer.field("etag") != etag(kind, entity, known):
                self.wrong(place, "304 of another version", f"{entity} {known}", answer)
                return
        elif answer.status in {200, 206}:
            number = self._shown(place, kind, entity, answer, part=None if head else part, head=head)
            if number is None:
                return
        self.entity(place, kind, entity, number, answer, cached)

    def _shown(
        self, place: str, kind: Kind, entity: str, answer: Answer, *, part: int | None, head: bool
    ) -> int | None:
        """The version that an answer shows; None if that can't be told, or it shows none."""
        tag = answer.field("etag")
        if head or answer.status == 206:
            if tag is None:
                return None  # it may be of any version
            number: int | None = int(tag.strip('"').rpartition("-")[2])
        else:
            number = self._number(kind, entity, answer)
        if number is None:
            self.wrong(place, "not the bytes of the upstream", entity, answer)
            return None
        whole = item(kind, entity, number)
        placed = f"bytes 0-{(part or 0) - 1}/{len(whole)}"
        if answer.status == 206 and (answer.body != whole[:part] or answer.field("content-range") != placed):
            self.wrong(place, "not that part of it", f"{entity} {number}", answer)
            return None
        if tag is not None and tag != etag(kind, entity, number):
            self.wrong(place, "validator of another version", f"{entity} {number}", answer)
        return number

    @staticmethod
    def _number(kind: Kind, entity: str, answer: Answer) -> int | None:
        try:
            number = int(json.loads(answer.body)["v"])
        except (ValueError, KeyError, TypeError):
            return None
        return number if answer.body == item(kind, entity, number) else None

    def entity(
        self, place: str, kind: Kind, entity: str, number: int | None, answer: Answer, cached: Cached
    ) -> None:
        """One entity of an answer, or its absence."""
        self.verdicts.judged["absence" if number is None else cached.word] += 1
        if cached.word in {"hit", "stale"} and self.trouble.fails_now:
            self.verdicts.judged["held while the upstream failed"] += 1
        shown = Shown.fetched(answer.asked, answer.answered)
        if number is not None and cached.age is not None:
            shown = replace(shown, oldest=cached.age + 1.0)
        elif number is None and cached.word != "bypass":
            shown = replace(shown, oldest=kind.negative_ttl + 1.0)
        why = self.truth.wrong(kind, entity, number, shown)
        if why is not None:
            self.wrong(place, why, f"{entity} version {number} by {cached}", answer)
        elif number is not None and cached.stored:
            self.held.seen(kind, entity, answer.asked, answer.asked - (cached.age or 0) - 1)

    def failed(
        self, place: str, kind: Kind, ids: Sequence[str], answer: Answer, *, alone: bool = False
    ) -> None:
        """An answer that is a failure: there must be a reason for it. `alone`: the request took what is held alone."""
        if answer.status not in _FAILED:
            self.wrong(place, f"status {answer.status}", "", answer)
            return
        self.made_by_us(place, answer)
        if alone:
            return
        if not self.trouble.upstream(answer.asked):
            self.wrong(place, f"status {answer.status} without a fault", "", answer)
        elif ids and all(self.held.surely(kind, entity, answer.asked) for entity in ids):
            self.wrong(place, f"status {answer.status} though all is held", f"{ids[:3]}", answer)
        else:
            self.verdicts.excused["upstream"] += 1

    def made_by_us(self, place: str, answer: Answer) -> None:
        """Problem details are whole, and a 503 says when to come again."""
        if answer.field("content-type") != "application/problem+json":
            return
        if answer.status == 503 and not (answer.field("retry-after") or "").isdigit():
            self.wrong(place, "503 without Retry-After", "", answer)
        if not answer.has_body:
            return
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        if problem.get("status") != answer.status:
            self.wrong(place, "problem details of another status", "", answer)

    def wrong(self, place: str, kind: str, detail: str, answer: Answer) -> None:
        """Something that must not be."""
        self.verdicts.violation(answer.answered, kind, place, detail)

    def _cached(self, place: str, kind: Kind, answer: Answer, arrived: int) -> Cached | None:
        try:
            cached = Cached.of(answer)
        except BadFraming as error:
            self.wrong(place, "Cache-Status or Age", str(error), answer)
            return None
        self.verdicts.caches[cached.word] += 1
        if (cached.word == "bypass") != (arrived > 0):
            self.wrong(place, f"{cached.word}, but reached the upstream {arrived} times", "", answer)
        if cached.word in {"hit", "stale"}:
            self._lifetime(place, kind, cached, answer)
        return cached

    def _lifetime(self, place: str, kind: Kind, cached: Cached, answer: Answer) -> None:
        """Whether what is said of age and freshness goes together, and is allowed."""
        assert cached.ttl is not None
        age = cached.age or 0
        if age + cached.ttl > kind.ttl + 1:
            self.wrong(place, "a longer life than the configuration's", str(cached), answer)
        past = -cached.ttl - 1
        if past > max(kind.stale_while_revalidate, kind.stale_if_error):
            self.wrong(place, "past all use", str(cached), answer)
        waited = answer.answered - answer.asked >= REVALIDATE_TIMEOUT / 2
        if past > kind.stale_while_revalidate and not waited and not self.trouble.left_alone(answer.asked):
            self.wrong(place, "stale for too long without a fault", str(cached), answer)
        single = place.endswith("single") and answer.status != 404
        if single and age + cached.ttl + 2 < kind.ttl * (1 - JITTER):  # both are rounded down
            self.wrong(place, "a shorter life than the configuration's", str(cached), answer)
