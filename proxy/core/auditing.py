"""What was served, held against what the upstream has: was it out of date, and for how long?

Two bounds are known of how long. The copy was good when the upstream gave it out: it has been out of date for its age
at the most. And if the owner's version of an item is a time, what we lacked was there since then: the copy has been out
of date for at least as long, and for no longer unless the item had changed before, too.
"""

import json
from typing import Literal

from msgspec import Struct

from proxy.core import versions
from proxy.core.json_split import decode
from store.entry import AT_LEAST, Entry
from store.times import epoch

AuditResult = Literal["current", "outdated", "gone", "failed"]


class Verdict(Struct, frozen=True):
    """What became of one comparison, and for how many seconds the copy had been out of date when it was served."""

    result: AuditResult
    at_least: float | None = None
    at_most: float | None = None


def compare(served: Entry, found: Entry, at: float) -> Verdict:
    """The verdict on a representation that was served at `at` (epoch seconds); `found`: what the upstream has."""
    age = served.age(at)
    if found.absent or found.item is None:
        return Verdict("gone", at_most=age)
    if _is_ahead(served.source_version, found.source_version) or is_same(served.item or b"", found.item):
        return Verdict("current")
    return Verdict("outdated", _changed_before(found.source_version, at, age), age)


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two items are the same: the bytes, or the JSON values, whatever the order of their members."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(item: bytes) -> str | bytes:
    try:
        # As text: to Python, true is equal to 1.
        return json.dumps(decode(item), sort_keys=True)
    except (ValueError, RecursionError):
        return item


def _is_ahead(served: str | None, found: str | None) -> bool:
    """Whether the upstream has answered with less than a message of the owner had told us."""
    if served is None or found is None:
        return False
    return versions.compare(found, served.removeprefix(AT_LEAST)) == "older"


def _changed_before(version: str | None, at: float, age: float) -> float | None:
    """Seconds before `at` of an owner's version, if it is a time: none below 0, nor above `age`, as the clocks of two
    hosts would have it."""
    try:
        changed_at = epoch(version or "")
    except ValueError:
        return None
    return min(age, max(0.0, at - changed_at))
