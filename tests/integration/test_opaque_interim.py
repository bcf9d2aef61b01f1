"""Interim responses: passed on as they come, and never stored (RFC 9110 section 15.2, RFC 9111 section 3)."""

from pathlib import Path

import pytest

from tests.integration.harness import Client, Response
from tests.integration.opaque import answering, running

PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </styles.css>; rel=preload; as=style\r\nX-Early: test\r\n\r\n"
MINUTE = "Cache-Control: max-age=60"


async def all_of(client: Client) -> list[Response]:
    """What comes for one request, up to the final response."""
    responses = [await client.get("/a")]
    while responses[-1].status < 200:
        responses.append(await client.receive())
    return responses


@pytest.mark.parametrize("interim", [PROCESSING, HINTS, PROCESSING + HINTS])
async def test_the_client_sees_them_and_the_final_one_is_stored(interim: bytes, tmp_path: Path) -> None:
    """RFC 9110 section 15.2: a proxy forwards them; RFC 9111 section 3: only what is final is stored."""
    async with running(tmp_path, answering(MINUTE, interim=interim)) as (proxy, origin):
        async with proxy.client() as client:
            *early, final = await all_of(client)
            assert [response.head.split(b"\r\n")[0] for response in early] == [
                line for line in interim.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")
            ]
            hints = {b"Link": b"</styles.css>; rel=preload; as=style", b"X-Early": b"test"}
            for response in early:
                assert response.status == 102 or hints.items() <= dict(response.fields).items()
            assert final.body == b"1"
            again = await all_of(client)
        assert [response.status for response in again] == [200]
        assert again[0].body == b"1"
        assert len(origin.seen) == 1


async def test_their_fields_are_none_of_the_final_ones(tmp_path: Path) -> None:
    """RFC 8297 section 2."""
    async with running(tmp_path, answering(MINUTE, interim=HINTS)) as (proxy, _):
        async with proxy.client() as client:
            for _ in range(2):
                final = (await all_of(client))[-1]
                assert (final.field("link"), final.field("x-early")) == ("", "")


async def test_a_client_of_old_is_spared_them(tmp_path: Path) -> None:
    """RFC 9110 section 15.2: HTTP/1.0 has no interim responses."""
    async with running(tmp_path, answering(MINUTE, interim=HINTS)) as (proxy, _):
        async with proxy.client() as client:
            assert (await client.request(b"GET /a HTTP/1.0\r\nHost: app\r\n\r\n")).status == 200


async def test_a_100_that_nobody_waits_for_is_dropped(tmp_path: Path) -> None:
    """RFC 9110 section 10.1.1: it is about this hop alone."""
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with running(tmp_path, answering(MINUTE, interim=go_on)) as (proxy, _):
        async with proxy.client() as client:
            assert [response.status for response in await all_of(client)] == [200]
