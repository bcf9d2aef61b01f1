"""Requests whose framing no listener takes."""

from proxy.core.http.fields import tokens
from proxy.core.problem import BAD_REQUEST, UNKNOWN_CODING, Problem
from proxy.messages import Request

_VERSIONS = frozenset({(1, 0), (1, 1)})


def framing_refusal(request: Request) -> Problem | None:
    """Why a request can't be taken for what it seems to be."""
    if request.version not in _VERSIONS:
        return BAD_REQUEST
    if request.chunked and tokens(request.fields, b"transfer-encoding") != [b"chunked"]:
        return UNKNOWN_CODING  # RFC 9112 section 6.1: we would take the coding off and lose its name
    return None
