"""Requests whose framing no listener takes."""

from proxy.core.http.fields import values
from proxy.core.problem import BAD_REQUEST, UNKNOWN_CODING, Problem
from proxy.messages import Request

_VERSIONS = frozenset({(1, 0), (1, 1)})
# A server that counts in 64 bits with a sign would take a longer body for none at all, and the body for a request.
_MAX_LENGTH = 2**63 - 1
_MAX_LENGTH_DIGITS = len(str(_MAX_LENGTH))


def framing_refusal(request: Request) -> Problem | None:
    """Why a request can't be taken for what it seems to be."""
    version = request.version
    if version not in _VERSIONS:
        return BAD_REQUEST
    if request.chunked:
        if version < (1, 1):
            return BAD_REQUEST  # RFC 9112 section 6.1: its framing is faulty
        codings = [value.strip(b" \t").lower() for value in values(request.fields, b"transfer-encoding")]
        # RFC 9112 section 6.1: we would take a coding off and lose its name. Nor an empty member of the list, or a
        # second line: nobody honest writes these, and not every server on the way reads the same in them.
        return None if codings == [b"chunked"] else UNKNOWN_CODING
    length = request.header("content-length")
    if len(length) >= _MAX_LENGTH_DIGITS and int(length) > _MAX_LENGTH:
        return BAD_REQUEST
    return None
