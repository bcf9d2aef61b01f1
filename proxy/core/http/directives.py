"""Cache-Control, read conservatively (RFC 9111 sections 4.2.1 and 5.2)."""

import math
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from proxy.core.http.fields import RawField, members, values

_MAX_DELTA = 2**31
"""Section 1.2.2: a delta-seconds beyond this counts as this."""
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BLANKS = (b" ", b"\t")
_WITH_QUOTED = re.compile(rb'[^"=]*=[ \t]*"(?:[^"\\]|\\.)*"[ \t]*', re.DOTALL)
_TOKEN = re.compile(rb"[\w!#$%&'*+.^`|~-]+", re.ASCII)
# Their argument lists fields, and where they are repeated they are about all of those.
_OF_FIELDS = frozenset({b"no-cache", b"private"})
# Alone among all it asks for less with an argument than without.
_ANY_IF_BARE = b"max-stale"


def parse(fields: Iterable[RawField], name: bytes = b"cache-control") -> Mapping[bytes, bytes | None]:
    """Directives by lower-case name, with their argument if they have one, quotes taken off.

    All lines are one list (RFC 9110 section 5.3). Of a repeated directive the first counts, but a bare one is stronger
    than one with an argument (a qualified `private="…"` must not weaken a `private`), except for `max-stale`, and the
    fields of a `private` or `no-cache` add up. Where quotes are broken, no directive is hidden by them, and an argument
    that has one keeps it: it is no number and no name, nor is one with a blank beside its `=`.
    """
    directives: dict[bytes, bytes | None] = {}
    listed: dict[bytes, list[bytes]] = {}
    for member in _listed(b", ".join(values(fields, name))):
        key, equals, argument = member.strip(b" \t").partition(b"=")
        said = _argument(argument) if equals else None
        if key.endswith(_BLANKS) or argument.startswith(_BLANKS):
            said = b""  # no directive is written so, and nothing is stricter
        key = key.rstrip(b" \t").lower()
        if key not in directives or (said is None and key != _ANY_IF_BARE):
            directives[key] = said
        if said is not None and key in _OF_FIELDS:
            listed.setdefault(key, []).append(said)
    for key, arguments in listed.items():
        if directives[key] is not None and len(arguments) > 1:
            directives[key] = _together(arguments)
    return directives


def _listed(value: bytes) -> list[bytes]:
    found = members(value)
    if any(b'"' in member and not _WITH_QUOTED.fullmatch(member) for member in found):
        return [part for part in value.split(b",") if part.strip()]
    return found


def _argument(value: bytes) -> bytes:
    return value[1:-1] if _QUOTED.fullmatch(value) else value


def _together(arguments: list[bytes]) -> bytes | None:
    """The fields of a directive that is there several times; None if one of them is about the whole answer."""
    return None if any(qualified(one) is None for one in arguments) else b",".join(arguments)


def qualified(argument: bytes | None) -> frozenset[bytes] | None:
    """The fields, in lower case, that a `no-cache` or `private` with this argument is about (sections 5.2.2.4 and
    5.2.2.7). None: it is about the whole answer, for it names none, or nobody can tell which."""
    if argument is None:
        return None
    names = [member.strip(b" \t").lower() for member in argument.split(b",")]
    names = [name for name in names if name]
    return frozenset(names) if names and all(map(_TOKEN.fullmatch, names)) else None


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
    """Section 5.2.1.2: without an argument, any staleness. One that can't be read says nothing: as a 0 it would accept
    what is stale from just now on."""
    if _ANY_IF_BARE not in found:
        return None
    argument = found[_ANY_IF_BARE]
    if argument is None:
        return math.inf
    return float(delta_seconds(argument)) if argument.isdigit() else None
