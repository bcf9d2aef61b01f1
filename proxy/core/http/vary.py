"""Which of several representations a request selects: by the operator's key fields, and by the origin's Vary.

An origin's Vary names more fields than a fill of entities carries, so an answer that varies with others than the key
fields is not stored there (proxy/core/http/freshness.py).
"""

from collections.abc import Collection, Iterable
from hashlib import blake2b

from proxy.core.http.fields import RawField, members, tokens, values

# Names that an answer varies with, and their bytes: each look-up goes through them.
_MAX_NAMES, _MAX_LENGTH = 32, 1024
# Their members are alike in any case (RFC 9110 sections 12.5.2 to 12.5.4); of Accept the types are, but of its
# parameters nobody knows (section 8.3.1).
_CASELESS = frozenset({b"accept-charset", b"accept-encoding", b"accept-language"})


def variant(
    fields: Iterable[RawField],
    key_fields: Collection[bytes],
    *,
    secret: bytes = b"",
    even_of_none: bool = False,
) -> str:
    """A digest of the key fields (lower case) that a request has, with their values; if it has none, empty, or a
    digest too if it is to be so `even_of_none`.

    A digest, because the values may be long, and are somebody's; keyed by a `secret` (up to 64 bytes) where nobody must
    be able to try values. Values count byte by byte: what an upstream could tell apart is apart.
    """
    found = sorted(
        (lower, place, value)
        for place, (name, value) in enumerate(fields)
        if (lower := name.lower()) in key_fields
    )
    if not found and not even_of_none:
        return ""
    digest = blake2b(digest_size=24, key=secret)
    for name, _, value in found:
        # The lengths keep two fields from being read as one.
        digest.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return digest.hexdigest()


def nominated(fields: Iterable[RawField]) -> tuple[bytes, ...] | None:
    """The request fields that an answer varies with (RFC 9110 section 12.5.5), in lower case, sorted, each once; None
    if nobody can tell, for there is a `*`, or so many that no two requests would match."""
    names = set(tokens(fields, b"vary"))
    is_endless = len(names) > _MAX_NAMES or sum(map(len, names)) > _MAX_LENGTH
    return None if is_endless or b"*" in names else tuple(sorted(names))


def selecting(request_fields: Iterable[RawField], names: Iterable[bytes]) -> str:
    """A digest of the values that a request has for the nominated fields; empty if there are none of these.

    Two requests have the same if the values match (RFC 9111 section 4.1): lines of one field are one list, and white
    space around its commas says nothing. The order does: origins break ties by it. A field that is absent matches only
    one that is absent, too.
    """
    names = tuple(names)
    if not names:
        return ""
    request_fields = tuple(request_fields)
    digest = blake2b(digest_size=24)
    for name in names:
        lines = values(request_fields, name)
        listed = _normal(name, b",".join(lines)) if lines else []
        # The lengths keep two members from being read as one.
        digest.update(b"%d:%b%d:%d:" % (len(name), name, bool(lines), len(listed)))
        for member in listed:
            digest.update(b"%d:%b" % (len(member), member))
    return digest.hexdigest()


def _normal(name: bytes, value: bytes) -> list[bytes]:
    """The members of a value, those that mean the same being the same."""
    listed = [member.strip(b" \t") for member in members(value)]
    if name in _CASELESS:
        return [member.lower() for member in listed]
    if name == b"accept":
        parted = [member.partition(b";") for member in listed]
        return [media_range.lower() + mark + rest for media_range, mark, rest in parted]
    return listed
