"""Status codes: which are stored, for how long without a word of the origin, and which are not understood
(RFC 9111 sections 3, 4.2.2 and 5.2.2.3)."""

from pathlib import Path

import pytest

from tests.integration.opaque import answering, at, reused, running

DAY = 86_400
MODIFIED = f"Last-Modified: {at(-DAY)}"
DATE = f"Date: {at()}"
KEPT = ("Cache-Control: max-age=60",)
NOT_MODIFIED = "304 Not Modified"

HEURISTIC = [
    "200 OK",
    "203 Non-Authoritative Information",
    "204 No Content",
    "300 Multiple Choices",
    "301 Moved Permanently",
    "308 Permanent Redirect",
    "404 Not Found",
    "405 Method Not Allowed",
    "410 Gone",
    "414 URI Too Long",
    "501 Not Implemented",
]
NOT_HEURISTIC = [
    "201 Created",
    "202 Accepted",
    "299 Whatever",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "400 Bad Request",
    "403 Forbidden",
    "499 Whatever",
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "599 Whatever",
]


@pytest.mark.parametrize("status", [*HEURISTIC, *NOT_HEURISTIC])
async def test_each_status_is_stored_for_as_long_as_the_origin_says(status: str, tmp_path: Path) -> None:
    """RFC 9111 section 3: any final status with explicit freshness, also one that is unheard of."""
    async with running(tmp_path, answering("Cache-Control: max-age=60", status=status)) as (proxy, origin):
        for seconds, calls in ((0, 1), (59, 1), (2, 2)):
            proxy.clock.tick(seconds)
            assert (await proxy.get("/a")).status == int(status[:3])
            assert len(origin.seen) == calls


@pytest.mark.parametrize("status", HEURISTIC)
async def test_some_are_fresh_for_a_tenth_of_their_age(status: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.2.2; RFC 9110 section 15.1."""
    (tmp_path / "over").mkdir()
    assert await reused(tmp_path, MODIFIED, DATE, status=status, seconds=DAY / 10 - 1)
    assert not await reused(tmp_path / "over", MODIFIED, DATE, status=status, seconds=DAY / 10 + 1)


@pytest.mark.parametrize("status", NOT_HEURISTIC)
async def test_others_are_not_stored_if_the_origin_says_nothing(status: str, tmp_path: Path) -> None:
    """RFC 9111 sections 3 and 4.2.2."""
    assert not await reused(tmp_path, MODIFIED, DATE, status=status, seconds=0)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "599 Whatever"])
async def test_public_allows_a_guess_for_any_status(status: str, tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.2 and 5.2.2.9."""
    assert await reused(
        tmp_path, MODIFIED, DATE, "Cache-Control: public", status=status, seconds=DAY / 10 - 1
    )


async def test_a_guess_is_a_day_at_most(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.2 leaves it to the cache."""
    old = (f"Last-Modified: {at(-1000 * DAY)}", DATE)
    (tmp_path / "over").mkdir()
    assert await reused(tmp_path, *old, seconds=DAY - 1)
    assert not await reused(tmp_path / "over", *old, seconds=DAY + 1)


async def test_a_guess_is_shortened_by_the_age(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3: it is counted as any lifetime is."""
    assert not await reused(tmp_path, MODIFIED, DATE, f"Age: {DAY // 10}", seconds=0)


@pytest.mark.parametrize("fields", [[], [f"Last-Modified: {at(60)}"], ["Last-Modified: yesterday"]])
async def test_there_is_no_guess_without_a_time_in_the_past(fields: list[str], tmp_path: Path) -> None:
    """RFC 9111 section 4.2.2."""
    assert not await reused(tmp_path, *fields, DATE, seconds=0)


async def test_an_explicit_word_leaves_no_room_for_a_guess(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.2: not where there is an explicit lifetime."""
    assert not await reused(tmp_path, MODIFIED, DATE, "Cache-Control: max-age=0", seconds=0)


async def test_a_status_that_is_understood_is_stored_where_that_is_what_counts(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.3: must-understand goes before no-store."""
    assert await reused(tmp_path, "Cache-Control: max-age=3600, no-store, must-understand")


@pytest.mark.parametrize("directives", ["no-store, must-understand", "must-understand"])
@pytest.mark.parametrize("status", ["299 Whatever", "499 Whatever", "599 Whatever"])
async def test_a_status_that_is_not_understood_is_not_stored(
    status: str, directives: str, tmp_path: Path
) -> None:
    """RFC 9111 section 5.2.2.3."""
    said = f"Cache-Control: max-age=3600, {directives}"
    assert not await reused(tmp_path, said, status=status, seconds=0)


@pytest.mark.parametrize("status", ["999 304 Not Generated", "600 Beyond", "299 "])
async def test_an_odd_status_is_relayed_as_it_came(status: str, tmp_path: Path) -> None:
    """RFC 9110 section 15: what it means is for the client to say."""
    async with running(tmp_path, answering(status=status)) as (proxy, _):
        assert (await proxy.get("/a")).head.startswith(f"HTTP/1.1 {status}\r\n".encode())


@pytest.mark.parametrize("fields", [(), ('If-None-Match: "1"',), ("Range: bytes=0-0",)])
async def test_a_304_that_the_origin_was_not_asked_for_is_a_failure(
    fields: tuple[str, ...], tmp_path: Path
) -> None:
    """RFC 9110 section 15.4.5, RFC 9111 section 3: it is no answer of its own. A client's If-None-Match does not go
    along, for all of it is to be kept; a Range does, and so may what comes with it."""
    async with running(tmp_path, answering(*KEPT, status=NOT_MODIFIED), answering(*KEPT)) as (proxy, origin):
        assert (await proxy.get("/a", *fields)).status == (304 if "Range" in "".join(fields) else 502)
        assert (await proxy.get("/a")).body == b"2"
        assert len(origin.seen) == 2


async def test_what_is_stale_is_used_instead_of_it(tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.4 and 4.3.4: one about something else has the origin asked again, without conditions."""
    first = answering("Cache-Control: max-age=1, stale-if-error=60", 'ETag: "1"')
    other = answering("Cache-Control: max-age=60", 'ETag: "2"', status=NOT_MODIFIED)
    async with running(tmp_path, first, other) as (proxy, origin):
        await proxy.get("/a")
        for seconds, body in ((5, b"1"), (5, b"1")):
            proxy.clock.tick(seconds)
            stale = await proxy.get("/a")
            assert (stale.status, stale.body) == (200, body)
        assert b"if-none-match" not in origin.asked(2)
        proxy.clock.tick(60)
        assert (await proxy.get("/a")).status == 502


async def test_only_a_success_is_validated(tmp_path: Path) -> None:
    """RFC 9110 sections 13.1 and 15.4.5: a 304 says that a success would be the answer. A 404 may be gone by then."""
    absent = answering("Cache-Control: max-age=5", MODIFIED, 'ETag: "1"', status="404 Not Found")
    there = answering("Cache-Control: max-age=5", MODIFIED, 'ETag: "1"', confirms=True)
    async with running(tmp_path, absent, there) as (proxy, origin):
        assert (await proxy.get("/a")).status == 404
        for seconds in (10, 0):
            proxy.clock.tick(seconds)
            response = await proxy.get("/a")
            assert (response.status, response.body) == (200, b"2")
        assert not origin.asked(1).keys() & {b"if-none-match", b"if-modified-since"}
        proxy.clock.tick(10)
        assert (await proxy.get("/a")).body == b"2"
        assert origin.asked(2)[b"if-none-match"] == b'"1"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_answer_without_content_has_no_length(method: str, tmp_path: Path) -> None:
    """RFC 9110 section 8.6: a 204 has none, whatever the origin says, neither as it comes nor when it is used again."""
    empty = answering(*KEPT, "Content-Length: 5", status="204 No Content")
    async with running(tmp_path, empty) as (proxy, origin), proxy.client() as client:
        for _ in range(2):
            request = f"{method} /a HTTP/1.1\r\nHost: app\r\n\r\n".encode()
            response = await client.request(request, head_only=True)
            assert (response.status, response.body) == (204, b"")
            assert b"content-length" not in {name.lower() for name, _ in response.fields}
        assert len(origin.seen) == (1 if method == "GET" else 2)


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_a_reset_content_is_never_kept(body: bytes, tmp_path: Path) -> None:
    """RFC 9110 section 15.3.6: it tells a client what to do, once."""
    assert not await reused(tmp_path, *KEPT, status="205 Reset Content", body=body, seconds=0)


async def test_an_unsatisfiable_range_is_never_kept(tmp_path: Path) -> None:
    """RFC 9110 section 15.5.17: it is about the range of one request, also where none was asked for."""
    none = answering(*KEPT, "Content-Range: bytes */3", status="416 Range Not Satisfiable")
    async with running(tmp_path, none) as (proxy, origin):
        for fields in (("Range: bytes=9-",), (), ("Range: bytes=9-",)):
            assert (await proxy.get("/a", *fields)).status == 416
        assert len(origin.seen) == 3
