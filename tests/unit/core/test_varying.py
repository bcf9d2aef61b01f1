"""Which fields are found to differ each time; and that a request without them is still the request for the same."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http import varying
from proxy.core.http.fields import RawField
from proxy.core.http.plain import PlainHead, read
from proxy.core.http.varying import Varying

TELLING = frozenset({b"x-tenant", b"cache-control"})
ONCE = (
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"etag",
    b"host",
    b"max-forwards",
    b"server",
    b"transfer-encoding",
    b"user-agent",
)
"""What aiohttp's parser takes once at the most; the canary below says whether that is so."""
HEAD = b"GET /u/a HTTP/1.1\r\nHost: h\r\n"


def showing(*names: bytes, telling: frozenset[bytes] = TELLING) -> Varying:
    """One that has found these to differ each time."""
    one = Varying(telling)
    for number in range(varying._CHANGES + 1):
        one.learn([(name, b"%d" % number) for name in names])
    return one


def request(*lines: bytes, body: bytes = b"") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def takes(one: Varying, name: bytes) -> bool:
    return one.without(request(name + b": 1")) == request()


def test_nothing_is_known_at_first() -> None:
    one = Varying(TELLING)
    assert one.is_empty
    data = request(b"X-Id: 1")
    assert one.without(data) is data


def test_a_field_is_found_out_with_its_ninth_value() -> None:
    one = Varying(TELLING)
    for number in range(8):
        one.learn([(b"Host", b"h"), (b"X-Id", b"%d" % number), (b"Accept", b"*/*")])
        assert one.is_empty
    one.learn([(b"X-Id", b"8")])
    assert not one.is_empty
    assert takes(one, b"X-Id")
    assert not takes(one, b"Accept")
    assert not takes(one, b"x-id"), "who spells it otherwise is another client"


def test_an_equal_value_says_nothing_and_an_absent_one_neither() -> None:
    one = Varying(TELLING)
    for number in range(80):
        one.learn([(b"X-Id", b"%d" % (number // 10))])
        one.learn([])
    assert one.is_empty
    one.learn([(b"X-Id", b"last")])
    assert takes(one, b"X-Id")


def test_a_value_that_comes_back_is_another_all_the_same() -> None:
    """Of two clients that take turns, what is left is what they ask for."""
    one = Varying(TELLING)
    for _ in range(4):
        one.learn([(b"X-Pod", b"a")])
        one.learn([(b"X-Pod", b"b")])
    assert one.is_empty
    one.learn([(b"X-Pod", b"a")])
    assert takes(one, b"X-Pod")


@pytest.mark.parametrize("spell", [bytes.lower, bytes.upper, bytes.title, bytes.swapcase])
@pytest.mark.parametrize("name", [*ONCE, *sorted(TELLING)])
def test_what_counts_is_never_taken_out(name: bytes, spell: "type[bytes]") -> None:
    one = showing(spell(name), b"X-Id")
    data = request(spell(name) + b": 1", b"X-Id: 1")
    assert one.without(data) == request(spell(name) + b": 1")


@pytest.mark.parametrize("body", [False, True])
def test_what_a_head_is_judged_by_is_never_taken_out(body: bool) -> None:
    head = PlainHead(telling=(b"x-tenant",), credentials=(b"x-token",), body=body)
    assert {
        b"x-tenant",
        b"x-token",
        b"authorization",
        b"cookie",
        b"connection",
        b"via",
        b"range",
    } < head.telling
    for name in head.telling:
        one = showing(name.title(), telling=head.telling)
        assert one.is_empty


def test_only_so_many_names_are_watched() -> None:
    one = Varying(TELLING)
    for number in range(9):
        one.learn([(b"X-%d" % name, b"%d" % number) for name in range(varying._TAKEN, 200)])
    assert len(one._last) == varying._WATCHED == 64
    for number in range(9):
        one.learn([(b"X-Late", b"%d" % number)])
    assert not takes(one, b"X-Late")
    assert len(one._last) == varying._WATCHED


def test_what_counts_takes_no_place_among_the_watched() -> None:
    one = Varying(frozenset(b"telling-%d" % number for number in range(100)))
    one.learn([(b"Telling-%d" % number, b"") for number in range(100)])
    one.learn([(name, b"") for name in ONCE])
    assert one._last == {}


def test_only_so_many_names_are_taken_out() -> None:
    names = [b"X-%d" % number for number in range(60)]
    one = showing(*names)
    assert len(one._taken) == varying._TAKEN == 16
    assert [takes(one, name) for name in names] == [True] * 16 + [False] * 44


def test_a_name_is_taken_as_it_is_spelled_and_whole() -> None:
    one = showing(b"X.Id*", b"X-Id")
    for name in (b"XxId", b"X.Id", b"X.Idd", b"X.Id**", b"XX-Id", b"X-Id-More", b"X-I", b"X"):
        assert not takes(one, name)
    assert takes(one, b"X.Id*")
    assert takes(one, b"X-Id")


@pytest.mark.parametrize("value", [b"", b" ", b"1", b"  a b  ", b':"\\~!', b"X-Id: 2", b"x" * 10_000])
def test_a_line_of_visible_ascii_is_taken_out_wherever_it_stands(value: bytes) -> None:
    one, line = showing(b"X-Id"), b"X-Id:" + value
    for lines in ([line], [line, b"X-A: 1"], [b"X-A: 1", line], [b"X-A: 1", line, b"X-B: 1"]):
        assert one.without(request(*lines)) == request(*(other for other in lines if other != line))
    first = HEAD.replace(b"Host", line + b"\r\nHost") + b"\r\n"
    assert one.without(first) == request()


@pytest.mark.parametrize(
    "line",
    [
        b"X-Id: \xe9",
        b"X-Id: a\tb",
        b"X-Id:\ta",
        b"X-Id: a\0",
        b"X-Id: a\x7f",
        b"X-Id: a\nX-A: b",
        b"X-Id: a\rX-A: b",
        b"X-Id : a",
        b" X-Id: a",
        b"X-A: b X-Id: a",
        b"X-A: b\nX-Id: a",
        b"X-A: b\rX-Id: a",
        b"X-Id",
    ],
)
def test_any_other_line_stays(line: bytes) -> None:
    data = request(line)
    assert showing(b"X-Id").without(data) == data


@pytest.mark.parametrize(
    "body",
    [
        b"X-Id: 1\r\n",
        b"\r\nX-Id: 1\r\n",
        b"\r\n\r\nX-Id: 1\r\n\r\n",
        b"a\r\nX-Id: 1\r\nb",
        request(b"X-Id: 1"),
    ],
)
def test_a_body_stays_as_it_is(body: bytes) -> None:
    one = showing(b"X-Id")
    for lines in ([b"X-Id: 1"], [], [b"X-A: 1", b"X-Id: 1", b"X-Id: 2"]):
        rest = [line for line in lines if not line.startswith(b"X-Id")]
        assert one.without(request(*lines, body=body)) == request(*rest, body=body)


@pytest.mark.parametrize("data", [b"", b"\r", b"X-Id: 1", b"\r\nX-Id: 1\r\n", HEAD, HEAD + b"X-Id: 1\r\n"])
def test_what_has_no_end_of_a_head_stays_as_it_is(data: bytes) -> None:
    assert showing(b"X-Id").without(data) == data


def test_a_head_of_more_fields_than_are_taken_does_not_become_a_smaller_one() -> None:
    """The slow way refuses so many; they must not be left out unseen."""
    one = showing(b"X-Id", b"X-Trace")
    for lines in ([b"X-Id: 1"] * 300, [b"X-Id: 1", b"X-Trace: 2"] * 150):
        assert one.without(request(*lines)) != request()
    many = [b"X-%d: 1" % number for number in range(256)]
    assert one.without(request(*many, b"X-Id: 1")) != request(*many)


# Properties.

NAMES = st.sampled_from((b"X-Request-Id", b"x-request-id", b"traceparent", b"X-A", b"Accept", b"User-Agent", b"Host",
                         b"Content-Type", b"X-Tenant", b"cache-control"))  # fmt: skip
VALUES = st.text([chr(byte) for byte in range(0x20, 0x7F)], max_size=8).map(str.encode)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
DIFFERENT = st.lists(
    st.tuples(st.one_of(st.sampled_from((b"X-Request-Id", b"traceparent")), NAMES), VALUES),
    unique_by=lambda field: field[0].lower(),
    max_size=6,
).map(lambda fields: [field for field in fields if field[0] != b"Host"])
BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=8),
    st.sampled_from((b"X-Request-Id: 1\r\n", b"\r\nX-Request-Id: 1\r\n\r\n", b"\r\n\r\ntraceparent: 1\r\n")),
)
TAKEN = (b"X-Request-Id", b"traceparent")


def written(fields: list[RawField], body: bytes) -> bytes:
    if body:
        fields = [*fields, (b"Content-Length", b"%d" % len(body))]
    return b"POST /u HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % one for one in fields) + b"\r\n" + body


def test_what_is_left_is_a_request_for_the_same() -> None:
    one, used = showing(*TAKEN), Counter[str]()

    @settings(settings.get_profile("deep"))
    @given(DIFFERENT, BODIES)
    def compare(fields: list[RawField], body: bytes) -> None:
        data = written([(b"Host", b"h"), *fields], body)
        before, after = read(data), read(one.without(data))
        used.update(examples=1, read=before is not None)
        if before is None:
            return
        assert after is not None
        rest = [field for field in before.fields if field[0] not in TAKEN]
        assert after == before._replace(fields=rest)
        assert one.without(one.without(data)) == one.without(data)
        used.update(taken=len(rest) < len(before.fields))

    compare()
    assert used["taken"] > used["examples"] / 10, used


PIECES = st.lists(
    st.sampled_from((b"X-Request-Id", b"traceparent", b"X-A", b": ", b":", b" ", b"\t", b"\r\n", b"\r", b"\n", b"1",
                     b"\xff", b"\0", b"\r\nX-Request-Id: 1", b"\r\n\r\n", HEAD)),
    max_size=12,
).map(b"".join)  # fmt: skip


@given(PIECES)
def test_of_any_bytes_no_more_goes_than_whole_lines_of_those_fields(data: bytes) -> None:
    """Held against a slow reading, line by line."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        assert showing(*TAKEN).without(data) == data
        return
    first, *lines = head.split(b"\r\n")
    kept = [first]
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (colon and name in TAKEN and all(0x20 <= byte < 0x7F for byte in value)):
            kept.append(line)
    assert showing(*TAKEN).without(data) == b"\r\n".join(kept) + blank + body


@given(st.lists(FIELDS, max_size=40))
def test_what_is_taken_has_changed_so_often(seen: list[list[RawField]]) -> None:
    one = Varying(TELLING)
    values: dict[bytes, list[bytes]] = {}
    for fields in seen:
        one.learn(fields)
        for name, value in fields:
            if values.setdefault(name, [value])[-1] != value:
                values[name].append(value)
    for name, different in values.items():
        may_be = name.lower() not in TELLING.union(ONCE)
        assert takes(one, name) is (may_be and len(different) > varying._CHANGES)
