"""The body of a request that has to be JSON, small and whole."""

from typing import Final

from proxy.core.budget import Share
from proxy.core.problem import NO_ROOM, Problem
from proxy.messages import Request

BODY_BYTES: Final = 1024 * 1024
"""The largest body that is read: room for a batch of as many ids as are allowed, of a hundred bytes each."""

TOO_LARGE: Final = Problem(413, "The body is larger than 1 MiB.")
NOT_JSON: Final = Problem(415, "The body must be JSON, and declared so: `Content-Type: application/json`.")


async def json_body(request: Request, share: Share) -> bytes | Problem:
    """The body, or why it is not read: its declared type, its size, or that there is no room for it in `share`.

    Raises what `Request.body` raises. Whether it really is JSON is left to whoever parses it.
    """
    media_type = request.header("content-type").partition(";")[0].strip().lower()
    is_json = media_type in {"", "application/json"} or media_type.endswith("+json")
    if not is_json or request.header("content-encoding"):
        return NOT_JSON
    if (request.content_length or 0) > BODY_BYTES:
        return TOO_LARGE
    body, is_whole = await request.read_at_most(BODY_BYTES, share)
    if not is_whole:
        return NO_ROOM if share.is_refused else TOO_LARGE
    return body
