"""What to do about one entity that was asked for: a pure function, and the words for its answer.

The rules, first match wins:

| what we hold | the request | decision |
|---|---|---|
| nothing | any | Miss(never_seen, or evicted) |
| the husk of an invalidated row | any | Miss(invalidated) |
| an absence, stale | any | Miss(absence_expired) |
| an absence | `no-cache` | Miss(no_cache) |
| an absence, fresh | any | Absent |
| a representation, fresh or within stale_if_error | `no-cache` | Revalidate(no_cache), usable if the upstream fails |
| a fresh representation | any | Hit |
| a stale one, within stale_if_error | any | Revalidate(expired), usable if the upstream fails |
| a stale one, older than that | any | Miss(expired) |
"""

from dataclasses import dataclass
from typing import Literal

from proxy.core.http.directives import RequestDirectives
from store.entry import Entry

MissReason = Literal["never_seen", "expired", "invalidated", "evicted", "absence_expired", "no_cache"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's freshness limits of a resource, in seconds."""

    stale_if_error: float


@dataclass(frozen=True, slots=True)
class Hit:
    """Answer from what we hold."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Absent:
    """Answer that there is none: the upstream said so a moment ago."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Revalidate:
    """Ask the upstream; if it fails, what we hold may still be served."""

    entry: Entry
    reason: MissReason


@dataclass(frozen=True, slots=True)
class Miss:
    """Ask the upstream; there is nothing to fall back on."""

    reason: MissReason


Decision = Hit | Absent | Revalidate | Miss


def decide(
    entry: Entry | None, directives: RequestDirectives, limits: Limits, now: float, *, evicted: bool = False
) -> Decision:
    """The decision for an entity of which `entry` is held at `now` (epoch seconds)."""
    if entry is None:
        return Miss("evicted" if evicted else "never_seen")
    if entry.absent:
        if entry.ttl(now) <= 0:
            return Miss("absence_expired")
        return Miss("no_cache") if directives.refetch else Absent(entry)
    if entry.item is None:
        return Miss("invalidated")
    ttl = entry.ttl(now)
    usable = ttl > -limits.stale_if_error
    if directives.refetch and usable:
        return Revalidate(entry, "no_cache")
    if ttl > 0:
        return Hit(entry)
    return Revalidate(entry, "expired") if usable else Miss("expired")


def usable_until(entry: Entry, limits: Limits, *, negative_ttl: float) -> float:
    """When (epoch seconds) an entry is of no use any more, whatever happens: the memory tier drops it then.

    An absence is held twice as long as it counts, so that the miss that follows can be told from a first one.
    """
    stale = negative_ttl if entry.absent else limits.stale_if_error
    return entry.received_at - entry.initial_age + entry.lifetime + stale
