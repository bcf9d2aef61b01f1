"""What of an answer's fields is stored with it (RFC 9111 section 3.1)."""

from collections.abc import Iterable

from proxy.core.http.fields import RawField, end_to_end

# Made anew for each answer, or never replayed: a cookie belongs to the one who got it.
_NOT_STORED = frozenset({b"age", b"content-length", b"set-cookie"})


def stored_fields(
    fields: Iterable[RawField], omitted: frozenset[bytes] = frozenset()
) -> tuple[RawField, ...]:
    """The fields that are stored: those that go on to the next hop, without the `omitted` ones (names in lower case)
    that the origin keeps to one caller or wants asked for each time (sections 5.2.2.4 and 5.2.2.7)."""
    dropped = _NOT_STORED | omitted
    return tuple(field for field in end_to_end(fields) if field[0].lower() not in dropped)
