"""An upstream's response on its way to the client: its head written as it is to be, its body as it arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from proxy.core.budget import FREE
from proxy.core.http import fields as raw
from proxy.core.http.fields import RawField
from proxy.exchange import ResponseHead, UpstreamError
from proxy.messages import Request, bodiless, render_head

_LAST_CHUNK = b"0\r\n\r\n"


class Source(Protocol):
    """Where a response's body comes from."""

    def arrived(self) -> bytes | None:
        """The body, if all of it is here; else None, and `body` has it."""
        ...

    def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises UpstreamError when it ends too early."""
        ...


async def stream(
    request: Request, head: ResponseHead, fields: Sequence[RawField], source: Source, *, idle: float
) -> bool:
    """Write a response with these fields; whether the client's connection may live on.

    The body may stand still for `idle` seconds, and is read as fast as the client reads. Raises UpstreamError.
    """
    fields = list(fields)
    keep_alive = request.keep_alive
    encode: Callable[[bytes], bytes] = bytes
    has_body = not bodiless(request.method, head.status)
    chunked = has_body and (head.chunked or not raw.values(head.fields, b"content-length"))
    if chunked and request.version >= (1, 1):
        fields.append((b"Transfer-Encoding", b"chunked"))
        encode = _chunk
    elif chunked:
        keep_alive = False  # an HTTP/1.0 client knows the end by the close
    writer = request.writer
    rendered = render_head(request, head.status, head.reason, fields, keep_alive=keep_alive)
    arrived = source.arrived()
    if arrived is not None:
        body = encode(arrived) if has_body and arrived else b""
        end = _LAST_CHUNK if encode is _chunk else b""
        if len(body) > FREE:  # put together with its head it would be in memory twice
            await writer.write(rendered, drain=False)
            await writer.write(body, drain=False)
            rendered = body = b""
        await writer.write(rendered + body + end, drain=False)
        await request.flush()
        return keep_alive
    await writer.write(rendered)
    try:
        async with asyncio.timeout(idle) as timer:
            async for data in source.body():
                timer.reschedule(None)  # from here it is the client's time, which `flush` watches
                if has_body:
                    await writer.write(encode(data), drain=False)
                    await request.flush()
                timer.reschedule(asyncio.get_running_loop().time() + idle)
    except TimeoutError:
        raise UpstreamError("timeout") from None
    if encode is _chunk:
        await writer.write(_LAST_CHUNK)
    await request.flush()
    return keep_alive


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
