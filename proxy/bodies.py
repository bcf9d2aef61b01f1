"""Bodies as they arrive, from either side."""

from aiohttp.streams import StreamReader


async def read_some(payload: StreamReader) -> bytes:
    """What has arrived of a body, or nothing at its end. Raises what the reader was told has broken it.

    `readany` would do, but for one thing: woken by the end of a chunk that brings no bytes, it waits again without a
    look at an error that came with it, and for as long as anybody lets it. `readchunk` looks each time. It gives one
    chunk of the sender's, of a byte maybe; so all that has arrived behind it is taken with it.
    """
    while True:
        data, ends_chunk = await payload.readchunk()
        if data and payload.exception() is None:
            return data + payload.read_nowait()
        if data or not ends_chunk or payload.at_eof():
            return data
