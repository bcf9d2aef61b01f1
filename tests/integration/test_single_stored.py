"""What of a single's answer is stored and replayed, over real sockets."""

from pathlib import Path

import pytest

from tests.integration.test_single_conditions import ITEM, Origin, before


@pytest.mark.parametrize("storage", ["database", "memory"])
async def test_what_must_be_confirmed_each_time_is(storage: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.4: by a 304, for that is what it is stored for; and not by a failure."""
    origin = Origin("Cache-Control: no-cache, max-age=60")
    async with before(origin, tmp_path, storage=storage) as (upstream, proxy):
        await proxy.get("/users/1")
        for _ in range(2):
            response = await proxy.get("/users/1")
            assert (response.status, response.body) == (200, ITEM)
            assert "fwd-status=304" in response.field("cache-status")
        assert len(upstream.seen) == 3
        await upstream.stop()
        assert (await proxy.get("/users/1")).status == 502


@pytest.mark.parametrize("directive", ["private", "no-cache"])
async def test_fields_that_a_directive_names_are_not_replayed(directive: str, tmp_path: Path) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: of a 304 no more than of a 200."""
    said = f'Cache-Control: max-age=60, {directive}="X-Account, X-Own"'
    origin = Origin(said, "X-Account: 7", "X-Kept: 1")
    async with before(origin, tmp_path) as (upstream, proxy):
        await proxy.get("/users/1")
        for seconds in (0, 61, 0):
            proxy.clock.tick(seconds)
            response = await proxy.get("/users/1")
            assert [response.field(name) for name in ("x-account", "x-own", "x-kept")] == ["", "", "1"]
        assert len(upstream.seen) == 2


async def test_a_304_that_sets_a_cookie_is_for_one_caller(tmp_path: Path) -> None:
    """RFC 9111 section 7.3: as a 200 is, and the caller gets the origin's own answer."""
    origin = Origin("Cache-Control: max-age=60")
    async with before(origin, tmp_path) as (upstream, proxy):
        await proxy.get("/users/1")
        proxy.clock.tick(61)
        origin.fields.append("Set-Cookie: a=b")
        response = await proxy.get("/users/1")
        assert (response.body, response.field("set-cookie")) == (ITEM, "a=b")
        await proxy.get("/users/1")
        assert len(upstream.seen) > 3
