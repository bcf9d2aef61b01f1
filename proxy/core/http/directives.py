"""Cache-Control, read conservatively (RFC 9111 sections 4.2.1 and 5.2)."""

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct

from proxy.core.http.fields import RawField, members, values

_MAX_DELTA = 2**31
"""Section 1.2.2: a delta-seconds beyond this counts as this."""


def parse(fields: Iterable[RawField], name: bytes = b"cache-control") -> Mapping[bytes, bytes | None]:
    """Directives by lower-case name, with their argument if they have one, quotes taken off.

    Of a repeated directive the first counts, except that a bare one is stronger than one with an argument (a
    qualified `private="…"` must not weaken a `private`).
    """
    directives: dict[bytes, bytes | None] = {}
    for value in values(fields, name):
        for member in members(value):
            key, equals, argument = member.partition(b"=")
            key = key.strip(b" \t").lower()
            if key not in directives:
                directives[key] = argument.strip(b" \t").strip(b'"') if equals else None
            elif not equals:
                directives[key] = None
    return directives


def delta_seconds(argument: bytes | None) -> int:
    """The seconds of a directive; what is not a non-negative integer counts as 0, already over (section 4.2.1)."""
    if argument is None or not argument.isdigit():
        return 0
    # Cut, for a field may have thousands of digits, but not where zeros lead: they are no part of the number's size.
    return min(int(argument.lstrip(b"0")[:20] or b"0"), _MAX_DELTA)


class RequestDirectives(Struct, frozen=True):
    """What a request says of caches (RFC 9111 section 5.2.1). Seconds; None where it is silent."""

    no_cache: bool = False
    """`no-cache`, `max-age=0`, or a lone `Pragma: no-cache` (section 5.4): the upstream must confirm."""
    no_store: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    max_stale: float | None = None
    """Infinite where the directive has no argument."""
    min_fresh: float | None = None


PLAIN = RequestDirectives()


def of_request(fields: Iterable[RawField]) -> RequestDirectives:
    """The directives of a request."""
    fields = tuple(fields)
    found = parse(fields)
    if not found:
        pragma = b"no-cache" in parse(fields, b"pragma")
        return RequestDirectives(no_cache=True) if pragma else PLAIN
    max_age = _seconds(found, b"max-age")
    return RequestDirectives(
        no_cache=b"no-cache" in found or max_age == 0,
        no_store=b"no-store" in found,
        only_if_cached=b"only-if-cached" in found,
        max_age=max_age,
        max_stale=_max_stale(found),
        min_fresh=_seconds(found, b"min-fresh"),
    )


def _seconds(found: Mapping[bytes, bytes | None], name: bytes) -> float | None:
    return float(delta_seconds(found[name])) if name in found else None


def _max_stale(found: Mapping[bytes, bytes | None]) -> float | None:
    """Section 5.2.1.2: without an argument, any staleness. One that can't be read allows none."""
    if b"max-stale" not in found:
        return None
    return math.inf if found[b"max-stale"] is None else _seconds(found, b"max-stale")
