"""Which of several representations of an entity a request selects: by the operator's key fields.

An origin's Vary names more fields than a fill carries, so an answer that varies with others than these is not stored
(proxy/core/http/freshness.py).
"""

from collections.abc import Collection, Iterable
from hashlib import blake2b

from proxy.core.http.fields import RawField


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
