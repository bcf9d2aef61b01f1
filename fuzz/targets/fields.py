"""Header fields: which go on to the next hop, and how they are written."""

from fuzz import headers
from proxy.core.http.fields import (
    RawField,
    end_to_end,
    is_safe_value,
    members,
    render,
    request_fields,
    response_fields,
    tokens,
    via_names,
    with_trace_context,
)
from proxy.core.http.storing import stored_fields

TOKENS = (
    *headers.TOKENS,
    b"close, host",
    b"te: ",
    b"transfer-encoding: chunked",
    b"content-length: 1",
    b"expect: ",
)
_HOP = (
    b"connection",
    b"keep-alive",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
)
_VIA = b"1.1 here"


def fuzz_one(data: bytes) -> None:
    """What goes on is what came, in order, without what is for this hop; a head that is written is read the same."""
    fields = headers.fields_of(data)
    for _, value in fields:
        assert members(value) == headers.list_members(value)
        assert tokens([(b"a", value)], b"a") == [
            part.strip(b" \t").lower() for part in value.split(b",") if part.strip(b" \t")
        ]
    on = end_to_end(fields)
    assert end_to_end(on) == on
    listed = {one.lower() for one in tokens(fields, b"connection")} - {b"host", b"content-length"}
    assert on == [field for field in fields if field[0].lower() not in listed and not _is_of_hop(field[0])]
    _check_stored(fields, on)
    assert response_fields(fields, via=_VIA) == [*on, (b"Via", _VIA)]
    request = request_fields(fields, host=b"up", via=_VIA)
    assert {value for name, value in request if name.lower() == b"host"} == {b"up"}
    assert [one for one in request if one[0].lower() not in {b"host", b"via"}] == [
        one for one in on if one[0].lower() not in {b"host", b"via", b"expect"}
    ]
    assert via_names(request, b"here")
    assert via_names(request, b"HERE")
    context = with_trace_context(fields, [(b"traceparent", b"x")])
    assert [value for name, value in context if name.lower() in {b"traceparent", b"tracestate"}] == [b"x"]
    _check_head(request)


def _check_stored(fields: list[RawField], on: list[RawField]) -> None:
    """What goes on is stored, but for what is made anew, cookies and what is left out (RFC 9111 section 3.1)."""
    names = {name.lower() for name, _ in fields}
    omitted = frozenset(name for place, name in enumerate(sorted(names)) if place % 2)
    for left_out in (frozenset(), omitted):
        dropped = {*left_out, b"age", b"content-length", b"set-cookie"}
        assert stored_fields(fields, left_out) == tuple(one for one in on if one[0].lower() not in dropped)


def _is_of_hop(name: bytes) -> bool:
    lower = name.lower()
    return lower in _HOP or lower in {
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authentication-info",
    }


def _check_head(fields: list[tuple[bytes, bytes]]) -> None:
    """Fields that the parser lets through are still so many, with the same values, on the other side."""
    well = [
        (name, value)
        for name, value in fields
        if is_safe_value(value) and is_safe_value(name) and b":" not in name
    ]
    lines = render(b"GET / HTTP/1.1", well).split(b"\r\n")
    assert lines[0] == b"GET / HTTP/1.1"
    assert lines[-2:] == [b"", b""]
    assert [tuple(line.split(b": ", 1)) for line in lines[1:-2]] == well
