"""What a request says of caches, and whose answer may be whose (RFC 9111 sections 3.5, 5.2.1 and 5.4)."""

from pathlib import Path

import pytest

from tests.integration.harness import Proxy
from tests.integration.opaque import Origin, answering, at, running

ETAG = 'ETag: "1"'
HOUR = "Cache-Control: max-age=3600"
PLAIN = answering(HOUR)


async def asked_again(proxy: Proxy, origin: Origin, *fields: str, seconds: float = 0.0) -> bool:
    """Whether the origin is asked for a request with these fields, so long after a plain one."""
    await proxy.get("/a")
    proxy.clock.tick(seconds)
    await proxy.get("/a", *fields)
    return len(origin.seen) == 2


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("Cache-Control: no-cache", 0),
        ("Cache-Control: No-Cache", 0),
        ("Cache-Control: no-store", 0),
        ("Cache-Control: max-age=0", 0),
        ("Cache-Control: max-age=1", 3),
        ("Cache-Control: min-fresh=3600", 1),
        ("Cache-Control: min-fresh=5000", 0),
        ("Pragma: no-cache", 0),
        ("pragma: foo, No-Cache", 0),
    ],
)
async def test_who_wants_more_than_what_is_held_has_the_origin_asked(
    field: str, seconds: float, tmp_path: Path
) -> None:
    """RFC 9111 sections 5.2.1.1, 5.2.1.3, 5.2.1.4, 5.2.1.5 and 5.4."""
    async with running(tmp_path, PLAIN) as (proxy, origin):
        assert await asked_again(proxy, origin, field, seconds=seconds)


@pytest.mark.parametrize(
    "fields",
    [
        ["Cache-Control: max-age=60"],
        ["Cache-Control: min-fresh=60"],
        ["Cache-Control: max-stale"],
        ["Cache-Control: only-if-cached"],
        ["Cache-Control: no-transform"],
        ["Cache-Control: nothing-to-see-here"],
        ["Cache-Control: max-age=60", "Pragma: no-cache"],
        ["Pragma: unheard-of"],
    ],
)
async def test_who_wants_no_more_is_answered_from_it(fields: list[str], tmp_path: Path) -> None:
    """RFC 9111 sections 5.2.1, 5.2.3 and 5.4."""
    async with running(tmp_path, PLAIN) as (proxy, origin):
        assert not await asked_again(proxy, origin, *fields, seconds=3)


async def test_the_age_that_an_answer_came_with_counts(tmp_path: Path) -> None:
    """RFC 9111 sections 5.2.1.1 and 5.2.1.3."""
    for number, directive in enumerate(("max-age=600", "min-fresh=2000")):
        (tmp_path / str(number)).mkdir()
        async with running(tmp_path / str(number), answering(HOUR, "Age: 1800")) as (proxy, origin):
            assert await asked_again(proxy, origin, f"Cache-Control: {directive}")


@pytest.mark.parametrize(("seconds", "stale"), [(1, 5), (1, 2), (2000, None)])
async def test_who_accepts_what_is_stale_gets_it(seconds: int, stale: int | None, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.2."""
    async with running(tmp_path, answering(f"Cache-Control: max-age={seconds}")) as (proxy, origin):
        value = "max-stale" if stale is None else f"max-stale={stale}"
        assert not await asked_again(proxy, origin, f"Cache-Control: {value}", seconds=seconds + 2)


async def test_not_for_longer_than_is_accepted(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.2."""
    async with running(tmp_path, answering("Cache-Control: max-age=1")) as (proxy, origin):
        assert await asked_again(proxy, origin, "Cache-Control: max-stale=5", seconds=7)


@pytest.mark.parametrize(
    "validator", [(ETAG, b"if-none-match"), (f"Last-Modified: {at(-60)}", b"if-modified-since")]
)
async def test_who_wants_it_confirmed_causes_a_validation(
    validator: tuple[str, bytes], tmp_path: Path
) -> None:
    """RFC 9111 section 5.2.1.4."""
    field, condition = validator
    async with running(tmp_path, answering(HOUR, field, confirms=True)) as (proxy, origin):
        await proxy.get("/a")
        assert (await proxy.get("/a", "Cache-Control: no-cache")).body == b"1"
        assert condition in origin.asked(1)


async def test_what_came_for_who_wants_nothing_stored_is_not(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.5."""
    async with running(tmp_path, PLAIN) as (proxy, _):
        await proxy.get("/a", "Cache-Control: no-store")
        assert (await proxy.get("/a")).body == b"2"


async def test_who_wants_what_is_held_alone_causes_no_call(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.7: 504 where there is nothing."""
    async with running(tmp_path, PLAIN) as (proxy, origin):
        assert (await proxy.get("/a", "Cache-Control: only-if-cached")).status == 504
        assert not origin.seen
        await proxy.get("/a")
        proxy.clock.tick(3601)
        assert (await proxy.get("/a", "Cache-Control: only-if-cached")).status == 504
        assert len(origin.seen) == 1


@pytest.mark.parametrize(
    "fields", [(HOUR,), (f"Expires: {at(3600)}", f"Date: {at()}"), ("Cache-Control: max-age=60, private",)]
)
async def test_what_came_for_a_credential_is_for_nobody_else(fields: tuple[str, ...], tmp_path: Path) -> None:
    """RFC 9111 section 3.5."""
    async with running(tmp_path, answering(*fields)) as (proxy, origin):
        assert (await proxy.get("/a", "Authorization: FOO")).body == b"1"
        assert origin.asked(0)[b"authorization"] == b"FOO"
        assert (await proxy.get("/a")).body == b"2"
        assert (await proxy.get("/a", "Authorization: BAR")).body == b"3"


@pytest.mark.parametrize("directives", ["max-age=60, public", "max-age=60, must-revalidate", "s-maxage=60"])
async def test_unless_the_origin_says_that_it_may_be(directives: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.5."""
    async with running(tmp_path, answering(f"Cache-Control: {directives}")) as (proxy, origin):
        for fields in (("Authorization: FOO",), (), ("Authorization: BAR",)):
            assert (await proxy.get("/a", *fields)).body == b"1"
        assert len(origin.seen) == 1


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ('If-None-Match: "1"', 304),
        ('If-None-Match: "2", W/"1"', 304),
        ("If-None-Match: *", 304),
        ('If-None-Match: "2"', 200),
        (f"If-Modified-Since: {at(-3000)}", 304),
        (f"If-Modified-Since: {at(-2000)}", 304),
        (f"If-Modified-Since: {at(-3001)}", 200),
    ],
)
async def test_who_has_a_copy_is_told_whether_it_is_good(field: str, status: int, tmp_path: Path) -> None:
    """RFC 9111 section 4.3.2."""
    held = answering(HOUR, ETAG, f"Last-Modified: {at(-3000)}", f"Date: {at()}", "X-Own: 1")
    async with running(tmp_path, held) as (proxy, origin):
        await proxy.get("/a")
        response = await proxy.get("/a", field)
        assert (response.status, response.field("etag"), len(origin.seen)) == (status, '"1"', 1)
        assert response.body == (b"" if status == 304 else b"1")


async def test_a_tag_goes_before_a_time(tmp_path: Path) -> None:
    """RFC 9110 section 13.2.2: with If-None-Match, If-Modified-Since is not looked at."""
    held = answering(HOUR, ETAG, f"Last-Modified: {at(-3000)}", f"Date: {at()}")
    async with running(tmp_path, held) as (proxy, _):
        await proxy.get("/a")
        late, early = f"If-Modified-Since: {at(-1)}", f"If-Modified-Since: {at(-9000)}"
        assert (await proxy.get("/a", 'If-None-Match: "1"', early)).status == 304
        assert (await proxy.get("/a", 'If-None-Match: "2"', late)).status == 200
