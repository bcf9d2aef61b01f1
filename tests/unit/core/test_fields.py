"""Which header fields go on to the next hop, and how."""

import pytest

from proxy.core.http.fields import (
    RawField,
    end_to_end,
    is_safe_value,
    render,
    request_fields,
    response_fields,
    tokens,
    values,
    via_names,
)

HOP_BY_HOP = [
    b"Connection",
    b"Keep-Alive",
    b"Proxy-Authenticate",
    b"Proxy-Authentication-Info",
    b"Proxy-Authorization",
    b"Proxy-Connection",
    b"TE",
    b"Trailer",
    b"Transfer-Encoding",
    b"Upgrade",
]


def test_values_are_found_whatever_their_case_and_kept_in_order() -> None:
    """RFC 9110 section 5.1: field names are case-insensitive."""
    fields = [(b"X-A", b"1"), (b"x-b", b"2"), (b"x-a", b" 3 "), (b"X-a", b"")]
    assert values(fields, b"x-a") == [b"1", b" 3 ", b""]
    assert values(fields, b"x-c") == []


def test_tokens_are_taken_from_all_lines_of_a_list() -> None:
    """RFC 9110 sections 5.3 and 5.6.1: a list may be spread over lines, and have empty members."""
    fields = [(b"Vary", b"A,b ,\tC"), (b"x", b"no"), (b"VARY", b", d,, "), (b"vary", b"")]
    assert tokens(fields, b"vary") == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("name", HOP_BY_HOP)
@pytest.mark.parametrize("change", [bytes.lower, bytes.upper, bytes.title])
def test_a_hop_by_hop_field_goes_no_further(name: bytes, change: type[bytes]) -> None:
    """RFC 9110 section 7.6.1."""
    assert end_to_end([(b"A", b"1"), (change(name), b"x"), (b"B", b"2")]) == [(b"A", b"1"), (b"B", b"2")]


@pytest.mark.parametrize(
    "connection",
    [
        [b"X-Mine"],
        [b"x-mine"],
        [b"close, X-MINE"],
        [b" \tx-mine\t , keep-alive"],
        [b",,x-mine,"],
        [b"close", b"x-mine"],
        [b"close", b"", b"a,x-MINE"],
    ],
)
def test_a_field_that_connection_lists_goes_no_further(connection: list[bytes]) -> None:
    """RFC 9110 section 7.6.1."""
    lines = [(b"Connection", value) for value in connection]
    fields = [(b"X-Mine", b"1"), *lines, (b"x-mine", b"2"), (b"X-Mine-Too", b"3")]
    assert end_to_end(fields) == [(b"X-Mine-Too", b"3")]


@pytest.mark.parametrize("name", [b"Content-Length", b"Host"])
def test_framing_and_routing_cannot_be_taken_off_by_listing(name: bytes) -> None:
    """RFC 9110 section 7.6.1: a sender must not list what all recipients need; we don't let it."""
    fields = [(b"Connection", name + b", close, " + name.upper()), (name, b"5")]
    assert end_to_end(fields) == [(name, b"5")]


def test_end_to_end_fields_keep_order_case_and_bytes() -> None:
    """RFC 9110 section 5.3: the order of lines of one name must not change."""
    fields: list[RawField] = [
        (b"x-B", b"2"),
        (b"X-A", b"caf\xe9 \xff"),
        (b"Cookie", b"a=1"),
        (b"x-b", b" \tinner\t "),
        (b"cookie", b"b=2"),
        (b"Content-Length", b"007"),
        (b"Empty", b""),
        (b"Via", b"1.0 other"),
    ]
    assert end_to_end(fields) == fields
    assert end_to_end(iter(fields)) == fields


@pytest.mark.parametrize("name", [b"Host", b"host", b"HOST"])
def test_host_is_replaced_where_it_stood(name: bytes) -> None:
    """RFC 9110 section 7.2."""
    fields = [(b"A", b"1"), (name, b"client.example"), (b"B", b"2")]
    assert request_fields(fields, host=b"up:81", via=b"1.1 me") == [
        (b"A", b"1"),
        (name, b"up:81"),
        (b"B", b"2"),
        (b"Via", b"1.1 me"),
    ]


def test_a_missing_host_is_put_first() -> None:
    """RFC 9110 section 7.2: HTTP/1.0 has none."""
    sent = request_fields([(b"A", b"1")], host=b"up", via=b"1.0 me")
    assert sent == [(b"Host", b"up"), (b"A", b"1"), (b"Via", b"1.0 me")]


@pytest.mark.parametrize("name", [b"Expect", b"expect", b"EXPECT"])
def test_expect_is_answered_by_this_hop(name: bytes) -> None:
    """RFC 9110 section 10.1.1."""
    sent = request_fields([(b"Host", b"a"), (name, b"100-continue")], host=b"up", via=b"1.1 me")
    assert sent == [(b"Host", b"up"), (b"Via", b"1.1 me")]


def test_hop_by_hop_fields_of_a_request_and_of_a_response_are_dropped() -> None:
    """RFC 9110 section 7.6.1."""
    fields = [
        (b"Host", b"a"),
        (b"Connection", b"X-Hop"),
        (b"X-Hop", b"1"),
        (b"TE", b"trailers"),
        (b"A", b"1"),
    ]
    assert request_fields(fields, host=b"a", via=b"v") == [(b"Host", b"a"), (b"A", b"1"), (b"Via", b"v")]
    assert response_fields(fields, via=b"v") == [(b"Host", b"a"), (b"A", b"1"), (b"Via", b"v")]


def test_via_is_appended_behind_what_is_there() -> None:
    """RFC 9110 section 7.6.3: each recipient appends."""
    fields = [(b"via", b"1.0 fred, 1.1 p"), (b"A", b"1")]
    expected = [(b"via", b"1.0 fred, 1.1 p"), (b"A", b"1"), (b"Via", b"1.1 me")]
    assert response_fields(fields, via=b"1.1 me") == expected
    assert request_fields([(b"Host", b"h"), *fields], host=b"h", via=b"1.1 me") == [
        (b"Host", b"h"),
        *expected,
    ]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([b"1.1 hs-0a1b"], True),
        ([b"1.1 HS-0A1B"], True),
        ([b"HTTP/1.1 hs-0a1b (handshake)"], True),
        ([b"1.0 fred, 1.1 hs-0a1b"], True),
        ([b"1.0 fred,1.1\ths-0a1b,1.1 x"], True),
        ([b"1.0 fred", b"1.1 hs-0a1b"], True),
        ([b"1.1 hs-0a1bc"], False),
        ([b"1.1 xhs-0a1b"], False),
        ([b"1.1 hs-0a1b:80"], False),
        ([b"1.1 fred"], False),
        ([b""], False),
        ([], False),
    ],
)
def test_a_request_that_has_been_here_is_known_by_its_via(lines: list[bytes], *, found: bool) -> None:
    """RFC 9110 section 7.6.3."""
    assert via_names([(b"VIA", line) for line in lines], b"hs-0a1b") is found
    assert via_names([(b"via", line) for line in lines], b"HS-0a1B") is found
    assert not via_names([(b"X-Via", line) for line in lines], b"hs-0a1b")


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        (b"", True),
        (b"plain, with \t tab", True),
        (b"caf\xe9\xff", True),
        (b"a\r\nX: 1", False),
        (b"a\nX: 1", False),
        (b"a\rb", False),
        (b"a\0b", False),
        (b"\n", False),
    ],
)
def test_a_value_that_would_end_its_line_is_not_safe(value: bytes, *, safe: bool) -> None:
    """RFC 9110 section 5.5: CR, LF and NUL are dangerous."""
    assert is_safe_value(value) is safe


def test_a_head_is_rendered_with_its_blank_line() -> None:
    """RFC 9112 section 2.1."""
    assert render(b"HTTP/1.1 200 OK", []) == b"HTTP/1.1 200 OK\r\n\r\n"
    fields = [(b"A", b"1"), (b"a", b"\xe9"), (b"B", b"")]
    assert render(b"GET / HTTP/1.1", iter(fields)) == b"GET / HTTP/1.1\r\nA: 1\r\na: \xe9\r\nB: \r\n\r\n"
