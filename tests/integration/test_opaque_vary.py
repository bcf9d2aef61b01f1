"""Several representations of one target, told apart by what Vary names (RFC 9111 section 4.1)."""

from pathlib import Path

import pytest

from tests.integration.opaque import answering, reused, running

MINUTE = "Cache-Control: max-age=60"

Fields = tuple[str, ...]


@pytest.mark.parametrize(
    ("vary", "first", "second"),
    [
        ("Foo", ("Foo: 1",), ("Foo: 1",)),
        ("foo", ("Foo: 1",), ("fOO: 1",)),
        ("Foo", ("Foo: 1", "Other: 2"), ("Foo: 1", "Other: 3")),
        ("Foo", (), ("Other: 3",)),
        ("Foo, Bar", ("Foo: 1", "Bar: abc"), ("Bar: abc", "Foo: 1")),
        ("Foo,Bar ,  Baz", ("Foo: 1", "Bar: abc", "Baz: 789"), ("Foo: 1", "Bar: abc", "Baz: 789")),
        ("Foo, Bar, Baz", ("Foo: 1", "Baz: 789"), ("Foo: 1", "Baz: 789")),
        ("Foo", ("Foo: 1, 2",), ("Foo: 1", "Foo: 2")),
        ("Foo", ("Foo: 1,2",), ("Foo:  1, 2 ",)),
        ("Accept-Language", ("Accept-Language: en, de",), ("Accept-Language:  en ,   de",)),
        ("Accept-Language", ("Accept-Language: en, de",), ("Accept-Language: eN, De",)),
        ("Accept-Encoding", ("Accept-Encoding: gzip, br",), ("Accept-Encoding: GZIP,,br",)),
        ("Accept", ("Accept: text/html;q=0.5",), ("Accept: Text/HTML;q=0.5",)),
    ],
)
async def test_what_was_selected_alike_is_used_again(
    vary: str, first: Fields, second: Fields, tmp_path: Path
) -> None:
    """RFC 9111 section 4.1: lines are combined, and white space and known case do not count."""
    async with running(tmp_path, answering(MINUTE, f"Vary: {vary}")) as (proxy, origin):
        await proxy.get("/a", *first)
        assert (await proxy.get("/a", *second)).body == b"1"
        assert len(origin.seen) == 1


@pytest.mark.parametrize(
    ("vary", "first", "second"),
    [
        ("Foo", ("Foo: 1",), ("Foo: 2",)),
        ("Foo", (), ("Foo: 1",)),
        ("Foo", ("Foo: 1",), ()),
        ("Foo", ("Foo:",), ()),
        ("Foo", ("Foo: a",), ("Foo: A",)),
        ("Foo", ("Foo: 1, 2",), ("Foo: 2, 1",)),
        ("Foo", ("Foo: 12",), ("Foo: 1, 2",)),
        ("Foo, Bar", ("Foo: 1", "Bar: abc"), ("Foo: 2", "Bar: abc")),
        ("Foo, Bar", ("Foo: 1",), ()),
        ("Foo, Bar", ("Foo: 1",), ("Bar: 1",)),
        ("Foo, Bar, Baz", ("Foo: 1", "Bar: abc4", "Baz: 789"), ("Foo: 1", "Baz: 789", "Bar: abc")),
        ("Accept-Language", ("Accept-Language: en, de",), ("Accept-Language: de, en",)),
    ],
)
async def test_what_was_selected_otherwise_is_not(
    vary: str, first: Fields, second: Fields, tmp_path: Path
) -> None:
    """RFC 9111 section 4.1. That an order counts is more than the rule, for there are origins that break ties by it."""
    async with running(tmp_path, answering(MINUTE, f"Vary: {vary}")) as (proxy, origin):
        await proxy.get("/a", *first)
        assert (await proxy.get("/a", *second)).body == b"2"
        assert len(origin.seen) == 2


async def test_two_lines_of_vary_are_one_list(tmp_path: Path) -> None:
    """RFC 9110 section 5.3."""
    async with running(tmp_path, answering(MINUTE, "Vary: Foo", "Vary: Bar")) as (proxy, origin):
        for fields in (("Foo: 1", "Bar: 1"), ("Foo: 1", "Bar: 2"), ("Foo: 2", "Bar: 1")):
            await proxy.get("/a", *fields)
        assert len(origin.seen) == 3


@pytest.mark.parametrize(
    "lines",
    [["*"], ["*, *"], ["*", "*"], [", *"], ["", "*"], ["*, Foo"], ["Foo, *"], ["Foo", "*"], ["Foo,*"]],
)
async def test_a_star_anywhere_fits_no_other_request(lines: list[str], tmp_path: Path) -> None:
    """RFC 9111 section 4.1."""
    assert not await reused(tmp_path, MINUTE, *[f"Vary: {line}" for line in lines], seconds=0)


@pytest.mark.parametrize("value", ["", ",", " , "])
async def test_a_vary_that_names_nothing_is_none(value: str, tmp_path: Path) -> None:
    """RFC 9110 section 5.6.1: empty members of a list do not count."""
    assert await reused(tmp_path, MINUTE, f"Vary: {value}", seconds=0)


async def test_several_are_held_side_by_side(tmp_path: Path) -> None:
    """RFC 9111 section 4.1."""
    async with running(tmp_path, answering(MINUTE, "Vary: Foo")) as (proxy, origin):
        for value, body in (("1", b"1"), ("2", b"2"), ("1", b"1"), ("2", b"2")):
            assert (await proxy.get("/a", f"Foo: {value}")).body == body
        assert len(origin.seen) == 2


async def test_what_was_stored_before_the_origin_varied_is_used_by_nobody(tmp_path: Path) -> None:
    """RFC 9111 section 4.1: of those that fit the newest is used, and it says by what it is selected."""
    answers = (answering("Cache-Control: max-age=1"), answering(MINUTE, "Vary: Foo"))
    async with running(tmp_path, *answers) as (proxy, origin):
        await proxy.get("/a", "Foo: 1")
        proxy.clock.tick(2)
        assert (await proxy.get("/a", "Foo: 1")).body == b"2"
        assert (await proxy.get("/a", "Foo: 2")).body == b"3"
        assert (await proxy.get("/a", "Foo: 1")).body == b"2"
        assert len(origin.seen) == 3


async def test_what_selected_a_copy_goes_along_when_it_is_validated(tmp_path: Path) -> None:
    """RFC 9111 sections 4.1 and 4.3.1."""
    said = answering("Cache-Control: max-age=1", 'ETag: "1"', "Vary: Foo", confirms=True)
    async with running(tmp_path, said) as (proxy, origin):
        await proxy.get("/a", "Foo: 1")
        proxy.clock.tick(2)
        assert (await proxy.get("/a", "Foo: 1")).body == b"1"
        assert (origin.asked(1)[b"foo"], origin.asked(1)[b"if-none-match"]) == (b"1", b'"1"')


@pytest.mark.parametrize("directive", ["private", "no-cache"])
async def test_a_vary_that_is_not_to_be_stored_is_not_forgotten(directive: str, tmp_path: Path) -> None:
    """RFC 9111 sections 4.1, 5.2.2.4 and 5.2.2.7: without it the answer would be one for everybody."""
    said = answering(f'Cache-Control: max-age=60, {directive}="Vary"', "Vary: X-A")
    async with running(tmp_path, said) as (proxy, _):
        for number, value in enumerate("121", 1):
            assert (await proxy.get("/a", f"X-A: {value}")).body == b"%d" % number


async def test_a_target_is_one_with_its_query(tmp_path: Path) -> None:
    """RFC 9111 section 2: the key is method and target; RFC 9110 section 4.2.3 compares queries byte by byte."""
    async with running(tmp_path, answering(MINUTE)) as (proxy, origin):
        for target, calls in (
            ("/a?x=1", 1),
            ("/a?x=2", 2),
            ("/a?x=1", 2),
            ("/a", 3),
            ("/a?", 4),
            ("/a?X=1", 5),
        ):
            await proxy.get(target)
            assert len(origin.seen) == calls
