"""Cache-Control, read conservatively (RFC 9111 sections 4.2.1 and 5.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.core.http.fields import RawField, values

_MAX_DELTA = 2**31
"""Section 1.2.2: a delta-seconds beyond this counts as this."""


def parse(fields: Iterable[RawField], name: bytes = b"cache-control") -> Mapping[bytes, bytes | None]:
    """Directives by lower-case name, with their argument if they have one, quotes taken off.

    Of a repeated directive the first counts, except that a bare one is stronger than one with an argument (a
    qualified `private="…"` must not weaken a `private`).
    """
    directives: dict[bytes, bytes | None] = {}
    for value in values(fields, name):
        for member in _split_list(value):
            key, equals, argument = member.partition(b"=")
            key = key.strip(b" \t").lower()
            if key not in directives:
                directives[key] = argument.strip(b" \t").strip(b'"') if equals else None
            elif not equals:
                directives[key] = None
    return directives


def _split_list(value: bytes) -> list[bytes]:
    """The members of a list, commas inside quoted strings left alone (RFC 9110 section 5.6.1)."""
    if b'"' not in value:
        return [part for part in value.split(b",") if part.strip()]
    members, current, quoted, escaped = [], bytearray(), False, False
    for byte in value:
        if escaped:
            escaped = False
        elif quoted and byte == ord("\\"):
            escaped = True
        elif byte == ord('"'):
            quoted = not quoted
        elif byte == ord(",") and not quoted:
            members.append(bytes(current))
            current.clear()
            continue
        current.append(byte)
    members.append(bytes(current))
    return [member for member in members if member.strip()]


def delta_seconds(argument: bytes | None) -> int:
    """The seconds of a directive; what is not a non-negative integer counts as 0, already over (section 4.2.1)."""
    if argument is None or not argument.isdigit():
        return 0
    return min(int(argument[:20]), _MAX_DELTA)


@dataclass(frozen=True, slots=True)
class RequestDirectives:
    """What a request says of caches (RFC 9111 section 5.2.1), as far as it changes the answer today."""

    refetch: bool = False
    """`no-cache`, `max-age=0`, or a lone `Pragma: no-cache` (section 5.4): the upstream must confirm."""
    no_store: bool = False


PLAIN = RequestDirectives()


def of_request(fields: Iterable[RawField]) -> RequestDirectives:
    """The directives of a request."""
    fields = tuple(fields)
    found = parse(fields)
    if not found:
        pragma = b"no-cache" in parse(fields, b"pragma")
        return RequestDirectives(refetch=True) if pragma else PLAIN
    refetch = b"no-cache" in found or (b"max-age" in found and delta_seconds(found[b"max-age"]) == 0)
    return RequestDirectives(refetch=refetch, no_store=b"no-store" in found)
