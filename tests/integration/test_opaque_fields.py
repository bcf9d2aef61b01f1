"""What an opaque resource makes of the fields of requests and answers: nothing is invented or lost on the way."""

from pathlib import Path
from typing import Any

import pytest

from proxy.core.http.fields import RawField
from tests.integration.harness import Client, Response
from tests.integration.test_opaque_sharing import MINUTE, NOBODY, A, shared

FIELDS = (
    "ACCEPT: */*;q=0.5",
    "accept-Encoding: gzip,  br",
    "X-Twice: 1",
    'x-odd: \xe9 "a" \\ ,,',
    "X-Twice: 2",
    "X-Empty:",
    "User-Agent: a (b)",
    "X-Hop: gone",
    "Connection: keep-alive, X-Hop",
    "TE: trailers",
    "Keep-Alive: timeout=5",
    "Forwarded: for=a",
    "X-Forwarded-For: a",
    "Via: 1.0 other",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Referer: http://a/b",
    "Origin: http://a",
)


async def raw(client: Client, method: str, target: str, *lines: str) -> Response:
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
    return await client.request(head.encode("latin-1"), head_only=method == "HEAD")


def elsewhere(resources: bool) -> dict[str, Any]:
    """A resource that claims the target, or one that leaves it to be passed on."""
    return {"single": {"path": "/{rest*}" if resources else "/other/{rest*}"}}


@pytest.mark.parametrize("first", [("Host: app",), ("X-First: 1", "hOST: app")], ids=["usual", "odd"])
@pytest.mark.parametrize("credential", [NOBODY, A], ids=["nobody", "somebody"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_origin_sees_the_request_as_if_it_were_passed_on(
    method: str, credential: tuple[str, ...], first: tuple[str, ...], tmp_path: Path
) -> None:
    """Order, case and bytes (RFC 9110 section 5.3), and nothing of ours but Via."""
    seen: list[list[RawField]] = []
    for number, is_claimed in enumerate((True, False)):
        (tmp_path / str(number)).mkdir()
        async with shared(tmp_path / str(number), MINUTE, **elsewhere(is_claimed)) as (proxy, origin):
            async with proxy.client() as client:
                await raw(client, method, "/a%7e?b=%C3%A9&&", *first, *FIELDS, *credential)
            (one,) = origin.upstream.seen
            assert one.line == f"{method} /a%7e?b=%C3%A9&& HTTP/1.1".encode()
            own = origin.upstream.url.removeprefix("http://").encode()
            via = proxy.app._via
            seen.append(
                [(name, value.replace(own, b"main").replace(via, b"us")) for name, value in one.fields]
            )
    assert seen[0] == seen[1]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_conditional_request_goes_as_it_is_but_for_its_conditions(
    method: str, tmp_path: Path
) -> None:
    """They are about the client's copy, and what comes is to be kept: RFC 9111 section 4.3.1."""
    async with shared(tmp_path, MINUTE) as (proxy, origin):
        async with proxy.client() as client:
            await raw(client, method, "/a", "Host: a", "X-A: 1", 'If-None-Match: "x"', "X-B: 2")
        names = [name for name, _ in origin.upstream.seen[0].fields]
        assert names == [b"Host", b"X-A", b"X-B", b"Via"]


ANSWER = (
    "dAtE: Tue, 15 Nov 1994 08:12:31 GMT",
    "Server: a (b)",
    "X-Twice: 1",
    'x-odd: "a" \\ ,,',
    "X-Twice: 2",
    "X-Empty:",
    "Set-Cookie: a=b",
    "Connection: x-hop",
    "X-Hop: gone",
    'ETag: "1"',
    "Via: 1.0 other",
    "Cache-Status: other; hit",
    'Cache-Control: s-maxage=6000000000, X="y"',
)


async def answers(directory: Path, *, is_claimed: bool) -> list[list[RawField]]:
    """The fields of two answers to the same request, without Via and Cache-Status of ours."""
    directory.mkdir()
    found = []
    async with shared(directory, *ANSWER, **elsewhere(is_claimed)) as (proxy, _):
        for _ in range(2):
            fields = (await proxy.get("/a")).fields
            via = proxy.app._via
            ours = (b"handshake-proxy;", b"1.1 " + via)
            found.append([(name, value) for name, value in fields if not value.startswith(ours)])
    return found


async def test_the_client_sees_the_answer_as_if_it_were_passed_on(tmp_path: Path) -> None:
    """Order, case and bytes, and nothing of ours but Via and Cache-Status. A cookie is for who was given it."""
    passed, _ = await answers(tmp_path / "passed", is_claimed=False)
    missed, hit = await answers(tmp_path / "claimed", is_claimed=True)
    assert missed == passed
    left_out = {b"set-cookie", b"content-length"}
    assert [one for one in hit if one[0].lower() not in {*left_out, b"age"}] == [
        one for one in passed if one[0].lower() not in left_out
    ]
