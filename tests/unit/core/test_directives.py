"""How Cache-Control is read."""

import math

import pytest

from proxy.core.http.directives import PLAIN, RequestDirectives, delta_seconds, of_request, parse, qualified


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", {}),
        (b" , ,", {}),
        (b"no-store", {b"no-store": None}),
        (b"No-Store", {b"no-store": None}),
        (b"\tpublic ,max-age=60", {b"public": None, b"max-age": b"60"}),
        (b"MAX-AGE=60", {b"max-age": b"60"}),
        (b'max-age="60"', {b"max-age": b"60"}),
        (b"max-age= 60 ", {b"max-age": b""}),
        (b"max-age =60", {b"max-age": b""}),
        (b"private =a", {b"private": b""}),
        (b"max-age=", {b"max-age": b""}),
        (b"a=b=c", {b"a": b"b=c"}),
        (b"max-age=60;no-store", {b"max-age": b"60;no-store"}),
        (b'private="Set-Cookie, X-A", max-age=1', {b"private": b"Set-Cookie, X-A", b"max-age": b"1"}),
        (b'ext="a, no-store, b"', {b"ext": b"a, no-store, b"}),
        (b'ext="a\\", no-store", max-age=1', {b"ext": b'a\\", no-store', b"max-age": b"1"}),
        (b'ext="a\\\\", no-store', {b"ext": b"a\\\\", b"no-store": None}),
        (b'a="", b', {b"a": b"", b"b": None}),
        (b'a="x",,b', {b"a": b"x", b"b": None}),
        (b'a="x', {b"a": b'"x'}),
        (b'a="x"y', {b"a": b'"x"y'}),
        (b'a=""x""', {b"a": b'""x""'}),
        (b'a="x\\"', {b"a": b'"x\\"'}),
        (b'a=x"', {b"a": b'x"'}),
        (b"a='x'", {b"a": b"'x'"}),
    ],
)
def test_directives_are_read_by_lower_case_name(value: bytes, expected: dict[bytes, bytes | None]) -> None:
    """RFC 9111 section 5.2; RFC 9110 section 5.6.4: a comma inside quotes separates nothing."""
    assert parse([(b"Cache-Control", value)]) == expected


def test_directives_of_all_lines_are_one_list() -> None:
    """RFC 9110 section 5.3."""
    fields = [(b"Cache-Control", b"max-age=1"), (b"X", b"no-store"), (b"cache-control", b"private")]
    assert parse(fields) == {b"max-age": b"1", b"private": None}


@pytest.mark.parametrize(
    "lines",
    [
        [b'max-age=60, x="a, no-store'],
        [b'max-age=60, x="a', b'b", no-store'],
        [b'max-age=60, x="a', b"no-store"],
        [b'x="', b"max-age=60", b"no-store"],
        [b'max-age=60, x=a"b, no-store, y="c"'],
        [b'max-age=60, "x, no-store, y"'],
        [b'max-age=60, x=", must-revalidate, no-store'],
        [b'max-age=60, x="a"b, no-store'],
        [b'max-age=60, x="\\", no-store'],
    ],
)
def test_broken_quotes_hide_no_directive(lines: list[bytes]) -> None:
    """RFC 9111 section 4.2.1: whatever the lines are, a prohibition is heard."""
    found = parse([(b"Cache-Control", line) for line in lines])
    assert b"no-store" in found
    assert found.get(b"max-age") == b"60"


def test_a_quoted_string_may_go_over_lines() -> None:
    """RFC 9110 section 5.3: they are one list, joined by commas."""
    fields = [(b"Cache-Control", b'private="a'), (b"Cache-Control", b'b", max-age=1')]
    assert parse(fields) == {b"private": b"a, b", b"max-age": b"1"}


def test_another_field_can_be_read_alike() -> None:
    assert parse([(b"Pragma", b"No-Cache"), (b"Cache-Control", b"x")], b"pragma") == {b"no-cache": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=1, max-age=2", {b"max-age": b"1"}),
        (b"max-age=2, Max-Age=1", {b"max-age": b"2"}),
        (b'private="a", private', {b"private": None}),
        (b'private, private="a"', {b"private": None}),
        (b"no-cache, no-cache", {b"no-cache": None}),
        (b"private=a, private", {b"private": None}),
    ],
)
def test_of_a_repeated_directive_the_first_counts_but_a_bare_one_is_stronger(
    value: bytes, expected: dict[bytes, bytes | None]
) -> None:
    """RFC 9111 section 4.2.1: use the first, or consider the response stale."""
    assert parse([(b"Cache-Control", value)]) == expected


@pytest.mark.parametrize("name", [b"private", b"no-cache"])
@pytest.mark.parametrize(
    ("one", "two", "named"),
    [
        (b'"a"', b'"b"', {b"a", b"b"}),
        (b'"a"', b'"A, c"', {b"a", b"c"}),
        (b'"a"', b'"a"', {b"a"}),
        (b"a", b"b", {b"a", b"b"}),
        (b'"a"', b'""', None),
        (b'""', b'"a"', None),
        (b'"a"', b'"b c"', None),
        (b'"a"', b'"b', None),
    ],
)
def test_the_fields_of_a_repeated_directive_add_up(
    name: bytes, one: bytes, two: bytes, named: set[bytes] | None
) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: each is about the fields that it names; one that nobody can read is about
    all."""
    found = parse(
        [(b"Cache-Control", name + b"=" + one + b", max-age=1"), (b"Cache-Control", name + b"=" + two)]
    )
    assert qualified(found[name]) == (None if named is None else frozenset(named))


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        (None, None),
        (b"", None),
        (b" , ", None),
        (b"a", {b"a"}),
        (b"Set-Cookie, X-A", {b"set-cookie", b"x-a"}),
        (b" a ,,b ", {b"a", b"b"}),
        (b"a b", None),
        (b"a, b:", None),
        (b'"a', None),
        (b'a"', None),
        (b"a\\", None),
        (b"a\n", None),
        (b"\xc3\xa4", None),
    ],
)
def test_a_directive_is_about_the_fields_it_names_or_about_all(
    argument: bytes | None, named: set[bytes] | None
) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7."""
    assert qualified(argument) == (None if named is None else frozenset(named))


def test_one_field_may_be_named_without_quotes() -> None:
    """RFC 9111 section 5.2: recipients ought to accept both forms."""
    assert qualified(parse([(b"Cache-Control", b"no-cache=X-A, max-age=1")])[b"no-cache"]) == frozenset(
        {b"x-a"}
    )


@pytest.mark.parametrize(
    "value", [b'max-age="60', b'max-age=60"', b"max-age='60'", b'max-age="60"1', b'max-age="6\\0"']
)
def test_a_number_in_broken_quotes_is_over_already(value: bytes) -> None:
    """RFC 9111 section 4.2.1: what is invalid had better be taken for stale."""
    assert delta_seconds(parse([(b"Cache-Control", value)])[b"max-age"]) == 0


@pytest.mark.parametrize(
    ("argument", "seconds"),
    [
        (b"0", 0),
        (b"1", 1),
        (b"0060", 60),
        (b"31536000", 31536000),
        (b"2147483648", 2**31),
        (b"2147483649", 2**31),
        (b"9" * 20, 2**31),
        (b"0" * 30 + b"60", 60),
        (b"0" * 10 + b"1401129740", 1401129740),
        (b"0" * 5000, 0),
        (b"9" * 5000, 2**31),
        (None, 0),
        (b"", 0),
        (b"-1", 0),
        (b"+1", 0),
        (b"1.5", 0),
        (b"1e3", 0),
        (b"60s", 0),
        (b"6 0", 0),
        (b"0x10", 0),
        (b"1_000", 0),
        (b"\xef\xbc\x96", 0),
        (b"\xb2", 0),
        (b"forever", 0),
    ],
)
def test_what_is_no_whole_number_of_seconds_is_over_already(argument: bytes | None, seconds: int) -> None:
    """RFC 9111 sections 1.2.2 and 4.2.1."""
    assert delta_seconds(argument) == seconds


def test_a_quoted_number_of_seconds_is_understood() -> None:
    """RFC 9111 section 5.2: recipients ought to accept both forms."""
    assert delta_seconds(parse([(b"Cache-Control", b'max-age="3600"')])[b"max-age"]) == 3600


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"no-cache", RequestDirectives(no_cache=True)),
        (b"No-Cache", RequestDirectives(no_cache=True)),
        (b"max-age=0", RequestDirectives(no_cache=True, max_age=0.0)),
        (b"max-age=00", RequestDirectives(no_cache=True, max_age=0.0)),
        (b'max-age="0"', RequestDirectives(no_cache=True, max_age=0.0)),
        (b"no-store", RequestDirectives(no_store=True)),
        (b"no-cache, no-store", RequestDirectives(no_cache=True, no_store=True)),
        (b"max-age=60", RequestDirectives(max_age=60.0)),
        (b"max-age", RequestDirectives(no_cache=True, max_age=0.0)),
        (b"max-age=x", RequestDirectives(no_cache=True, max_age=0.0)),
        (b"max-stale", RequestDirectives(max_stale=math.inf)),
        (b"max-stale=30", RequestDirectives(max_stale=30.0)),
        (b"max-stale=x", RequestDirectives()),
        (b"max-stale=5, max-stale", RequestDirectives(max_stale=5.0)),
        (b"min-fresh=30", RequestDirectives(min_fresh=30.0)),
        (b"only-if-cached", RequestDirectives(only_if_cached=True)),
        (b'ext="no-cache, no-store"', PLAIN),
    ],
)
def test_what_a_request_says_of_caches(value: bytes, expected: RequestDirectives) -> None:
    """RFC 9111 sections 5.2.1.1 to 5.2.1.7; what can't be read is taken for the strictest."""
    assert of_request([(b"Cache-Control", value)]) == expected


@pytest.mark.parametrize("value", [b"no-cache", b"No-Cache", b"x, no-cache"])
def test_a_lone_pragma_refetches(value: bytes) -> None:
    """RFC 9111 section 5.4."""
    assert of_request([(b"Pragma", value)]) == RequestDirectives(no_cache=True)


def test_beside_cache_control_a_pragma_is_ignored() -> None:
    """RFC 9111 section 5.4."""
    fields = [(b"Pragma", b"no-cache"), (b"Cache-Control", b"max-age=60")]
    assert of_request(fields) == RequestDirectives(max_age=60.0)


@pytest.mark.parametrize(
    "fields", [[], [(b"Accept", b"no-cache")], [(b"Pragma", b"x")], [(b"Cache-Control", b"")]]
)
def test_a_silent_request_is_plain(fields: list[tuple[bytes, bytes]]) -> None:
    assert of_request(iter(fields)) is PLAIN
