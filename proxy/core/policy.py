"""What to do about one entity that was asked for: a pure function, and the words for its answer.

docs/policy.md has the rules as a table, and a test holds the two together. The functions below are in the order of
its rows.
"""

from typing import Literal

from msgspec import Struct

from proxy.core.http.directives import PLAIN, RequestDirectives
from proxy.core.http.validation import has_validator
from store.entry import Entry

BypassReason = Literal["bypass_query", "bypass_shape", "bypass_credential", "no_cache"]
MissReason = Literal["never_seen", "expired", "invalidated", "evicted", "absence_expired", "no_cache"]
StaleReason = Literal["stale_while_revalidate", "stale_if_error", "max_stale"]


class Limits(Struct, frozen=True):
    """The operator's limits of a resource on what is past its freshness: so long after its end, in seconds."""

    stale_while_revalidate: float
    stale_if_error: float


class Asked(Struct, frozen=True):
    """A request, as far as it matters to the cache."""

    directives: RequestDirectives = PLAIN
    query: bool = False
    """It has a query string: whatever that means is for the upstream to say."""
    other_shape: bool = False
    """It is not of the shape that the resource declares."""
    credential: bool = False
    """It bears a credential, and answers are not declared the same for every caller."""


class Hit(Struct, frozen=True):
    """Answer from what we hold, which is fresh."""

    entry: Entry


class Stale(Struct, frozen=True):
    """Answer from what we hold, which is not fresh; `refresh`: fetch it again behind the answer."""

    entry: Entry
    reason: StaleReason
    refresh: bool = False


class Absent(Struct, frozen=True):
    """Answer that there is none: the upstream said so a moment ago."""

    entry: Entry


class Revalidate(Struct, frozen=True):
    """Ask the upstream, for a while; if it fails or is late, what we hold is served."""

    entry: Entry
    reason: MissReason


class Miss(Struct, frozen=True):
    """Ask the upstream; there is nothing to fall back on."""

    reason: MissReason


class Unsatisfied(Struct, frozen=True):
    """Ask nobody, and fail: the request wants what is held alone (RFC 9111 section 5.2.1.7)."""

    reason: MissReason | BypassReason


class Bypass(Struct, frozen=True):
    """Let the request go through to the upstream as it is."""

    reason: BypassReason


Decision = Hit | Stale | Absent | Revalidate | Miss | Unsatisfied | Bypass


def bypass(asked: Asked) -> Bypass | Unsatisfied | None:
    """Whether a request goes past the cache whatever is held; a credential may do so yet."""
    if asked.query:
        return _past(asked, "bypass_query")
    if asked.other_shape:
        return _past(asked, "bypass_shape")
    return _past(asked, "no_cache") if asked.directives.no_store else None


def _past(asked: Asked, reason: BypassReason) -> Bypass | Unsatisfied:
    # Who wants what is held alone must not cause a call either.
    return Unsatisfied(reason) if asked.directives.only_if_cached else Bypass(reason)


def decide(
    entry: Entry | None,
    asked: Asked,
    limits: Limits,
    now: float,
    *,
    evicted: bool = False,
    backing_off: bool = False,
    doubted: bool = False,
) -> Decision:
    """The decision for an entity of which `entry` is held at `now` (epoch seconds).

    `evicted`: memory lost it for want of space. `backing_off`: the upstream has just failed, and is not to be asked
    for what there is a copy of. `doubted`: who asks does not take an absence for an answer.
    """
    past = bypass(asked)
    if past is not None:
        return past
    if asked.credential and not (entry is not None and entry.shareable):
        return _past(asked, "bypass_credential")
    if entry is None:
        decision: Decision = Miss("evicted" if evicted else "never_seen")
    elif entry.absent:
        decision = _absent(entry, asked.directives, now, doubted=doubted)
    elif entry.item is None:
        decision = Miss("invalidated")
    else:
        decision = _held(entry, asked.directives, limits, now, backing_off=backing_off)
    if isinstance(decision, Miss | Revalidate):
        if asked.credential:  # what a fill without it would bring may not be what this caller is shown
            return _past(asked, "bypass_credential")
        if asked.directives.only_if_cached:
            return Unsatisfied(decision.reason)
    return decision


def _absent(entry: Entry, directives: RequestDirectives, now: float, *, doubted: bool) -> Decision:
    if entry.ttl(now) <= 0 or doubted:
        return Miss("absence_expired")
    return Miss("no_cache") if _demands(entry, directives, now) else Absent(entry)


def _held(
    entry: Entry, directives: RequestDirectives, limits: Limits, now: float, *, backing_off: bool
) -> Decision:
    ttl = entry.ttl(now)
    demands = _demands(entry, directives, now)
    if ttl > 0:
        return Revalidate(entry, "no_cache") if demands else Hit(entry)
    while_revalidate, if_error = windows(entry, limits)
    refreshable = -ttl < while_revalidate
    if not demands:
        accepted = directives.max_stale
        if accepted is not None and not entry.must_revalidate and -ttl <= accepted:
            return Stale(entry, "max_stale", refresh=refreshable and not backing_off)
        # Who names an age or a reserve of freshness does not want what has none (RFC 9111 section 5.2.1.1).
        # So does who accepts what is stale, but not as stale as this (section 5.2.1.2).
        silent = directives.max_age is None and directives.min_fresh is None and accepted is None
        if refreshable and silent:
            return Stale(entry, "stale_while_revalidate", refresh=not backing_off)
        if backing_off and -ttl < if_error:
            return Stale(entry, "stale_if_error")
    if -ttl < if_error:
        return Revalidate(entry, "no_cache" if demands else "expired")
    return Miss("expired")


def _demands(entry: Entry, directives: RequestDirectives, now: float) -> bool:
    """Whether a request wants more than freshness (RFC 9111 sections 5.2.1.1, 5.2.1.3 and 5.2.1.4)."""
    if directives is PLAIN:
        return False
    too_old = directives.max_age is not None and entry.age(now) > directives.max_age
    # A stale copy has no reserve at all: it goes by what may be used stale.
    too_close = directives.min_fresh is not None and 0 < entry.ttl(now) < directives.min_fresh
    return directives.no_cache or too_old or too_close


def windows(entry: Entry, limits: Limits) -> tuple[float, float]:
    """How long after its freshness an entry may be used: while it is revalidated, and when the upstream fails.

    The origin's word comes before the operator's (RFC 5861); `must-revalidate` forbids both.
    """
    if entry.must_revalidate:
        return 0.0, 0.0
    while_revalidate, if_error = entry.stale_while_revalidate, entry.stale_if_error
    return (
        limits.stale_while_revalidate if while_revalidate is None else while_revalidate,
        limits.stale_if_error if if_error is None else if_error,
    )


def usable_until(
    entry: Entry,
    limits: Limits,
    *,
    negative_ttl: float,
    validatable: float = 0.0,
    at_most: float | None = None,
) -> float:
    """When (epoch seconds) an entry is of no use any more, whatever happens: the memory tier drops it then,
    `at_most` so many seconds after receipt.

    An absence is held twice as long as it counts, so that the miss that follows can be told from a first one; what
    has a validator as long as anything, and for `validatable` seconds, so that a 304 can save its body.
    """
    stale = negative_ttl if entry.absent else max(windows(entry, limits))
    if not entry.absent and has_validator(entry.headers):
        stale = max(stale, limits.stale_if_error, validatable)
    until = entry.received_at - entry.initial_age + entry.lifetime + stale
    return until if at_most is None else min(until, entry.received_at + at_most)
