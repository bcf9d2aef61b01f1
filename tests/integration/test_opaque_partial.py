"""Ranges: answered from what is held, and parts stored, used and completed (RFC 9110 section 14, RFC 9111 sections 3.3
and 3.4)."""

from pathlib import Path

import pytest

from tests.integration.harness import Response
from tests.integration.opaque import CLOSED, Answer, answering, at, running

MINUTE = "Cache-Control: max-age=60"
ETAG = 'ETag: "1"'
WHOLE = b"0123456789"
WHAT_IT_IS = answering(MINUTE, body=b"abc")


def part(first: int, last: int, *fields: str, body: bytes | None = None) -> Answer:
    """A 206 with these bytes of the whole."""
    content_range = f"Content-Range: bytes {first}-{last}/{len(WHOLE)}"
    body = WHOLE[first : last + 1] if body is None else body
    return answering(MINUTE, content_range, *fields, status="206 Partial Content", body=body)


def seen(response: Response) -> tuple[int, str, bytes]:
    """What the tests compare of a response."""
    return response.status, response.field("content-range"), response.body


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-1", (206, "bytes 0-1/10", b"01")),
        ("bytes=1-", (206, "bytes 1-9/10", b"123456789")),
        ("bytes=-1", (206, "bytes 9-9/10", b"9")),
        ("bytes=-99", (206, "bytes 0-9/10", WHOLE)),
        ("bytes=8-99", (206, "bytes 8-9/10", b"89")),
        ("bytes=10-", (416, "bytes */10", b"")),
        ("bytes=-0", (416, "bytes */10", b"")),
        ("bytes=5-4", (200, "", WHOLE)),
        ("bytes=x-", (200, "", WHOLE)),
        ("lines=0-1", (200, "", WHOLE)),
        ("bytes=0-1, 4-5", (200, "", WHOLE)),
    ],
)
async def test_a_part_is_cut_from_the_whole(
    asked: str, expected: tuple[int, str, bytes], tmp_path: Path
) -> None:
    """RFC 9110 sections 14.1.2, 14.2, 15.3.7 and 15.5.17."""
    async with running(tmp_path, answering(MINUTE, ETAG, "A: 1", body=WHOLE)) as (proxy, origin):
        await proxy.get("/a")
        response = await proxy.get("/a", f"Range: {asked}")
        assert seen(response) == expected
        if response.status == 206:
            assert (response.field("etag"), response.field("a")) == ('"1"', "1")
        assert len(origin.seen) == 1


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"1"', 206),
        ('"2"', 200),
        ('W/"1"', 200),
        (at(-3600), 206),
        (at(-3601), 200),
        (at(60), 200),
        ("x", 200),
    ],
)
async def test_a_part_is_for_who_has_the_rest_of_the_same(
    condition: str, status: int, tmp_path: Path
) -> None:
    """RFC 9110 section 13.1.5: If-Range, by strong comparison."""
    whole = answering(MINUTE, ETAG, f"Last-Modified: {at(-3600)}", f"Date: {at()}", body=WHOLE)
    async with running(tmp_path, whole) as (proxy, origin):
        await proxy.get("/a")
        response = await proxy.get("/a", "Range: bytes=0-1", f"If-Range: {condition}")
        assert (response.status, len(origin.seen)) == (status, 1)


async def test_a_date_that_may_be_of_two_versions_is_no_condition(tmp_path: Path) -> None:
    """RFC 9110 sections 8.8.2.2 and 13.1.5: it may have changed once more within that second."""
    just_now = answering(MINUTE, f"Last-Modified: {at()}", f"Date: {at()}", body=WHOLE)
    async with running(tmp_path, just_now) as (proxy, _):
        await proxy.get("/a")
        assert seen(await proxy.get("/a", "Range: bytes=0-1", f"If-Range: {at()}")) == (200, "", WHOLE)


async def test_who_has_all_of_it_needs_no_part(tmp_path: Path) -> None:
    """RFC 9110 section 13.2.2: If-None-Match goes before Range."""
    async with running(tmp_path, answering(MINUTE, ETAG, body=WHOLE)) as (proxy, _):
        await proxy.get("/a")
        assert (await proxy.get("/a", "Range: bytes=0-1", 'If-None-Match: "1"')).status == 304


async def test_head_has_no_ranges(tmp_path: Path) -> None:
    """RFC 9110 section 14.2: Range is defined for GET."""
    async with running(tmp_path, answering(MINUTE, ETAG, body=WHOLE)) as (proxy, _):
        async with proxy.client() as client:
            await client.get("/a")
            request = b"HEAD /a HTTP/1.1\r\nHost: app\r\nRange: bytes=0-1\r\n\r\n"
            response = await client.request(request, head_only=True)
            assert (response.status, response.field("content-length")) == (200, "10")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=-5", ("bytes 5-9/10", b"56789")),
        ("bytes=5-9", ("bytes 5-9/10", b"56789")),
        ("bytes=6-8", ("bytes 6-8/10", b"678")),
        ("bytes=6-", ("bytes 6-9/10", b"6789")),
        ("bytes=-1", ("bytes 9-9/10", b"9")),
    ],
)
async def test_a_part_is_stored_and_used(asked: str, expected: tuple[str, bytes], tmp_path: Path) -> None:
    """RFC 9111 section 3.3: for what lies wholly in it."""
    async with running(tmp_path, part(5, 9, ETAG)) as (proxy, origin):
        first = await proxy.get("/a", "Range: bytes=-5")
        assert seen(first) == (206, "bytes 5-9/10", b"56789")
        assert origin.asked(0)[b"range"] == b"bytes=-5"
        assert seen(await proxy.get("/a", f"Range: {asked}")) == (206, *expected)
        assert len(origin.seen) == 1


@pytest.mark.parametrize("asked", ["bytes=4-6", "bytes=0-1", "bytes=-6", "bytes=0-"])
async def test_a_part_does_not_do_for_what_lies_beside_it(asked: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.3."""
    async with running(tmp_path, part(5, 9)) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=-5")
        await proxy.get("/a", f"Range: {asked}")
        assert len(origin.seen) == 2


async def test_a_part_is_no_answer_to_who_wants_the_whole(tmp_path: Path) -> None:
    """RFC 9111 section 3.3: and without a strong validator it can't be completed."""
    async with running(tmp_path, part(0, 4), answering(MINUTE, body=WHOLE)) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        assert seen(await proxy.get("/a")) == (200, "", WHOLE)
        assert b"range" not in origin.asked(1)


@pytest.mark.parametrize(("first", "last", "rest"), [(0, 4, "bytes=5-"), (5, 9, "bytes=0-4")])
async def test_a_part_is_completed(first: int, last: int, rest: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.4: what is missing is asked for, if it is still of the same; the whole is then held."""
    other = (last + 1, 9) if first == 0 else (0, first - 1)
    async with running(tmp_path, part(first, last, ETAG), part(*other, ETAG)) as (proxy, origin):
        await proxy.get("/a", f"Range: bytes={first}-{last}")
        for _ in range(2):
            response = await proxy.get("/a")
            assert seen(response) == (200, "", WHOLE)
            assert response.field("content-length") == "10"
        asked = origin.asked(1)
        assert (asked[b"range"], asked[b"if-range"]) == (rest.encode(), b'"1"')
        assert len(origin.seen) == 2


async def test_parts_of_wholes_of_different_lengths_are_not_joined(tmp_path: Path) -> None:
    """RFC 9111 section 3.4: one of them is wrong."""
    longer = answering(
        MINUTE, ETAG, "Content-Range: bytes 0-4/11", status="206 Partial Content", body=b"01234"
    )
    async with running(tmp_path, longer, part(5, 9, ETAG), WHAT_IT_IS) as (proxy, _):
        await proxy.get("/a", "Range: bytes=0-4")
        await proxy.get("/a", "Range: bytes=5-9")
        assert (await proxy.get("/a")).body == WHAT_IT_IS.body


async def test_what_has_changed_is_not_completed(tmp_path: Path) -> None:
    """RFC 9110 section 13.1.5, RFC 9111 section 3.4: then the whole of the new one comes."""
    new = answering(MINUTE, 'ETag: "2"', body=b"abc")
    async with running(tmp_path, part(0, 4, ETAG), new) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        for _ in range(2):
            assert seen(await proxy.get("/a")) == (200, "", b"abc")
        assert len(origin.seen) == 2


async def test_a_rest_of_something_else_is_not_joined(tmp_path: Path) -> None:
    """RFC 9111 section 3.4: the strong validators must be equal. What is whole is asked for."""
    wrong, whole = part(5, 9, 'ETag: "2"', body=b"VWXYZ"), answering(MINUTE, 'ETag: "2"', body=b"QRSTUVWXYZ")
    async with running(tmp_path, part(0, 4, ETAG), wrong, whole) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        for _ in range(2):
            assert seen(await proxy.get("/a")) == (200, "", b"QRSTUVWXYZ")
        assert b"range" not in origin.asked(2)
        assert len(origin.seen) == 3


async def test_two_parts_of_one_thing_are_joined(tmp_path: Path) -> None:
    """RFC 9111 section 3.4: and the newer one's fields go before."""
    older, newer = part(0, 5, ETAG, "A: 1", "B: 1"), part(4, 9, ETAG, "A: 2")
    async with running(tmp_path, older, newer) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-5")
        await proxy.get("/a", "Range: bytes=4-9")
        whole = await proxy.get("/a")
        assert seen(whole) == (200, "", WHOLE)
        assert [value for name, value in whole.fields if name == b"A"] == [b"2"]
        assert seen(await proxy.get("/a", "Range: bytes=3-7")) == (206, "bytes 3-7/10", b"34567")
        assert len(origin.seen) == 2


@pytest.mark.parametrize(
    ("held", "came"),
    [
        (('ETag: W/"1"',), ('ETag: W/"1"',)),
        (("ETag: 1",), ("ETag: 1",)),
        ((ETAG,), ('ETag: "2"',)),
        ((ETAG,), ()),
        ((), ()),
    ],
)
async def test_parts_of_which_it_is_not_known_that_they_are_of_one_thing_are_not(
    held: tuple[str, ...], came: tuple[str, ...], tmp_path: Path
) -> None:
    """RFC 9111 section 3.4: both need the same strong validator."""
    async with running(tmp_path, part(0, 4, *held), part(5, 9, *came), WHAT_IT_IS) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        await proxy.get("/a", "Range: bytes=5-9")
        assert (await proxy.get("/a")).body == WHAT_IT_IS.body
        assert len(origin.seen) == 3


@pytest.mark.parametrize(
    "odd",
    [
        answering(MINUTE, status="206 Partial Content", body=b"56789"),
        answering(MINUTE, "Content-Range: lines 5-9/10", status="206 Partial Content", body=b"56789"),
        answering(MINUTE, "Content-Range: bytes 9-5/10", status="206 Partial Content", body=b"56789"),
        answering(MINUTE, "Content-Range: bytes 5-10/10", status="206 Partial Content", body=b"56789A"),
        part(5, 9, body=b"5678"),
        answering(
            MINUTE,
            "Content-Type: multipart/byteranges; boundary=x",
            status="206 Partial Content",
            body=b"--x\r\n\r\n--x--",
        ),
    ],
)
async def test_a_part_of_which_it_is_not_clear_what_it_is_of_is_passed_on(
    odd: Answer, tmp_path: Path
) -> None:
    """RFC 9110 sections 14.4 and 15.3.7; RFC 9111 section 3.3."""
    async with running(tmp_path, odd) as (proxy, origin):
        for _ in range(2):
            response = await proxy.get("/a", "Range: bytes=5-9")
            assert (response.status, response.body) == (206, odd.body)
        assert len(origin.seen) == 2


@pytest.mark.parametrize("status", ["416 Range Not Satisfiable", "304 Not Modified", "302 Found", "404 Gone"])
async def test_what_is_said_to_the_caches_own_range_is_for_nobody(status: str, tmp_path: Path) -> None:
    """RFC 9110 section 15.5.17: the client has asked for the whole. The part is of something that is no more."""
    odd = answering(MINUTE, "Content-Range: bytes */3", status=status, body=b"odd")
    async with running(tmp_path, part(0, 4, ETAG), odd, WHAT_IT_IS) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        for _ in range(2):
            assert seen(await proxy.get("/a")) == (200, "", b"abc")
        asked = [origin.asked(number).get(b"range") for number in range(3)]
        assert asked == [b"bytes=0-4", b"bytes=5-", None]
        assert len(origin.seen) == 3


@pytest.mark.parametrize("failure", ["503 Down", "500 Odd"])
async def test_a_failure_to_complete_it_is_one(failure: str, tmp_path: Path) -> None:
    """It says nothing of the part, which goes on answering."""
    async with running(tmp_path, part(0, 4, ETAG), answering(status=failure)) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        assert (await proxy.get("/a")).status == int(failure[:3])
        assert seen(await proxy.get("/a", "Range: bytes=0-4")) == (206, "bytes 0-4/10", b"01234")
        assert len(origin.seen) == 2


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "s-maxage=60"])
@pytest.mark.parametrize("asked", ["Range: bytes=5-9", "X-Whole: 1"])
async def test_what_one_part_forbids_is_so_for_the_whole(directive: str, asked: str, tmp_path: Path) -> None:
    """RFC 9111 sections 3.2, 3.4 and 5.2.2.2: what the newer part does not say again holds on."""
    said = (f"Cache-Control: max-age=60, {directive}", ETAG, f"Date: {at()}")
    first = answering(*said, "Content-Range: bytes 0-4/10", status="206 Partial Content", body=WHOLE[:5])
    silent = answering(ETAG, "Content-Range: bytes 5-9/10", status="206 Partial Content", body=WHOLE[5:])
    renewed = answering(MINUTE, ETAG, "Content-Range: bytes 5-9/10", status=silent.status, body=silent.body)
    for number, second in enumerate((silent, renewed)):
        (tmp_path / str(number)).mkdir()
        async with running(tmp_path / str(number), first, second, CLOSED) as (proxy, origin):
            await proxy.get("/a", "Range: bytes=0-4")
            await proxy.get("/a", asked)
            whole = await proxy.get("/a")
            assert seen(whole) == (200, "", WHOLE)
            assert len(origin.seen) == 2
            proxy.clock.tick(61)
            assert (await proxy.get("/a")).status == (504 if second is silent else 200)


@pytest.mark.parametrize("asked", ["bytes=0-4", "bytes=1-2"])
async def test_who_wants_what_is_held_alone_gets_the_part(asked: str, tmp_path: Path) -> None:
    """RFC 9111 sections 3.3 and 5.2.1.7."""
    async with running(tmp_path, part(0, 4, ETAG)) as (proxy, origin):
        await proxy.get("/a", "Range: bytes=0-4")
        for span, status in ((asked, 206), ("bytes=0-5", 504)):
            response = await proxy.get("/a", f"Range: {span}", "Cache-Control: only-if-cached")
            assert response.status == status
        assert (await proxy.get("/a", "Cache-Control: only-if-cached")).status == 504
        assert len(origin.seen) == 1


@pytest.mark.parametrize(
    ("told", "is_held"),
    [
        (('ETag: "1"', f"Last-Modified: {at(-60)}"), True),
        (('ETag: "2"',), False),
        (('ETag: "1"', f"Last-Modified: {at(-6)}"), False),
    ],
)
@pytest.mark.parametrize("length", [10, 11])
async def test_head_that_tells_of_another_whole_makes_the_part_invalid(
    told: tuple[str, ...], is_held: bool, length: int, tmp_path: Path
) -> None:
    """RFC 9111 section 4.3.5: the length is that of all of it."""
    held = part(0, 4, ETAG, f"Last-Modified: {at(-60)}")
    answers = [held, answering(MINUTE, *told, body=b"x" * length), held]
    async with running(tmp_path, *answers) as (proxy, origin), proxy.client() as client:
        await proxy.get("/a", "Range: bytes=0-4")
        await client.request(b"HEAD /a HTTP/1.1\r\nHost: app\r\n\r\n", head_only=True)
        assert seen(await proxy.get("/a", "Range: bytes=0-4")) == (206, "bytes 0-4/10", b"01234")
        assert len(origin.seen) == (2 if is_held and length == len(WHOLE) else 3)


async def test_a_stale_part_is_not_used(tmp_path: Path) -> None:
    """RFC 9111 sections 3.3 and 4."""
    async with running(tmp_path, part(5, 9, ETAG)) as (proxy, origin):
        for seconds in (0, 61):
            proxy.clock.tick(seconds)
            await proxy.get("/a", "Range: bytes=-5")
        assert len(origin.seen) == 2


async def test_a_cache_that_may_not_store_a_part_passes_it_on(tmp_path: Path) -> None:
    """RFC 9111 section 3."""
    said = ("Cache-Control: no-store", "Content-Range: bytes 5-9/10")
    odd = answering(*said, status="206 Partial Content", body=b"56789")
    async with running(tmp_path, odd) as (proxy, origin):
        for _ in range(2):
            assert (await proxy.get("/a", "Range: bytes=-5")).body == b"56789"
        assert len(origin.seen) == 2
