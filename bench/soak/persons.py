"""Holds what the handshake API says of entities against the model."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from bench.soak.client import Answer
from bench.soak.judge import Judge
from bench.soak.rules import SLACK, STORE_AFTERMATH, TIMEOUT, Kind
from bench.soak.truth import Register, Shown, version_of

LOCAL = ("departmentId", "isFieldWorker")
_CAMEL = {"kaha_id": "kahaId"}


@dataclass(slots=True)
class Known:
    """What was shown of an entity so far."""

    locals: dict[str, Register] = field(default_factory=lambda: {name: Register() for name in LOCAL})
    versions: list[tuple[float, int, str]] = field(default_factory=list)
    """When answered, `version` and `lastSyncedAt`: neither ever goes back."""


class Persons:
    """What is known of all entities, and the judgement of what is shown of one."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.known: dict[tuple[str, str], Known] = {}

    def of(self, kind: Kind, entity: str) -> Known:
        """What is known of an entity."""
        return self.known.setdefault((kind.name, entity), Known())

    def is_known(self, kind: Kind, entity: str) -> bool:
        """Whether its internal id was ever shown."""
        return bool((kind.name, entity) in self.known and self.known[kind.name, entity].versions)

    def judge(
        self,
        place: str,
        kind: Kind,
        entity: str,
        person: dict[str, Any],
        answer: Answer,
        *,
        source: str = "hit",
        husk: bool = False,
    ) -> None:
        """One entity as it was shown; `source` as the answer says. `husk`: it may be without its columns."""
        wrong = self._judge.wrong
        if person.get("id") != kind.internal(entity) or person.get(kind.id_member) != entity:
            wrong(place, "another id than ever before", f"{entity} {person.get('id')}", answer)
            return
        columns = {member: person.get(_CAMEL.get(column, column)) for column, member in kind.columns}
        number = version_of(columns["name"])
        if husk and set(columns.values()) == {None}:
            number = None
        elif number is None or columns != {m: f"{m} {number} of {entity} \u00e9" for m in columns}:
            wrong(place, "torn, or of another", f"{entity} {columns}", answer)
            return
        if number is not None:
            self._judge.verdicts.judged[f"person {source}"] += 1
            stale = person.get("source", source) == "stale"
            oldest = inf if stale or husk else 0.0 if source == "miss" else kind.ttl + 1
            shown = Shown(answer.asked, answer.answered, oldest)
            why = self._judge.truth.wrong(kind, entity, number, shown)
            if why is not None:
                wrong(place, why, f"{entity} version {number}, {source}", answer)
        if kind.durable:
            self._onward(place, kind, entity, person, answer)
            self._locals(place, kind, entity, person, answer)

    def absent(self, place: str, kind: Kind, entity: str, answer: Answer) -> None:
        """It was said not to be there."""
        self._judge.verdicts.judged["person absent"] += 1
        shown = Shown(answer.asked, answer.answered, kind.negative_ttl + 1)
        why = self._judge.truth.wrong(kind, entity, None, shown)
        if why is not None:
            self._judge.wrong(place, why, entity, answer)

    def unavailable(
        self, place: str, kind: Kind, ids: list[str], answer: Answer, *, reading: bool = False
    ) -> None:
        """A call that failed: 500 is the store's, 503 the upstream's. `reading`: it can't be done while a person reads
        the database for long."""
        if answer.status == 500:
            if self._judge.trouble.store(answer.asked, reading=reading):
                self._judge.verdicts.excused["store"] += 1
            else:
                self._judge.wrong(place, "500 without a fault of the store", "", answer)
            return
        self._judge.failed(place, kind, ids, answer)

    def _onward(self, place: str, kind: Kind, entity: str, person: dict[str, Any], answer: Answer) -> None:
        version, synced = int(person["version"]), str(person["lastSyncedAt"])
        versions = self.of(kind, entity).versions
        for answered, earlier, earlier_synced in versions:
            if answered < answer.asked and (version < earlier or synced < earlier_synced):
                if self._judge.trouble.store(answered - STORE_AFTERMATH):
                    # The database could not take it, and memory has let it go since: the row is from before.
                    self._judge.verdicts.excused["store, went back"] += 1
                    return
                if version >= earlier and self._judge.held.was_lost(kind, entity, answered - TIMEOUT - SLACK):
                    # A fetch from before an invalidation landed after one from behind it: who waited was shown it,
                    # and it was not kept.
                    self._judge.verdicts.excused["invalidation, time of sync went back"] += 1
                    return
                detail = f"{entity} {earlier} {earlier_synced} then {version} {synced}"
                self._judge.wrong(place, "version or time of sync went back", detail, answer)
                return
        # Of what was answered long before, the highest speaks for all.
        versions.append((answer.answered, version, synced))
        if len(versions) > 8:
            done = sorted(versions)[:4]
            best = max(done, key=lambda one: one[1:])
            versions[:] = [(done[-1][0], best[1], max(one[2] for one in done)), *sorted(versions)[4:]]

    def _locals(self, place: str, kind: Kind, entity: str, person: dict[str, Any], answer: Answer) -> None:
        for name, register in self.of(kind, entity).locals.items():
            if not register.allows(person.get(name), answer.asked):
                detail = f"{entity} {name} {person.get(name)!r}, confirmed {register.certain!r}"
                self._judge.wrong(place, "not what was confirmed last", detail, answer)
