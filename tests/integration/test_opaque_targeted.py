"""CDN-Cache-Control: what the origin says to caches that stand for it alone (RFC 9213), over real sockets."""

from pathlib import Path

import pytest

from tests.integration.opaque import CLOSED, answering, at, reused, running


@pytest.mark.parametrize(
    "fields",
    [
        ["CDN-Cache-Control: max-age=3600"],
        ["CDN-Cache-Control: max-age=2147483648"],
        ["CDN-Cache-Control: max-age=99999999999"],
        ["CDN-Cache-Control: s-maxage=3600"],
        ["CDN-Cache-Control: unheard-of, max-age=3600"],
        ["CDN-Cache-Control: max-age=3600;note=yes"],
        ["CDN-Cache-Control: max-age=3600, no-store=?0"],
        ["CDN-Cache-Control: unheard-of", "CDN-Cache-Control: max-age=3600"],
    ],
)
async def test_a_lifetime_for_caches_like_this_one_counts(fields: list[str], tmp_path: Path) -> None:
    """RFC 9213 sections 2.1 and 3.1."""
    assert await reused(tmp_path, *fields)


@pytest.mark.parametrize(
    "fields",
    [
        [f"Expires: {at(-10_000)}", f"Date: {at()}"],
        ["Expires: 0", f"Date: {at()}"],
        ["Cache-Control: max-age=1"],
        ["Cache-Control: no-store"],
        ["Cache-Control: private"],
        ["Cache-Control: no-cache"],
    ],
)
async def test_it_goes_before_what_all_caches_are_told(fields: list[str], tmp_path: Path) -> None:
    """RFC 9213 section 2.2: Cache-Control and Expires are as if they were absent."""
    assert await reused(tmp_path, "CDN-Cache-Control: max-age=10000", *fields)


@pytest.mark.parametrize(
    "value",
    ["max-age=0", "max-age=1", "private", "no-cache", "no-store", "max-age=3600, no-store", "unheard-of"],
)
async def test_it_forbids_what_all_caches_are_allowed(value: str, tmp_path: Path) -> None:
    """RFC 9213 section 2.2: what it does not say is not looked up in Cache-Control or Expires either."""
    everybody = ("Cache-Control: max-age=10000", f"Expires: {at(10_000)}", f"Date: {at()}")
    assert not await reused(tmp_path, f"CDN-Cache-Control: {value}", *everybody)


async def test_an_answer_is_as_old_as_its_age_says(tmp_path: Path) -> None:
    """RFC 9213 section 2.2: the lifetime is the field's, the arithmetic that of RFC 9111 section 4.2.3."""
    assert not await reused(tmp_path, "CDN-Cache-Control: max-age=3600", "Age: 7200", f"Date: {at()}")


@pytest.mark.parametrize(
    "value",
    [
        "max-age=10000, &&&&&",
        "MaX-aGe=10000",
        "max-age =10000",
        "max-age= 10000",
        "max-age=10000,",
        "",
    ],
)
async def test_what_is_malformed_is_as_if_it_were_absent(value: str, tmp_path: Path) -> None:
    """RFC 9213 section 2.1: a field that can't be parsed or is empty is ignored."""
    assert not await reused(tmp_path, f"CDN-Cache-Control: {value}", "Cache-Control: no-store")
    (tmp_path / "allowed").mkdir()
    assert await reused(tmp_path / "allowed", f"CDN-Cache-Control: {value}", "Cache-Control: max-age=60")


@pytest.mark.parametrize(
    "value",
    [
        'max-age="10000"',
        "max-age=10000.0",
        "max-age=-1",
        "max-age",
        "s-maxage=a, max-age=10000",
        "no-store=1, max-age=10000",
        "private=all, max-age=10000",
        'private=("a"), max-age=10000',
        "no-cache=1, max-age=10000",
        "public=1",
    ],
)
@pytest.mark.parametrize("plain", ["no-store", "public, max-age=10000"])
async def test_what_has_another_type_allows_nothing(value: str, plain: str, tmp_path: Path) -> None:
    """RFC 9213 sections 2.1 and 2.2: what forbids does so whatever its value, no lifetime comes of what is none, and
    Cache-Control does not count in place of it."""
    assert not await reused(tmp_path, f"CDN-Cache-Control: {value}", f"Cache-Control: {plain}", seconds=0)


async def test_a_client_sees_all_that_the_origin_said(tmp_path: Path) -> None:
    """RFC 9213 section 2.3: caches behind this one may be meant, too; the times are the origin's."""
    times = (f"Date: {at()}", f"Expires: {at(1)}")
    said = answering("CDN-Cache-Control: max-age=10000", "Cache-Control: max-age=1", *times)
    async with running(tmp_path, said) as (proxy, origin):
        first = await proxy.get("/a")
        proxy.clock.tick(3)
        second = await proxy.get("/a")
        assert len(origin.seen) == 1
        for response in (first, second):
            assert response.field("cdn-cache-control") == "max-age=10000"
            assert response.field("cache-control") == "max-age=1"
            assert (response.field("date"), response.field("expires")) == (at(), at(1))
        assert second.field("age") == "3"


async def test_it_forbids_serving_stale_as_cache_control_does(tmp_path: Path) -> None:
    """RFC 9213 section 2.2; RFC 9111 section 5.2.2.2."""
    strict = answering('ETag: "1"', "CDN-Cache-Control: max-age=2, must-revalidate")
    async with running(tmp_path, strict, CLOSED) as (proxy, _):
        assert (await proxy.get("/a")).body == b"1"
        proxy.clock.tick(3)
        response = await proxy.get("/a")
        assert response.status == 504
        assert response.body != b"1"


async def test_the_one_of_a_304_counts_from_then_on(tmp_path: Path) -> None:
    """RFC 9111 section 3.2, RFC 9213 section 2.2."""
    first = answering('ETag: "1"', "CDN-Cache-Control: max-age=2")
    second = answering('ETag: "1"', "CDN-Cache-Control: max-age=3600", confirms=True)
    async with running(tmp_path, first, second) as (proxy, origin):
        for seconds in (0, 3, 600):
            proxy.clock.tick(seconds)
            response = await proxy.get("/a")
        assert (response.body, response.field("cdn-cache-control")) == (b"1", "max-age=3600")
        assert len(origin.seen) == 2


async def test_of_a_request_it_says_nothing(tmp_path: Path) -> None:
    """RFC 9213 section 2: it is a response field."""
    async with running(tmp_path, answering("Cache-Control: max-age=60")) as (proxy, origin):
        for _ in range(2):
            await proxy.get("/a", "CDN-Cache-Control: no-store")
        assert len(origin.seen) == 1
