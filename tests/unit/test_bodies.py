"""What is read of a body at a time."""

import asyncio

from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpResponseParser
from aiohttp.streams import StreamReader

from proxy.bodies import read_some

_COUNT = 1000


def chunked() -> StreamReader:
    """A body of which many chunks of two bytes have arrived."""
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    parser = HttpResponseParser(protocol, loop, 2**16)
    ((_, payload),), _, _ = parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    parser.feed_data(b"2\r\nxx\r\n" * _COUNT)
    return payload


async def test_all_chunks_that_have_arrived_are_read_at_a_time() -> None:
    """One at a time, a body in chunks of two bytes would cost thirty times as much as its bytes do."""
    assert await read_some(chunked()) == b"xx" * _COUNT
