"""Raw header fields: what goes on to the next hop, and what does not.

Rules (RFC 9110 section 7.6):

1. Connection, what it lists, and the fields that are hop-by-hop by definition go no further.
2. Content-Length goes on where it stands; Transfer-Encoding is ours to write on each hop.
3. Host is the upstream's, in the place where the client's stood.
4. Via gets our pseudonym as a field of its own at the end, which appends to the list (section 7.6.3).

Everything else keeps its order, case and bytes.
"""

from collections.abc import Collection, Iterable

RawField = tuple[bytes, bytes]

# Proxy-* concern the hop between the client and its proxy; Trailer announces trailers, which we drop.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Naming these in Connection must not change how a message is framed or routed.
_NEVER_LISTED = frozenset({b"content-length", b"host"})

TRACE_CONTEXT = frozenset({b"traceparent", b"tracestate"})
"""W3C Trace Context section 2. It tells nothing of who asks."""


def with_trace_context(fields: Iterable[RawField], context: Iterable[RawField]) -> tuple[RawField, ...]:
    """The fields with another trace context."""
    return (*(field for field in fields if field[0].lower() not in TRACE_CONTEXT), *context)


def values(fields: Iterable[RawField], name: bytes) -> list[bytes]:
    """All values of a field, in order. `name` is in lower case."""
    length = len(name)  # of most names it is another one, which takes less to see
    return [value for field, value in fields if len(field) == length and field.lower() == name]


def tokens(fields: Iterable[RawField], name: bytes) -> list[bytes]:
    """The members of a comma-separated list field, lower case, over all its lines."""
    members = (part.strip(b" \t").lower() for value in values(fields, name) for part in value.split(b","))
    return [member for member in members if member]


def members(value: bytes) -> list[bytes]:
    """The members of a list, commas inside quoted strings left alone (RFC 9110 section 5.6.1)."""
    if b'"' not in value:
        return [part for part in value.split(b",") if part.strip()]
    found, current, quoted, escaped = [], bytearray(), False, False
    for byte in value:
        if escaped:
            escaped = False
        elif quoted and byte == ord("\\"):
            escaped = True
        elif byte == ord('"'):
            quoted = not quoted
        elif byte == ord(",") and not quoted:
            found.append(bytes(current))
            current.clear()
            continue
        current.append(byte)
    found.append(bytes(current))
    return [member for member in found if member.strip()]


def end_to_end(fields: Iterable[RawField]) -> list[RawField]:
    """The fields that go on to the next hop (RFC 9110 section 7.6.1)."""
    return [field for _, field in _passed(fields)]


def _passed(fields: Iterable[RawField]) -> list[tuple[bytes, RawField]]:
    """The fields that go on to the next hop, each with its name in lower case."""
    named = [(field[0].lower(), field) for field in fields]
    dropped: Collection[bytes] = _HOP_BY_HOP
    listed = [field for name, field in named if name == b"connection"]
    if listed:
        dropped = _HOP_BY_HOP.union(tokens(listed, b"connection")) - _NEVER_LISTED
    return [one for one in named if one[0] not in dropped]


def request_fields(fields: Iterable[RawField], *, host: bytes, via: bytes) -> list[RawField]:
    """The fields of a request as they are passed on.

    Expect is dropped with them: this hop answers it itself, when the body is first read.
    """
    forwarded: list[RawField] = []
    has_host = False
    for lower, field in _passed(fields):
        if lower == b"expect":
            continue
        if lower == b"host":
            has_host = True
            forwarded.append((field[0], host))
        else:
            forwarded.append(field)
    if not has_host:
        forwarded.insert(0, (b"Host", host))
    forwarded.append((b"Via", via))
    return forwarded


def response_fields(fields: Iterable[RawField], *, via: bytes) -> list[RawField]:
    """The fields of a response as they are passed on."""
    return [*end_to_end(fields), (b"Via", via)]


def via_names(fields: Iterable[RawField], pseudonym: bytes) -> bool:
    """Whether a request has been here before (RFC 9110 section 7.6.3)."""
    wanted = pseudonym.lower()
    return any(wanted in member.split() for member in tokens(fields, b"via"))


def is_safe_value(value: bytes) -> bool:
    """Whether a field value can be written without becoming something else (RFC 9110 section 5.5)."""
    return b"\r" not in value and b"\n" not in value and b"\0" not in value


def render(start_line: bytes, fields: Iterable[RawField]) -> bytes:
    """A message head, blank line included.

    Raises ValueError where a field, or the start line, would end its line before its end. None should come so far; but
    fields are kept in a store that somebody may have written to, and a head that is split is somebody else's answer.
    """
    lines = [start_line]
    lines += [name + b": " + value for name, value in fields]
    lines += [b"", b""]
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise ValueError("a line of the head is more than one")
    return head
