"""Lifetimes that the origin states with Expires and Cache-Control (RFC 9111 sections 4.2.1, 5.2.2 and 5.3)."""

from pathlib import Path

import pytest

from tests.integration.opaque import answering, at, reused, running

DATE = f"Date: {at()}"


@pytest.mark.parametrize(
    "value",
    [
        "Thu, 18 Aug 2050 02:01:18 GMT",
        "Tue, 19 Jan 2038 14:14:08 GMT",
        "Sun, 21 Nov 2286 04:46:39 GMT",
        "Thursday, 18-Aug-50 02:01:18 GMT",
        "Thu Aug 18 02:01:18 2050",
        "Mon Aug  8 02:01:18 2050",
    ],
)
async def test_each_form_of_a_date_is_read(value: str, tmp_path: Path) -> None:
    """RFC 9110 section 5.6.7."""
    assert await reused(tmp_path, f"Expires: {value}", DATE)


@pytest.mark.parametrize(
    "value",
    ["THU, 18 Aug 2050 02:01:18 GMT", "Thu, 18 AUG 2050 02:01:18 GMT", "Thu, 18 Aug 2050 02:01:18 gMT"],
)
async def test_a_date_is_read_without_regard_to_case(value: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.2: that caches ought to do."""
    assert await reused(tmp_path, f"Expires: {value}", DATE)


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "",
        "never",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 2050 02:01:18 +0000",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 31 Feb 2050 02:01:18 GMT",
        "2050-08-18T02:01:18Z",
    ],
)
async def test_what_is_no_date_is_over(value: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.3: an invalid date, `0` in particular, is a time in the past."""
    assert not await reused(tmp_path, f"Expires: {value}", DATE, seconds=0)


async def test_two_dates_are_none(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.1: of two different ones neither can be believed."""
    later = [f"Expires: {at(3600)}", f"Expires: {at(7200)}"]
    assert not await reused(tmp_path, *later, DATE, seconds=0)


async def test_a_lifetime_is_counted_from_the_date_of_the_answer(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.1: Expires minus Date, whatever the clock here says."""
    slow = (f"Date: {at(-10_000)}", f"Expires: {at(-9_000)}")
    assert not await reused(tmp_path, *slow, seconds=0)
    fast = (f"Date: {at(10_000)}", f"Expires: {at(11_000)}")
    (tmp_path / "fast").mkdir()
    assert await reused(tmp_path / "fast", *fast, seconds=999)
    (tmp_path / "over").mkdir()
    assert not await reused(tmp_path / "over", *fast, seconds=1_000)


@pytest.mark.parametrize(
    "fields",
    [
        ["Cache-Control: max-age=3600", f"Expires: {at(-7200)}"],
        ["Cache-Control: max-age=3600", "Expires: 0"],
        ["Cache-Control: max-age=0, s-maxage=3600"],
        ["Cache-Control: s-maxage=3600, max-age=0"],
        ["Cache-Control: max-age=003600"],
        ['Cache-Control: max-age="3600"'],
        ["Cache-Control: max-age=99999999999"],
        ["Cache-Control: unheard-of=1, max-age=3600"],
        ['Cache-Control: unheard-of="max-age=0, no-store", max-age=3600'],
        ["Cache-Control: MaX-aGe=3600"],
        ["Cache-Control: max-age=1800, max-age=1"],
    ],
)
async def test_the_stronger_word_keeps_fresh(fields: list[str], tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.1, 5.2 and 5.2.3: s-maxage before max-age before Expires; of two the first."""
    assert await reused(tmp_path, *fields, DATE)


@pytest.mark.parametrize(
    "fields",
    [
        ["Cache-Control: max-age=0", f"Expires: {at(3600)}"],
        ["Cache-Control: max-age=3600, s-maxage=0"],
        ["Cache-Control: max-age=1, max-age=1800"],
        ["Cache-Control: max-age=1", "Cache-Control: max-age=1800"],
        ["Cache-Control: max-age='3600'"],
        ["Cache-Control: max-age=3600.0"],
        ["Cache-Control: max-age=-3600"],
        ["Cache-Control: max-age=a3600"],
        ["Cache-Control: max-age=3600a"],
        ["Cache-Control: max-age"],
        ["Cache-Control: max-age=", f"Expires: {at(3600)}"],
        ['Cache-Control: unheard-of="max-age=3600", max-age=1'],
        ['Cache-Control: max-age=1, unheard-of="max-age=3600"'],
        ["Cache-Control: max-age=3600, No-StOrE"],
        ["Cache-Control: max-age=3600, private"],
        ["Cache-Control: max-age=3600, no-cache"],
        ["Cache-Control: max-age=3600, no-store=never"],
    ],
)
async def test_the_stronger_word_makes_stale(fields: list[str], tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.1, 5.2.2.4, 5.2.2.5 and 5.2.2.7; what can't be read is over (1.2.2)."""
    assert not await reused(tmp_path, *fields, DATE)


@pytest.mark.parametrize("directive", ['no-cache="a, b"', 'private="a, b"', 'No-Cache="A , b"', "private=a"])
async def test_fields_that_are_named_are_not_stored(directive: str, tmp_path: Path) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: the rest of the answer is; who fetched it has all of it."""
    said = (f"Cache-Control: max-age=3600, {directive}", "A: 1", "C: 3", DATE)
    response = await reused(tmp_path, *said)
    assert response is not None
    assert (response.field("a"), response.field("c")) == ("", "3")


async def test_a_qualified_directive_does_not_weaken_a_whole_one(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.7."""
    assert not await reused(tmp_path, 'Cache-Control: max-age=3600, private="a", private', DATE)


@pytest.mark.parametrize("directive", ['private=""', 'private="a b"', 'no-cache="a, é"', 'no-cache="a'])
async def test_a_qualified_directive_that_names_no_fields_is_about_all(
    directive: str, tmp_path: Path
) -> None:
    """RFC 9111 sections 4.2.1 and 5.2.2.7, conservatively."""
    assert not await reused(tmp_path, f"Cache-Control: max-age=3600, {directive}", DATE)


async def test_pragma_is_of_no_account_in_a_response(tmp_path: Path) -> None:
    """RFC 9111 section 5.4."""
    assert await reused(tmp_path, "Cache-Control: max-age=3600", "Pragma: no-cache", DATE)


async def test_the_operators_lifetime_is_for_an_origin_that_says_nothing(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.1: an explicit word is stronger."""
    silent, strict = answering(), answering("Cache-Control: max-age=0")
    async with running(tmp_path, silent, strict, ttl="60s", jitter=0) as (proxy, origin):
        for target, calls in (("/silent", 1), ("/silent", 1), ("/zero", 2), ("/zero", 3)):
            await proxy.get(target)
            assert len(origin.seen) == calls
