"""What becomes of the ids of a request: what was held and what was fetched, put together into one answer."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from proxy.core.policy import (
    Absent,
    BypassReason,
    Decision,
    Hit,
    Miss,
    MissReason,
    Revalidate,
    Stale,
)
from proxy.exchange import Fetched
from proxy.metrics import EntityResult
from proxy.results import Failure, Loaded, Missing, PassOn, Refused, Result
from store.entry import Entry


class Found(Struct, frozen=True):
    """The entity, and where it came from."""

    entry: Entry
    source: Literal["hit", "stale", "miss"]
    forward: str = ""
    """Why it was fetched, in the words of RFC 9211 section 2.2, if it was."""
    stored: bool = True
    collapsed: bool = False
    validated: bool = False
    """The upstream said 304: what we hold is still good."""


class NotFound(Struct, frozen=True):
    """The upstream says that there is none: just now (`miss`), or a moment ago (`negative`)."""

    entry: Entry
    source: Literal["negative", "miss"]
    forward: str = ""
    stored: bool = True
    collapsed: bool = False


Outcome = Found | NotFound


class Resolution(Struct, frozen=True):
    """What became of every id; when some id has no outcome, why the request as a whole can't be answered."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    passed: Fetched | None = None
    """The upstream's own answer, which is the answer to the request."""
    failure: str | None = None
    """There is no usable answer, for this reason, and no copy to fall back on."""
    retry_after: float | None = None
    """Seconds after which it is worth asking again, if the failure says so."""
    bypass: BypassReason | None = None
    """The request has to go through as it is: what is held is not for it."""
    pass_on: bool = False
    """The same: the upstream's answer is beyond this cache."""
    unsatisfied: bool = False
    """The request wants what is held alone, and that is not enough."""
    forward: str = "uri-miss"
    """Why the upstream was asked for what can't be answered, in the words of RFC 9211 section 2.2."""
    counts: Counter[EntityResult] = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether every id has its outcome."""
        return not (self.passed or self.failure or self.bypass or self.pass_on or self.unsatisfied)


FORWARD: Mapping[MissReason, str] = {
    "never_seen": "uri-miss",
    "evicted": "uri-miss",
    "invalidated": "uri-miss",
    "expired": "stale",
    "absence_expired": "stale",
    "no_cache": "request",
}
"""Why the upstream was asked, in the words of RFC 9211 section 2.2."""


def representations(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The representations among them."""
    return {entity: entry for entity, entry in entries.items() if _is_held(entry)}


def _is_held(entry: Entry) -> bool:
    return entry.item is not None and not entry.absent


def is_shown(entry: Entry) -> bool:
    """An absence that came out of a bulk answer has no representation: it does not answer a GET."""
    return not entry.absent or entry.item is not None


def as_data(results: Mapping[str, Result]) -> dict[str, Result]:
    """Results for who wants the entities and not the responses."""
    return {
        entity: result.answer or Failure("uncacheable") if isinstance(result, PassOn) else result
        for entity, result in results.items()
    }


def fallen_back(
    decisions: Mapping[str, Decision], results: Mapping[str, Result], entries: Mapping[str, Entry], now: float
) -> dict[str, Decision]:
    """The decisions, with what is held in place of what failed."""
    changed: dict[str, Decision] = {}
    for entity, result in results.items():
        entry = entries.get(entity)
        if entry is None or isinstance(result, Loaded | Missing):
            continue
        if entry.absent and entry.ttl(now) > 0:
            changed[entity] = Absent(entry)
        elif _is_held(entry):
            changed[entity] = Stale(entry, "stale_if_error")
    return {**decisions, **changed}


def not_ended(
    decisions: Mapping[str, Decision], results: Mapping[str, Result], since: float
) -> tuple[dict[str, Decision], dict[str, Result]]:
    """The same without the copies that were received by then: they have ended while the upstream was waited for.

    A request that such a copy was to answer goes to the upstream as it is; one that has asked already gets what came.
    """
    decided, came = dict(decisions), dict(results)
    for entity, decision in decisions.items():
        if isinstance(decision, Hit | Stale | Absent | Revalidate) and decision.entry.received_at <= since:
            decided[entity] = Miss(decision.reason if isinstance(decision, Revalidate) else "expired")
            came.setdefault(entity, PassOn())
    return decided, came


def combine(decisions: Mapping[str, Decision], results: Mapping[str, Result]) -> Resolution:
    """Put what was held and what was fetched together, in the order that was asked for."""
    outcomes: dict[str, Outcome] = {}
    counts: Counter[EntityResult] = Counter()
    passed: Fetched | None = None
    failure: Failure | None = None
    forward: str | None = None
    for entity, decision in decisions.items():
        if isinstance(decision, Hit):  # most are, and there may be many
            outcomes[entity] = Found(decision.entry, "hit")
            counts["hit"] += 1
            continue
        outcome = _outcome(decision, results.get(entity))
        if isinstance(outcome, Found | NotFound):
            outcomes[entity] = outcome
            counts[outcome.source] += 1
            continue
        counts["error"] += 1
        if forward is None and isinstance(decision, Miss | Revalidate):
            forward = FORWARD[decision.reason]
        match outcome:
            case Refused(response):
                passed = response
            case Failure():
                # The first failure speaks for all; one that the upstream put into words is preferred.
                failure = failure or outcome
                passed = passed or outcome.response
            case PassOn():
                return Resolution(pass_on=True)
    reason, wait = (None, None) if failure is None else (failure.reason, failure.retry_after)
    return Resolution(outcomes, passed, reason, wait, forward=forward or "uri-miss", counts=counts)


def _outcome(decision: Decision, result: Result | None) -> Outcome | Refused | Failure | PassOn:
    match decision, result:
        case Stale(entry), _:
            return Found(entry, "stale")
        case Absent(entry), _:
            return NotFound(entry, "negative")
        case Miss() | Revalidate(), Loaded(entry, stored, collapsed, validated):
            return Found(entry, "miss", FORWARD[decision.reason], stored, collapsed, validated)
        case Miss() | Revalidate(), Missing(entry, stored, collapsed):
            return NotFound(entry, "miss", FORWARD[decision.reason], stored, collapsed)
        case Revalidate(entry), Failure():
            return Found(entry, "stale")
        case _, Refused() | Failure() | PassOn():
            return result
        case _:
            raise RuntimeError("an id was asked for and got no result")
