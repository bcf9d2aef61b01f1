"""The body of a bulk request: which ids it asks for, if it is of our shape at all.

Known difference to the obvious reading, on purpose: a member's name that is spelled with escapes is not ours.
"""

import re

from fuzz import plain_json
from proxy.core.bulk import MAX_IDS, RequestShape, chunked, is_valid_id

TOKENS = (
    b'"userIds"',
    b'{"userIds":["',
    b'"]}',
    b"\\u0061",
    b"\\ud800",
    b"\\udc00",
    b"[",
    b"]",
    b",",
    b"null",
    b" ",
)
_SHAPE = RequestShape("userIds")
_PLAINLY = re.compile(rb'\s*\{\s*"userIds"\s*:')


def fuzz_one(data: bytes) -> None:
    """Compare with the standard library's reading; what is understood is asked for again in the same words."""
    found = _SHAPE.parse(data)
    assert found == _obvious(data)
    if found is None:
        return
    assert _SHAPE.parse(_SHAPE.render(found)) == found
    assert [one for run in chunked(found, 2) for one in run] == found


def _obvious(data: bytes) -> list[str] | None:
    try:
        document = plain_json.read_or_none(data)
    except RecursionError:
        return None
    if not isinstance(document, plain_json.Members) or len(document) != 1 or not _PLAINLY.match(data):
        return None
    ((_, ids),) = document
    if not isinstance(ids, list) or isinstance(ids, plain_json.Members) or not 0 < len(ids) <= MAX_IDS:
        return None
    if any(
        not isinstance(one, str) or isinstance(one, plain_json.Number) or not is_valid_id(one) for one in ids
    ):
        return None
    return ids
