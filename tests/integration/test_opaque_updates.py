"""Stored fields that a 304 or an answer to HEAD brings up to date (RFC 9111 sections 3.1, 3.2, 4.3.4 and 4.3.5)."""

from pathlib import Path

import pytest

from tests.integration.harness import Client, Proxy, Response
from tests.integration.opaque import Origin, answering, at, reused, running

ETAG = 'ETag: "1"'
BRIEF = "Cache-Control: max-age=2"
MODIFIED = f"Last-Modified: {at(-86_400)}"


async def validated(proxy: Proxy) -> tuple[Response, Response]:
    """What is answered to a request by which a copy is validated, and to the next one."""
    await proxy.get("/a")
    proxy.clock.tick(3)
    return await proxy.get("/a"), await proxy.get("/a")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("Test-Header", "a", "b"),
        ("X-Test-Header", "a", "b"),
        ("Content-Foo", "a", "b"),
        ("X-Content-Foo", "a", "b"),
        ("Cache-Control", "max-age=2", "max-age=3600"),
        ("Content-Language", "en", "de"),
        ("Content-Location", "/foo", "/bar"),
        ("Content-Security-Policy", "default-src 'self'", "default-src 'self' cdn.example.com"),
        ("Content-Type", "text/plain", "text/plain;charset=utf-8"),
        ("Clear-Site-Data", "cache", "cookies"),
        ("Date", at(-60), at(3)),
        ("Expires", "Fri, 01 Jan 2038 01:01:01 GMT", "Mon, 11 Jan 2038 11:11:11 GMT"),
        ("Last-Modified", at(-3600), at(-60)),
        ("Link", "</a>", "</b>"),
        ("Public-Key-Pins", "a", "b"),
        ("X-Frame-Options", "deny", "sameorigin"),
        ("X-XSS-Protection", "1", "1; mode=block"),
    ],
)
async def test_a_304_replaces_what_it_names(name: str, old: str, new: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.2: for who caused it, and for those who come later."""
    age = () if name == "Cache-Control" else ("Cache-Control: max-age=100, s-maxage=2",)
    first = answering(ETAG, f"{name}: {old}", "Kept: yes", *age)
    second = answering(ETAG, f"{name}: {new}", *age, confirms=True)
    async with running(tmp_path, first, second) as (proxy, origin):
        for response in await validated(proxy):
            assert (response.status, response.body) == (200, b"1")
            assert [value.decode() for key, value in response.fields if key.decode() == name] == [new]
            assert response.field("kept") == "yes"
        assert len(origin.seen) == 2


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("Content-Encoding", "a", "b"),
        ("Content-MD5", "rL0Y20zC+Fzt72VPzMSk2A==", "N7UdGUp1E+RbVvZSTy1R8g=="),
        ("Content-Range", "a", "b"),
    ],
)
async def test_a_304_does_not_replace_what_describes_the_body(
    name: str, old: str, new: str, tmp_path: Path
) -> None:
    """RFC 9111 section 3.2: the body that we keep is that of the stored answer."""
    first = answering(ETAG, BRIEF, f"{name}: {old}")
    async with running(tmp_path, first, answering(ETAG, BRIEF, f"{name}: {new}", confirms=True)) as (
        proxy,
        _,
    ):
        for response in await validated(proxy):
            assert response.field(name) == old


async def test_the_length_is_that_of_the_body(tmp_path: Path) -> None:
    """RFC 9111 section 3.2, RFC 9110 section 8.6."""
    odd = answering(ETAG, BRIEF, "Content-Length: 10", confirms=True)
    async with running(tmp_path, answering(ETAG, BRIEF, body=b"12345"), odd) as (proxy, origin):
        for response in await validated(proxy):
            assert (response.field("content-length"), response.body) == ("5", b"12345")
        assert len(origin.seen) == 2


@pytest.mark.parametrize(
    "name", ["Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "TE", "Upgrade", "A"]
)
async def test_what_was_for_one_hop_is_not_stored(name: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.1, RFC 9110 section 7.6.1: also what Connection names."""
    said = (BRIEF, "Connection: a, b", f"{name}: 1", "C: 3")
    response = await reused(tmp_path, *said, seconds=1)
    assert response is not None
    assert (response.field(name), response.field("c")) == ("", "3")


async def test_a_304_does_not_bring_what_was_for_one_hop_either(tmp_path: Path) -> None:
    """RFC 9111 sections 3.1 and 3.2."""
    second = answering(ETAG, BRIEF, "Connection: a", "A: 1", "C: 3", confirms=True)
    async with running(tmp_path, answering(ETAG, BRIEF), second) as (proxy, _):
        for response in await validated(proxy):
            assert (response.field("a"), response.field("c")) == ("", "3")


async def test_a_cookie_is_for_who_caused_the_answer_alone(tmp_path: Path) -> None:
    """RFC 9111 section 7.3: Set-Cookie is not replayed, neither of a 200 nor of a 304."""
    first = answering(ETAG, BRIEF, "Set-Cookie: a=1")
    async with running(tmp_path, first, answering(ETAG, BRIEF, "Set-Cookie: a=2", confirms=True)) as (
        proxy,
        origin,
    ):
        assert (await proxy.get("/a")).field("set-cookie") == "a=1"
        assert (await proxy.get("/a")).field("set-cookie") == ""
        proxy.clock.tick(3)
        assert (await proxy.get("/a")).field("set-cookie") in {"", "a=2"}
        assert (await proxy.get("/a")).field("set-cookie") == ""
        assert len(origin.seen) == 2


async def test_an_answer_with_a_cookie_is_not_stored_on_a_guess(tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.2 and 7.3."""
    assert not await reused(tmp_path, MODIFIED, f"Date: {at()}", "Set-Cookie: a=1", seconds=0)


@pytest.mark.parametrize("validator", [ETAG, 'ETag: W/"1"', MODIFIED])
async def test_a_304_may_say_no_more_than_that(validator: str, tmp_path: Path) -> None:
    """RFC 9111 sections 3.2 and 4.3.4: what it omits is kept, the lifetime too; the age begins anew."""
    first = answering(validator, BRIEF, "Test-Header: a")
    async with running(tmp_path, first, answering(confirms=True)) as (proxy, origin):
        for response in await validated(proxy):
            assert (response.body, response.field("test-header")) == (b"1", "a")
        assert len(origin.seen) == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ETAG, 'ETag: "2"'),
        ('ETag: W/"1"', 'ETag: "1"'),
        (MODIFIED, f"Last-Modified: {at(-60)}"),
    ],
)
async def test_a_304_about_something_else_freshens_nothing(ours: str, theirs: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.3.4: its validator is none of ours. The whole is asked for."""
    wrong = answering(theirs, "Cache-Control: max-age=60", "Test-Header: b", status="304 Not Modified")
    whole = answering(theirs, "Cache-Control: max-age=60")
    async with running(tmp_path, answering(ours, BRIEF), wrong, whole) as (proxy, origin):
        for response in await validated(proxy):
            assert (response.status, response.body, response.field("test-header")) == (200, b"3", "")
        assert b"if-none-match" not in origin.asked(2)
        assert b"if-modified-since" not in origin.asked(2)


async def test_an_answer_that_is_whole_replaces_all(tmp_path: Path) -> None:
    """RFC 9111 section 4.3.3."""
    second = answering('ETag: "2"', "Cache-Control: max-age=60")
    async with running(tmp_path, answering(ETAG, BRIEF, "Old: yes"), second) as (proxy, origin):
        for response in await validated(proxy):
            assert (response.body, response.field("old"), response.field("etag")) == (b"2", "", '"2"')
        assert len(origin.seen) == 2


async def head(client: Client) -> Response:
    """The answer to HEAD."""
    return await client.request(b"HEAD /a HTTP/1.1\r\nHost: app\r\n\r\n", head_only=True)


async def after_head(
    directory: Path, first: tuple[str, ...], second: tuple[str, ...], **more: str
) -> tuple[Response, Origin]:
    """What a GET gets after a HEAD that the origin has answered so, once its copy was stale."""
    told = answering(*second, body=b"12345", **more)
    async with running(directory, answering(*first, body=b"12345"), told) as (proxy, origin):
        async with proxy.client() as client:
            await client.get("/a")
            proxy.clock.tick(3)
            await head(client)
            assert origin.seen[1].line == b"HEAD /a HTTP/1.1"
            return await client.get("/a"), origin


async def test_head_of_what_is_fresh_is_answered_from_it(tmp_path: Path) -> None:
    """RFC 9111 section 4, RFC 9110 section 9.3.2."""
    async with running(tmp_path, answering(BRIEF, "A: 1", body=b"12345")) as (proxy, origin):
        async with proxy.client() as client:
            await client.get("/a")
            response = await head(client)
            assert (response.status, response.field("content-length"), response.field("a")) == (200, "5", "1")
            assert len(origin.seen) == 1


async def test_head_alone_stores_nothing(tmp_path: Path) -> None:
    """RFC 9111 section 4.3.5: it has no body that could be used for GET."""
    async with running(tmp_path, answering("Cache-Control: max-age=60", body=b"12345")) as (proxy, origin):
        async with proxy.client() as client:
            await head(client)
            assert (await client.get("/a")).body == b"12345"
            assert len(origin.seen) == 2


@pytest.mark.parametrize("validators", [(ETAG,), (MODIFIED,), (ETAG, MODIFIED), ()])
async def test_head_brings_the_fields_up_to_date(validators: tuple[str, ...], tmp_path: Path) -> None:
    """RFC 9111 section 4.3.5: where nothing says that the body is another one."""
    first = (BRIEF, "Test-Header: a", "Kept: yes", *validators)
    second = ("Cache-Control: max-age=1000", "Test-Header: b", *validators)
    response, origin = await after_head(tmp_path, first, second)
    assert (response.field("test-header"), response.field("kept"), response.body) == ("b", "yes", b"12345")
    assert len(origin.seen) == 2


@pytest.mark.parametrize(
    "changed",
    [
        ('ETag: "2"', MODIFIED),
        (ETAG, f"Last-Modified: {at(-60)}"),
    ],
)
async def test_head_that_tells_of_another_body_makes_the_copy_invalid(
    changed: tuple[str, ...], tmp_path: Path
) -> None:
    """RFC 9111 section 4.3.5."""
    first = (BRIEF, ETAG, MODIFIED)
    response, origin = await after_head(tmp_path, first, ("Cache-Control: max-age=1000", *changed))
    assert response.status == 200
    assert len(origin.seen) == 3


async def test_head_that_tells_of_another_length_makes_the_copy_invalid(tmp_path: Path) -> None:
    """RFC 9111 section 4.3.5."""
    fresh = answering("Cache-Control: max-age=1000", body=b"1234567890")
    async with running(tmp_path, answering(BRIEF, body=b"12345"), fresh) as (proxy, origin):
        async with proxy.client() as client:
            await client.get("/a")
            proxy.clock.tick(3)
            assert (await head(client)).field("content-length") == "10"
            assert (await client.get("/a")).body == b"1234567890"
            assert len(origin.seen) == 3


async def test_an_error_to_head_changes_nothing_that_is_stored(tmp_path: Path) -> None:
    """RFC 9111 section 4.3.5 is about a 200."""
    more = {"status": "410 Gone"}
    response, origin = await after_head(
        tmp_path, (BRIEF, "A: 1"), ("Cache-Control: max-age=1000", "A: 2"), **more
    )
    assert response.status == 410
    assert len(origin.seen) == 3


async def test_what_a_304_withholds_is_not_stored_whatever_rules_over_the_response(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.7, where a targeted field is of the first answer and the 304 does not say it again."""
    first = answering(ETAG, "CDN-Cache-Control: max-age=2", "Cache-Control: max-age=2")
    withheld = answering(ETAG, 'Cache-Control: max-age=2, private="secret"', "Secret: 1", confirms=True)
    async with running(tmp_path, first, withheld) as (proxy, _):
        by_whom, later = await validated(proxy)
        assert (by_whom.field("secret"), later.field("secret")) == ("1", "")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_told_of_one_goes_for_each_that_the_request_selects(
    method: str, tmp_path: Path
) -> None:
    """RFC 9111 sections 4.3.4 and 4.3.5: an origin that changes its Vary has several for one request. What was not
    asked about is not shown as it was; what the request does not select stays."""
    minute = "Cache-Control: max-age=60"
    by_foo, by_bar = (answering(ETAG, minute, f"Vary: {name}", "Test-Header: a") for name in ("Foo", "Bar"))
    told = answering(ETAG, minute, "Vary: Bar", "Test-Header: b", confirms=True, body=b"3")
    async with running(tmp_path, by_foo, by_foo, by_bar, told, answering(minute)) as (proxy, origin):
        await proxy.get("/a", "Foo: 1", "Bar: 1")
        await proxy.get("/a", "Foo: 3", "Bar: 1")
        proxy.clock.tick(1)
        await proxy.get("/a", "Foo: 2", "Bar: 1")
        asked = f"{method} /a HTTP/1.1\r\nHost: app\r\nFoo: 1\r\nBar: 1\r\nCache-Control: no-cache\r\n\r\n"
        async with proxy.client() as client:
            await client.request(asked.encode(), head_only=method == "HEAD")
        confirmed = await proxy.get("/a", "Foo: 1", "Bar: 1")
        assert (confirmed.body, confirmed.field("test-header")) == (b"3", "b")
        assert (await proxy.get("/a", "Foo: 3", "Bar: 3")).body == b"2"
        assert len(origin.seen) == 4
        assert (await proxy.get("/a", "Foo: 1", "Bar: 2")).body == b"5"


async def test_head_that_tells_of_another_vary_ends_the_copy(tmp_path: Path) -> None:
    """RFC 9111 section 4.1: what its own request had in the field that is named now may be another value."""
    minute = "Cache-Control: max-age=60"
    first, second = (answering(ETAG, minute, f"Vary: {name}") for name in ("Foo", "Bar"))
    async with running(tmp_path, first, second) as (proxy, origin):
        await proxy.get("/a", "Foo: 1", "Bar: 1")
        async with proxy.client() as client:
            asked = b"HEAD /a HTTP/1.1\r\nHost: app\r\nFoo: 1\r\nBar: 2\r\nCache-Control: no-cache\r\n\r\n"
            await client.request(asked, head_only=True)
        assert (await proxy.get("/a", "Foo: 1", "Bar: 2")).body == b"3"
        assert (await proxy.get("/a", "Foo: 1", "Bar: 1")).body == b"4"
        assert len(origin.seen) == 4


async def test_what_is_newer_and_not_kept_ends_all_that_the_request_selects(tmp_path: Path) -> None:
    """RFC 9111 section 4: the most recent response is used, and no older one comes back in its place."""
    minute = "Cache-Control: max-age=60"
    first, second = (
        answering(ETAG, minute, "Vary: Foo"),
        answering(ETAG, "Cache-Control: no-cache", "Vary: Bar"),
    )
    async with running(tmp_path, first, second, answering("Cache-Control: no-store")) as (proxy, origin):
        await proxy.get("/a", "Foo: 1", "Bar: 1")
        proxy.clock.tick(1)
        await proxy.get("/a", "Foo: 2", "Bar: 1")
        assert (await proxy.get("/a", "Foo: 1", "Bar: 1")).body == b"3"
        assert (await proxy.get("/a", "Foo: 1", "Bar: 1")).body == b"4"
        assert len(origin.seen) == 4
