"""What who causes a fill gets of its answer: what is his alone with it, and a 304 as soon as that is clear."""

from pathlib import Path

import pytest

from tests.integration.harness import Response
from tests.integration.opaque import Answer, answering, at, running

ETAG, MODIFIED = 'ETag: "1"', f"Last-Modified: {at(-3600)}"
HIS = ("Set-Cookie: a=b", "X-Mine: 1")
SAID = ('Cache-Control: max-age=60, private="x-mine"', ETAG, MODIFIED, *HIS)
HAS_IT = ['If-None-Match: "1"', f"If-Modified-Since: {at(-3600)}"]


class Unfinished(Answer):
    """One whose last byte does not come."""

    def rendered(self, number: int, asked: dict[bytes, bytes], *, is_head: bool) -> bytes:
        """All but that."""
        rendered = super().rendered(number, asked, is_head=is_head)
        return rendered if is_head else rendered[:-1]


def his(response: Response) -> tuple[str, str]:
    """What of it is for who has caused it."""
    return response.field("set-cookie"), response.field("x-mine")


@pytest.mark.parametrize("condition", HAS_IT)
async def test_a_cookie_comes_with_the_304_that_the_cache_makes(condition: str, tmp_path: Path) -> None:
    """RFC 9110 section 15.4.5, RFC 9111 section 3: the origin has set it for him, and for nobody else."""
    async with running(tmp_path, answering(*SAID)) as (proxy, origin):
        first = await proxy.get("/a", condition)
        assert (first.status, first.field("set-cookie"), first.field("etag")) == (304, "a=b", '"1"')
        assert first.field("content-length") == ""
        for fields, status in (((), 200), ((condition,), 304)):
            later = await proxy.get("/a", *fields)
            assert (later.status, his(later)) == (status, ("", ""))
        assert len(origin.seen) == 1


@pytest.mark.parametrize("condition", ['If-None-Match: "0"', f"If-Modified-Since: {at(-3601)}"])
async def test_who_has_an_older_one_gets_all_that_is_his(condition: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.7."""
    async with running(tmp_path, answering(*SAID)) as (proxy, _):
        first = await proxy.get("/a", condition)
        assert (first.status, first.body, his(first)) == (200, b"1", ("a=b", "1"))
        assert his(await proxy.get("/a", condition)) == ("", "")


async def test_a_part_that_the_cache_cuts_comes_with_it_too(tmp_path: Path) -> None:
    """RFC 9110 section 15.3.7: of an answer that has come whole in place of what was stale."""
    first = answering("Cache-Control: max-age=1", 'ETag: "0"')
    async with running(tmp_path, first, answering(*SAID, body=b"abc")) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(5)
        cut = await proxy.get("/a", "Range: bytes=1-1")
        assert (cut.status, cut.body, cut.field("content-range")) == (206, b"b", "bytes 1-1/3")
        assert his(cut) == ("a=b", "1")
        assert [value for name, value in cut.fields if name.lower() == b"content-length"] == [b"1"]
        hit = await proxy.get("/a", "Range: bytes=1-1")
        assert (hit.status, his(hit)) == (206, ("", ""))
        assert len(origin.seen) == 2


@pytest.mark.parametrize("fields", [(), ("Range: bytes=0-0",)])
@pytest.mark.parametrize("directive", ["no-cache", "private"])
async def test_what_a_304_brings_for_him_is_his(
    directive: str, fields: tuple[str, ...], tmp_path: Path
) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: the origin has just been asked."""
    first = answering("Cache-Control: max-age=1", ETAG, "X-Mine: 0")
    good = answering(f'Cache-Control: max-age=60, {directive}="x-mine"', ETAG, *HIS, confirms=True)
    async with running(tmp_path, first, good) as (proxy, origin):
        assert (await proxy.get("/a")).field("x-mine") == "0"
        proxy.clock.tick(5)
        confirmed = await proxy.get("/a", *fields)
        assert (confirmed.body, confirmed.field("x-mine")) == (b"1", "1")
        hit = await proxy.get("/a", *fields)
        assert (hit.body, his(hit)) == (b"1", ("", ""))
        assert len(origin.seen) == 2


@pytest.mark.parametrize("fields", [(), ('If-None-Match: "1"',)])
async def test_a_cookie_of_a_304_is_his_too(fields: tuple[str, ...], tmp_path: Path) -> None:
    """RFC 9111 section 3.2: it does not update what is stored, but it was sent to him."""
    first = answering("Cache-Control: max-age=1", ETAG)
    good = answering("Cache-Control: max-age=60", ETAG, "Set-Cookie: a=b", confirms=True)
    async with running(tmp_path, first, good) as (proxy, _):
        await proxy.get("/a")
        proxy.clock.tick(5)
        confirmed = await proxy.get("/a", *fields)
        assert (confirmed.status, confirmed.field("set-cookie")) == (304 if fields else 200, "a=b")
        assert (await proxy.get("/a", *fields)).field("set-cookie") == ""


@pytest.mark.parametrize("said", ["max-age=60", "no-store"])
@pytest.mark.parametrize("condition", HAS_IT)
async def test_who_has_it_need_not_wait_for_the_body(condition: str, said: str, tmp_path: Path) -> None:
    """RFC 9110 section 13.2.2: whether it is kept or not."""
    unfinished = Unfinished((f"Cache-Control: {said}", ETAG, MODIFIED))
    async with running(tmp_path, unfinished) as (proxy, origin):
        response = await proxy.get("/a", condition)
        assert (response.status, response.body) == (304, b"")
        assert not origin.asked(0).keys() & {b"if-none-match", b"if-modified-since"}


@pytest.mark.parametrize("said", ["max-age=60", "no-store"])
@pytest.mark.parametrize("condition", HAS_IT)
async def test_nor_does_who_asks_for_the_head(condition: str, said: str, tmp_path: Path) -> None:
    """RFC 9110 section 13.2.2: the conditions are for HEAD as for GET."""
    answer = answering(f"Cache-Control: {said}", ETAG, MODIFIED)
    async with running(tmp_path, answer) as (proxy, _), proxy.client() as client:
        for field, status in ((condition, 304), ("X-None: 1", 200)):
            request = f"HEAD /a HTTP/1.1\r\nHost: app\r\n{field}\r\n\r\n".encode()
            assert (await client.request(request, head_only=True)).status == status


async def test_the_age_of_a_confirmation_is_told_once(tmp_path: Path) -> None:
    """RFC 9111 section 5.1: one number, the one that a cache on the way has told, and what has passed since."""
    first = answering("Cache-Control: max-age=5", ETAG)
    confirmed = answering("Cache-Control: max-age=20", "Age: 3", ETAG, status="304 Not Modified")
    async with running(tmp_path, first, confirmed) as (proxy, _origin):
        await proxy.get("/a")
        proxy.clock.tick(10)
        for seconds, age in ((0, b"3"), (2, b"5")):
            proxy.clock.tick(seconds)
            answer = await proxy.get("/a")
            assert [value for name, value in answer.fields if name.lower() == b"age"] == [age]
