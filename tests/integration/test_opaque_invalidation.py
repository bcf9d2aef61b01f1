"""Unsafe methods make invalid what they may have changed (RFC 9111 section 4.4)."""

import asyncio
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from tests.integration.harness import Client
from tests.integration.opaque import CLOSED, Answer, answering, running

MINUTE = "Cache-Control: max-age=60"
UNSAFE = ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "MKCOL"]
KEPT = answering(MINUTE)


async def send(client: Client, method: str, target: str = "/a") -> int:
    """The status that a request of this method gets."""
    return (await client.send_body(method, target, b"abc", "Content-Length: 3\r\n")).status


async def kept(directory: Path, answer: Answer | None, *, method: str = "POST", target: str = "/a") -> bool:
    """Whether a copy of `target` lives through a request on /a that is answered so."""
    async with running(directory, KEPT, answer, KEPT) as (proxy, origin):
        assert (await proxy.get(target)).body == b"1"
        async with proxy.client() as client:
            with suppress(asyncio.IncompleteReadError) if answer is CLOSED else nullcontext():
                await send(client, method)
        response = await proxy.get(target)
        assert (response.body == b"1") == (len(origin.seen) == 2)
        return response.body == b"1"


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content", "303 See Other"])
async def test_a_method_that_is_not_known_to_be_safe_makes_invalid(
    method: str, status: str, tmp_path: Path
) -> None:
    """RFC 9111 section 4.4: an unknown one too, after any answer that is no error."""
    assert not await kept(tmp_path, answering(status=status), method=method)


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Internal Server Error"])
async def test_what_has_failed_has_changed_nothing(method: str, status: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.4: only a non-error response does."""
    assert await kept(tmp_path, answering(status=status), method=method)


async def test_what_nobody_knows_the_end_of_may_have_changed_it(tmp_path: Path) -> None:
    """RFC 9111 section 4.4 leaves it open: the request may have been carried out."""
    assert not await kept(tmp_path, CLOSED)


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND", "REPORT"])
async def test_a_safe_method_makes_nothing_invalid(method: str, tmp_path: Path) -> None:
    """RFC 9110 section 9.2.1."""
    assert await kept(tmp_path, answering(), method=method)


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize("method", UNSAFE)
async def test_what_the_answer_names_is_made_invalid_too(method: str, name: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.4."""
    answer = answering(f"{name}: /b?c", status="201 Created")
    assert not await kept(tmp_path, answer, method=method, target="/b?c")


@pytest.mark.parametrize(
    "spelled",
    [
        "b?c",
        "./b?c",
        "/x/../b?c",
        "/b?c#part",
        "//app/b?c",
        "http://app/b?c",
        "HTTP://APP:80/b?c",
        "https://app/b?c",  # where TLS ends before the proxy
    ],
)
async def test_a_reference_is_resolved(spelled: str, tmp_path: Path) -> None:
    """RFC 3986 section 5.2, RFC 9110 section 10.2.2."""
    answer = answering(f"Location: {spelled}", status="201 Created")
    assert not await kept(tmp_path, answer, target="/b?c")


async def test_an_origin_may_call_itself_as_it_is_called(tmp_path: Path) -> None:
    """RFC 9111 section 4.4: of the same origin is also what has the name by which the proxy knows it."""
    async with running(tmp_path, KEPT) as (proxy, origin), proxy.client() as client:
        answer = answering(f"Content-Location: {origin.upstream.url}/b")
        origin.answers = (KEPT, answer, KEPT)
        await client.get("/b")
        await send(client, "POST")
        assert (await client.get("/b")).body == b"3"


@pytest.mark.parametrize(
    "spelled",
    [
        "http://elsewhere/b?c",
        "//elsewhere/b?c",
        "http://app:81/b?c",
        "http://[/b?c",
        "/b",
        "/b?C",
    ],
)
async def test_nothing_of_another_origin_or_name_is(spelled: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.4: else one origin could make another's copies useless."""
    answer = answering(f"Location: {spelled}", f"Content-Location: {spelled}", status="201 Created")
    assert await kept(tmp_path, answer, target="/b?c")


async def test_what_a_failure_names_is_kept(tmp_path: Path) -> None:
    """RFC 9111 section 4.4."""
    assert await kept(tmp_path, answering("Location: /b", status="500 No"), target="/b")


@pytest.mark.parametrize("target", ["/b", "/a?x", "/a/", "/A"])
async def test_other_targets_are_kept(target: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.4: the target URI, query included."""
    assert await kept(tmp_path, answering(), target=target)


async def test_all_that_a_target_has_is_made_invalid(tmp_path: Path) -> None:
    """RFC 9111 section 4.4: every response with that URI, whatever selected it."""
    varied = answering(MINUTE, "Vary: Foo")
    async with running(tmp_path, varied) as (proxy, _), proxy.client() as client:
        for value in "12":
            await client.get("/a", f"Foo: {value}")
        await send(client, "DELETE")
        for value, body in (("1", b"4"), ("2", b"5")):
            assert (await client.get("/a", f"Foo: {value}")).body == body


async def test_an_answer_to_an_unsafe_method_is_not_stored(tmp_path: Path) -> None:
    """RFC 9111 section 3; RFC 9110 section 9.3.3 would allow it of POST, for GETs that name it."""
    stated = answering(MINUTE, "Content-Location: /a")
    async with running(tmp_path, stated) as (proxy, _), proxy.client() as client:
        assert await send(client, "POST") == 200
        assert (await client.get("/a")).body == b"2"


async def test_what_is_invalid_is_validated(tmp_path: Path) -> None:
    """RFC 9111 section 4.4: to make invalid may be to demand validation; either way the origin is asked."""
    tagged = answering(MINUTE, 'ETag: "1"')
    async with running(tmp_path, tagged) as (proxy, origin), proxy.client() as client:
        await client.get("/a")
        await send(client, "PUT")
        assert (await client.get("/a")).body == b"3"
        assert (await client.get("/a")).body == b"3"
        assert len(origin.seen) == 3
