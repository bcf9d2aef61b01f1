"""What is past its freshness: used while it is revalidated and when the origin fails, and where that is forbidden
(RFC 9111 section 4.2.4, RFC 5861)."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.harness import PATIENCE
from tests.integration.opaque import CLOSED, Origin, answering, reused, running

ETAG = 'ETag: "1"'
BUSY = answering("Retry-After: 1", status="503 Service Unavailable", body=b"busy")


async def called(origin: Origin, times: int) -> None:
    """Wait until the origin has been asked so often."""
    async with asyncio.timeout(PATIENCE):
        while len(origin.seen) < times:
            await asyncio.sleep(0)


async def test_a_stale_one_is_used_while_it_is_revalidated(tmp_path: Path) -> None:
    """RFC 5861 section 3: at once, and the origin is asked behind the answer."""
    first = answering("Cache-Control: max-age=1, stale-while-revalidate=3600", ETAG)
    async with running(tmp_path, first, answering("Cache-Control: max-age=60")) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(3)
        stale = await proxy.get("/a")
        assert (stale.body, stale.field("age")) == (b"1", "3")
        await called(origin, 2)
        assert origin.asked(-1)[b"if-none-match"] == b'"1"'
        async with asyncio.timeout(PATIENCE):
            while (await proxy.get("/a")).body != b"2":
                await asyncio.sleep(0)
        assert len(origin.seen) == 2


async def test_after_the_window_it_is_not_used(tmp_path: Path) -> None:
    """RFC 5861 section 3: the window begins where the freshness ends."""
    first = answering("Cache-Control: max-age=1, stale-while-revalidate=4", ETAG)
    async with running(tmp_path, first) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(5)
        assert (await proxy.get("/a")).body == b"2"
        assert len(origin.seen) == 2


async def test_without_a_window_of_the_origin_there_is_none(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.4: the operator's window is for lifetimes that the operator chose."""
    assert not await reused(tmp_path, "Cache-Control: max-age=1", ETAG)


@pytest.mark.parametrize(
    "value", ["stale-while-revalidate", "stale-while-revalidate=x", "stale-while-revalidate=-5"]
)
async def test_a_window_that_cannot_be_read_is_none(value: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.2.1, RFC 5861 section 3."""
    assert not await reused(tmp_path, f"Cache-Control: max-age=1, {value}", ETAG)


@pytest.mark.parametrize(
    "directive",
    [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=2",
        "no-cache",
        "must-revalidate, stale-if-error=600",
        "must-revalidate, stale-while-revalidate=600",
        "s-maxage=2, stale-if-error=600",
    ],
)
@pytest.mark.parametrize("validator", [ETAG, "X-None: 1"])
async def test_it_is_an_error_where_the_origin_must_be_asked_and_is_gone(
    directive: str, validator: str, tmp_path: Path
) -> None:
    """RFC 9111 sections 4.2.4, 5.2.2.2, 5.2.2.4, 5.2.2.8 and 5.2.2.10."""
    first = answering(f"Cache-Control: max-age=2, {directive}", validator)
    async with running(tmp_path, first, CLOSED) as (proxy, origin):
        assert (await proxy.get("/a")).body == b"1"
        proxy.clock.tick(3)
        response = await proxy.get("/a")
        # Without a validator there is nothing left by then that could have been confirmed.
        assert response.status in ({504} if validator == ETAG else {502, 504})
        assert response.field("content-type") == "application/problem+json"
        assert response.body != b"1"
        assert len(origin.seen) >= 2


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "s-maxage=2", "no-cache"])
async def test_who_accepts_what_is_stale_does_not_get_it_either(directive: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.2: whatever the request says."""
    first = answering(f"Cache-Control: max-age=2, {directive}", ETAG)
    async with running(tmp_path, first) as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(3)
        assert (await proxy.get("/a", "Cache-Control: max-stale")).body == b"2"


async def test_the_origins_own_failure_is_passed_on_where_it_must_be_asked(tmp_path: Path) -> None:
    """RFC 9111 section 4.3.3."""
    first = answering("Cache-Control: max-age=2, must-revalidate", ETAG)
    async with running(tmp_path, first, BUSY) as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(3)
        response = await proxy.get("/a")
        assert (response.status, response.body) == (503, b"busy")


@pytest.mark.parametrize("failure", [CLOSED, BUSY])
async def test_a_stale_one_outlives_a_failure_as_long_as_the_origin_says(
    failure: None, tmp_path: Path
) -> None:
    """RFC 5861 section 4."""
    first = answering("Cache-Control: max-age=2, stale-if-error=60")
    async with running(tmp_path, first, failure, stale_if_error="0s") as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(61)
        stale = await proxy.get("/a")
        assert (stale.status, stale.body, stale.field("age")) == (200, b"1", "61")
        proxy.clock.tick(60)
        assert (await proxy.get("/a")).status in {502, 503}


@pytest.mark.parametrize(("if_error", "body"), [(600, b"1"), (2, b"busy")])
async def test_a_failure_behind_the_answer_replaces_nothing_that_outlives_it(
    if_error: int, body: bytes, tmp_path: Path
) -> None:
    """RFC 5861 sections 3 and 4: even if the origin has it stored."""
    first = answering(f"Cache-Control: max-age=1, stale-while-revalidate=60, stale-if-error={if_error}")
    down = answering("Cache-Control: max-age=30", status="503 Service Unavailable", body=b"busy")
    async with running(tmp_path, first, down) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(5)
        assert (await proxy.get("/a")).body == b"1"
        await called(origin, 2)
        await proxy.quiet()
        assert (await proxy.get("/a")).body == body


@pytest.mark.parametrize(
    ("accepted", "body"), [("max-stale=10", b"1"), ("max-stale=4", b"2"), ("max-stale=0", b"2")]
)
async def test_who_accepts_only_so_much_is_not_answered_with_more_behind_a_call(
    accepted: str, body: bytes, tmp_path: Path
) -> None:
    """RFC 9111 section 5.2.1.2: what is accepted is a bound for stale-while-revalidate too."""
    first = answering("Cache-Control: max-age=1, stale-while-revalidate=3600")
    async with running(tmp_path, first, answering("Cache-Control: no-store")) as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(6)
        assert (await proxy.get("/a", f"Cache-Control: {accepted}")).body == body


@pytest.mark.parametrize("status", ["500 No", "502 No", "503 No", "504 No"])
async def test_each_error_that_may_pass_is_a_failure(status: str, tmp_path: Path) -> None:
    """RFC 5861 section 4: 500, 502, 503 and 504."""
    first = answering("Cache-Control: max-age=2, stale-if-error=60")
    async with running(tmp_path, first, answering(status=status)) as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(3)
        assert (await proxy.get("/a")).body == b"1"


async def test_an_answer_that_is_no_failure_replaces_what_is_stale(tmp_path: Path) -> None:
    """RFC 9111 section 4.3.3."""
    first = answering("Cache-Control: max-age=2, stale-if-error=60")
    gone = answering("Cache-Control: max-age=60", status="404 Not Found")
    async with running(tmp_path, first, gone) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(3)
        for _ in range(2):
            assert (await proxy.get("/a")).status == 404
        assert len(origin.seen) == 2


async def test_the_operator_says_for_how_long_where_the_origin_does_not(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.4: only where it is not forbidden."""
    first = answering("Cache-Control: max-age=2")
    async with running(tmp_path, first, CLOSED, stale_if_error="60s") as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(3)
        assert (await proxy.get("/a")).body == b"1"
        proxy.clock.tick(60)
        assert (await proxy.get("/a")).status == 502


async def test_an_error_is_no_copy_to_fall_back_on_for_what_was_never_seen(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.4."""
    async with running(tmp_path, CLOSED) as (proxy, _):
        assert (await proxy.get("/a")).status == 502
