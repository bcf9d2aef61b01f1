"""Which of several representations of an entity a request selects: by the operator's key fields.

An origin's Vary names more fields than a fill carries, so an answer that varies with others than these is not stored
(proxy/core/http/freshness.py).
"""

from collections.abc import Collection, Iterable
from hashlib import blake2b

from proxy.core.http.fields import RawField


def variant(fields: Iterable[RawField], key_fields: Collection[bytes]) -> str:
    """A digest of the key fields (lower case) that a request has, with their values; empty if it has none.

    A digest, because the values may be long, and are somebody's.
    """
    found = sorted(
        (name.lower(), place, value)
        for place, (name, value) in enumerate(fields)
        if name.lower() in key_fields
    )
    if not found:
        return ""
    digest = blake2b(digest_size=24)
    for name, _, value in found:
        # The lengths keep two fields from being read as one.
        digest.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return digest.hexdigest()
