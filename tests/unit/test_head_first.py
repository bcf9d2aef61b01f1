"""The first response on a connection, by aiohttp's own handler and parser: also the canary of their private names."""

import asyncio
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiohttp.client_proto import ResponseHandler

from proxy.head_first import HeadFirst

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
WHOLE = HEAD + b"ok"


def handler() -> tuple[ResponseHandler, Mock]:
    """One that has just sent its request, and its transport."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    transport = Mock(spec=asyncio.Transport)
    protocol.connection_made(transport)
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    private: Any = protocol
    private._parser = HeadFirst(private)
    return protocol, transport


async def received(*reads: bytes) -> tuple[list[int], bytes, bool]:
    """The statuses that come of these reads, the body of the final one, and whether the connection was closed."""
    protocol, transport = handler()
    for read in reads:
        protocol.data_received(read)
    statuses: list[int] = []
    while not statuses or statuses[-1] < 200:
        message, payload = await protocol.read()
        statuses.append(message.code)
    body = await payload.read() if payload.is_eof() or payload.total_bytes else b""
    return statuses, body, cast("bool", transport.close.called)


@pytest.mark.parametrize(
    "reads",
    [
        (WHOLE,),
        (HEAD, b"ok"),
        (HEAD[:20], HEAD[20:], b"o", b"k"),
        (HEAD[:-2], HEAD[-2:] + b"ok"),
        (HEAD[:-1], HEAD[-1:], b"ok"),
        tuple(bytes([byte]) for byte in WHOLE),
    ],
)
async def test_a_response_is_the_same_however_it_is_cut(reads: tuple[bytes, ...]) -> None:
    assert await received(*reads) == ([200], b"ok", False)


@pytest.mark.parametrize("cut", range(1, len(HINTS + WHOLE)))
async def test_interim_responses_go_before_wherever_they_are_cut(cut: int) -> None:
    data = HINTS + WHOLE
    assert await received(data[:cut], data[cut:]) == ([103, 200], b"ok", False)


async def test_many_interim_responses_may_come_at_once() -> None:
    statuses, body, _ = await received(HINTS * 50 + WHOLE)
    assert (statuses, body) == ([103] * 50 + [200], b"ok")


@pytest.mark.parametrize("behind", [b"garbage", WHOLE, HEAD, HEAD + b"o", HINTS])
async def test_what_comes_behind_ends_the_connection_alone(behind: bytes) -> None:
    """A second answer would be taken for that of the next request."""
    assert await received(WHOLE + behind) == ([200], b"ok", True)


async def test_a_switch_of_protocols_is_left_to_the_parser() -> None:
    protocol, _ = handler()
    protocol.data_received(b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    message, _ = await protocol.read()
    assert message.code == 101
    assert cast("Any", protocol)._tail == b"\x81\x00"
