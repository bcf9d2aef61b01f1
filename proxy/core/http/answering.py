"""How a stored answer meets a request: with a 304, with a part, or as it is.

RFC 9111 section 4.3.2; RFC 9110 sections 13.2.2, 14.2, 15.3.7, 15.4.5 and 15.5.17.
"""

from collections.abc import Iterable
from typing import NamedTuple

from proxy.core.http.fields import RawField
from proxy.core.http.ranges import Part, Requested, content_range, if_range_holds, requested
from proxy.core.http.status import NOT_MODIFIED, PARTIAL, UNSATISFIABLE
from proxy.core.http.validation import is_not_modified, of_not_modified

_OK = 200
# They are about the bytes of one answer, not of the whole that a part is taken from (RFC 9530 section 2, for one).
_OF_THE_CONTENT = frozenset({b"content-range", b"content-digest", b"content-md5"})


class Answered(NamedTuple):
    """An answer made of a stored one; Content-Length is left to who writes it."""

    status: int
    fields: list[RawField]
    body: bytes


def answered(
    method: str,
    request_fields: Iterable[RawField],
    *,
    status: int,
    stored: Iterable[RawField],
    body: bytes,
    received_at: float,
    now: float,
) -> Answered | None:
    """What a GET or HEAD gets of a stored answer: its `status`, `stored` fields and `body`. Epoch seconds.

    None: it can't be answered with this. That is so where a part is stored (206), and something else than a range
    within it is asked for (RFC 9111 section 3.3).
    """
    request_fields, stored = tuple(request_fields), tuple(stored)
    if status == PARTIAL and method != "GET":
        return None
    # Of anything but a success the client can't have a copy to confirm (RFC 9110 section 13.2.1).
    if 200 <= status < 300 and is_not_modified(  # noqa: PLR2004
        request_fields, stored, received_at=received_at, now=now
    ):
        return Answered(NOT_MODIFIED, of_not_modified(stored), b"")
    wanted = requested(request_fields) if method == "GET" else None
    if wanted is not None and not if_range_holds(request_fields, stored):
        wanted = None
    if status == PARTIAL:
        return _of_part(wanted, stored, body)
    if wanted is None or status != _OK:
        return Answered(status, list(stored), body)
    part = wanted.within(len(body))
    if part is None:
        return _unsatisfiable(stored, len(body))
    return _partial(stored, part, body[part.first : part.last + 1])


def _of_part(wanted: Requested | None, stored: tuple[RawField, ...], body: bytes) -> Answered | None:
    held = content_range(stored)
    if wanted is None or held is None or len(body) != held.length:
        return None
    if held.complete is not None:
        part = wanted.within(held.complete)
    elif wanted.first is None or wanted.last is None:
        return None  # where the whole ends is not known
    else:
        part = Part(wanted.first, wanted.last, None)
    if part is None or not held.contains(part):
        return None
    return _partial(stored, part, body[part.first - held.first : part.last - held.first + 1])


def _partial(stored: tuple[RawField, ...], part: Part, body: bytes) -> Answered:
    fields = [field for field in stored if field[0].lower() not in _OF_THE_CONTENT]
    return Answered(PARTIAL, [*fields, (b"Content-Range", part.render())], body)


def _unsatisfiable(stored: tuple[RawField, ...], length: int) -> Answered:
    """Nothing goes with it that describes the body, or lets anybody store it."""
    dates = [field for field in stored if field[0].lower() == b"date"]
    return Answered(UNSATISFIABLE, [*dates, (b"Content-Range", b"bytes */%d" % length)], b"")
