"""Parts of a representation: what is asked for, what came, and what the two make together.

The input is three heads with an empty line between them: of a request, of a 206 that is held, and of one that comes.
"""

from fuzz import headers
from fuzz.targets.http_date import obvious as date_of
from proxy.core.http.answering import Answered, answered
from proxy.core.http.fields import RawField, values
from proxy.core.http.ranges import (
    Part,
    combined,
    content_range,
    if_range_holds,
    missing,
    requested,
    strong_etag,
)

TOKENS = (
    b"range: bytes=", b"range: ", b"bytes=0-4", b"bytes=-3", b"bytes=2-", b"content-range: bytes ", b"bytes 0-4/10",
    b"bytes 5-9/10", b"/*", b"0-0,", b"999999999999999", b'etag: "a"', b'etag: W/"a"', b'if-range: "a"', b"if-range: ",
    b"if-none-match: *", b"date: ", b"last-modified: ", b"Thu, 01 Jan 2026 00:00:00 GMT", b"\n", b"\n\n", b"-", b"/",
    b"content-type: multipart/byteranges", b"Thu, 01 Jan 2026 00:00:01 GMT",
)  # fmt: skip
_NOW = 1_767_225_600.0
_DIGITS = frozenset(b"0123456789")
_LENGTHS = (0, 1, 2, 5, 10, 40)
"""Of representations that a range is asked of."""
_MOST = 256
"""Bytes of what is looked at byte by byte."""


def fuzz_one(data: bytes) -> None:
    """Compare with readings byte by byte; a part answers as the whole would, or not at all."""
    request, held, came = headers.heads_of(data, 3)
    wanted = requested(request)
    for length in _LENGTHS:
        assert _positions(None if wanted is None else wanted.within(length)) == _wanted(request, length)
    assert (wanted is None) == (_spec(request) is None)
    assert if_range_holds(request, held) == _holds(request, held)
    for fields in (held, came):
        part = content_range(fields)
        assert part == _told(fields)
        assert part is None or content_range([(b"Content-Range", part.render())]) == part
        if part is not None:
            _check_missing(part)
    _check_combined(held, came)
    _check_answers(request, held)


def _spec(fields: list[RawField]) -> tuple[int | None, int | None] | None:
    """The first and the last position of the one range, as they are spelled."""
    found = [value for name, value in fields if name.lower() == b"range"]
    unit, equals, rest = (found[0] if len(found) == 1 else b"").strip(b" \t").partition(b"=")
    listed = headers.list_members(rest) if unit.lower() == b"bytes" and equals else []
    first, dash, last = (listed[0] if len(listed) == 1 else b"").strip(b" \t").partition(b"-")
    if not dash or not (first or last) or set(first + last) - _DIGITS:
        return None
    numbers = int(first) if first else None, int(last) if last else None
    return None if first and last and int(first) > int(last) else numbers


def _wanted(fields: list[RawField], length: int) -> list[int]:
    """Which bytes of that many are asked for."""
    spec = _spec(fields)
    if spec is None:
        return []
    first, last = spec
    if first is None:
        return list(range(length))[-last:] if last else []
    return [at for at in range(length) if at >= first and (last is None or at <= last)]


def _positions(part: Part | None) -> list[int]:
    return [] if part is None else list(range(part.first, part.last + 1))


def _told(fields: list[RawField]) -> Part | None:
    """What a Content-Range says, cut at its signs (RFC 9110 section 14.4)."""
    found = [value for name, value in fields if name.lower() == b"content-range"]
    types = [value.strip(b" \t").lower() for name, value in fields if name.lower() == b"content-type"]
    if len(found) != 1 or any(one.startswith(b"multipart/byteranges") for one in types):
        return None
    unit, _, rest = found[0].strip(b" \t").partition(b" ")
    span, _, complete = rest.partition(b"/")
    first, _, last = span.partition(b"-")
    numbers = [first, last] if complete == b"*" else [first, last, complete]
    if unit.lower() != b"bytes" or any(set(one) - _DIGITS or not 0 < len(one) < 16 for one in numbers):
        return None
    part = Part(int(first), int(last), None if complete == b"*" else int(complete))
    is_within = part.complete is None or part.last < part.complete
    return part if part.first <= part.last and is_within else None


def _holds(request: list[RawField], stored: list[RawField]) -> bool:
    wanted = [value.strip(b" \t") for name, value in request if name.lower() == b"if-range"]
    if len(wanted) != 1:
        return not wanted
    if wanted[0].startswith((b'"', b"W/")):
        return _is_strong(wanted[0]) and values(stored, b"etag") == wanted
    dates = [
        *values(stored, b"last-modified")[:1],
        *(one.strip(b" \t") for one in values(stored, b"date")[:1]),
    ]
    if dates[:1] != wanted or len(dates) != 2 or {len(date) for date in dates} != {29}:
        return False
    modified, sent = (date_of(date, _NOW) for date in dates)
    return modified is not None and sent is not None and modified < sent


def _is_strong(etag: bytes) -> bool:
    inner = etag[1:-1]
    return etag == b'"' + inner + b'"' and all(
        sign == 0x21 or (sign >= 0x23 and sign != 0x7F) for sign in inner
    )


def _check_missing(part: Part) -> None:
    """What is missing is asked for in one range, if it is one piece."""
    rest = missing(part)
    if part.complete is None or part.complete > _MOST:
        return
    gap = sorted(set(range(part.complete)) - set(_positions(part)))
    is_one_piece = bool(gap) and gap[-1] - gap[0] == len(gap) - 1
    assert (rest is not None) == is_one_piece
    assert rest is None or _wanted([(b"Range", rest)], part.complete) == gap


def _check_combined(held: list[RawField], came: list[RawField]) -> None:
    one, other = _told(held), _told(came)
    if one is None or other is None or max(one.length, other.length) > _MOST:
        return
    # Bytes by where they stand in the whole; of which of the two they are shows.
    old = {at: at % 128 for at in _positions(one)}
    new = {at: 128 + at % 128 for at in _positions(other)}
    found = combined(one, bytes(old.values()), held, other, bytes(new.values()), came)
    etags = values(held, b"etag")
    is_same = len(etags) == 1 and _is_strong(etags[0]) and values(came, b"etag") == etags
    assert (strong_etag(held) is not None) == (len(etags) == 1 and _is_strong(etags[0]))
    both = {**old, **new}
    is_one_piece = max(both) - min(both) == len(both) - 1
    assert (found is not None) == (is_same and one.complete == other.complete and is_one_piece)
    if found is not None:
        part, body = found
        assert part == Part(min(both), max(both), one.complete)
        assert body == bytes(both[at] for at in sorted(both))
    assert combined(one, bytes(old.values()) + b"x", held, other, bytes(new.values()), came) is None
    assert combined(one, bytes(old.values()), held, other, bytes(new.values())[1:], came) is None


def _check_answers(request: list[RawField], held: list[RawField]) -> None:
    part = _told(held)
    length = 10 if part is None or part.complete is None else part.complete
    if length > _MOST or (part is not None and part.last >= length):
        return
    body = bytes(at % 256 for at in range(length))
    whole = _answer("GET", request, 200, held, body)
    assert whole is not None
    is_counted = _spec(request) is not None and _holds(request, held)
    at = _wanted(request, length) if is_counted else list(range(length))
    if whole.status != 304:
        assert whole.status == (200 if not is_counted else 206 if at else 416)
        assert list(whole.body) == [one % 256 for one in at]
    if whole.status == 206:
        assert values(whole.fields, b"content-range") == [b"bytes %d-%d/%d" % (at[0], at[-1], length)]
    if whole.status == 416:
        assert values(whole.fields, b"content-range") == [b"bytes */%d" % length]
    in_head = _answer("HEAD", request, 200, held, body)
    assert in_head is not None
    assert in_head.status == (304 if whole.status == 304 else 200)
    if part is None:
        return
    piece = _answer("GET", request, 206, held, body[part.first : part.last + 1])
    is_within = is_counted and bool(at) and set(at) <= set(_positions(part))
    if piece is None:
        assert part.complete is None or not (is_within or whole.status == 304)
    elif part.complete is not None:
        assert piece == whole
    elif piece.status == 206:
        wanted = requested(request)
        assert wanted is not None
        assert [wanted.first, wanted.last] == [at[0], at[-1]]
        assert list(piece.body) == at


def _answer(
    method: str, request: list[RawField], status: int, stored: list[RawField], body: bytes
) -> Answered | None:
    fields = stored if status == 206 else [field for field in stored if field[0].lower() != b"content-range"]
    return answered(method, request, status=status, stored=fields, body=body, received_at=_NOW, now=_NOW)
