"""Failures that the proxy makes itself, as problem details (RFC 9457).

They say what happened in words of ours alone: no id, no secret, no byte of the request.
"""

import json
from http import HTTPStatus

from msgspec import Struct

CONTENT_TYPE = b"application/problem+json"


class Fault(Struct, frozen=True):
    """What one part of a request has to do with a failure (the `errors` of RFC 9457 section 3)."""

    at: str
    """A JSON pointer to a member of the body as a URI fragment (`#/userId`, RFC 6901 section 6), or the name of a
    parameter."""
    detail: str
    """What is wrong with it, or what has become of it."""

    @property
    def name(self) -> str:
        """How it is called in a sentence."""
        return self.at.removeprefix("#/") if self.at != "#" else "the body"

    def document(self) -> dict[str, str]:
        """The fault as a member of `errors`."""
        return {"pointer" if self.at.startswith("#") else "parameter": self.at, "detail": self.detail}


class Problem(Struct, frozen=True):
    """One failure. `type` stays about:blank: the status says it, `detail` tells a person more."""

    status: int
    detail: str
    retry_after: int | None = None
    """Seconds, for the Retry-After field (RFC 9110 section 10.2.3)."""
    faults: tuple[Fault, ...] = ()
    """Which parts of the request it is about, if that can be told."""

    def body(self) -> bytes:
        """The JSON document."""
        document: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            document["errors"] = [fault.document() for fault in self.faults]
        return json.dumps(document).encode()


BAD_REQUEST = Problem(400, "The request is not valid HTTP/1.1.")
REQUEST_TIMEOUT = Problem(408, "The body of the request did not arrive in time.")
METHOD_NOT_ALLOWED = Problem(405, "CONNECT is not offered: this proxy reaches its configured upstreams only.")
HEADERS_TOO_LARGE = Problem(
    431, "The request line or a header field is too long, or there are too many fields."
)
UNKNOWN_CODING = Problem(501, "The body has a transfer coding other than chunked.")
NO_ROOM = Problem(503, "Too many large bodies are held in memory.", retry_after=1)
INTERNAL = Problem(500, "The proxy met an error of its own; its log has the details.")
LOOP = Problem(508, "The request has passed this proxy before: an upstream URL leads back to it.")
