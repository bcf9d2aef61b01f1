"""Status codes, as far as a cache has to know them (RFC 9111 section 3; RFC 9110 section 15)."""

UNDERSTOOD = frozenset(
    {
        *range(200, 207),
        *range(300, 304),
        305,
        307,
        308,
        *range(400, 418),
        421,
        422,
        426,
        *range(500, 506),
    }
)
"""Final codes whose caching rules we keep, which are all that RFC 9110 defines but one. A 304 is no answer of its own:
it goes into a stored one (RFC 9111 section 4.3.4). Of what other documents define nothing is known here, though none of
their codes is known to need anything special."""

HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Codes whose answers may be stored and used though nobody has said for how long (RFC 9110 section 15.1)."""

PARTIAL, NOT_MODIFIED, UNSATISFIABLE = 206, 304, 416


def is_storable(status: int, *, must_understand: bool) -> bool:
    """Whether a cache may store an answer of this status, if nothing else forbids it (RFC 9111 section 3).

    Any final one, but for 304; one that we do not know too, unless the answer has `must-understand`. A number beyond
    599 is no status (RFC 9110 section 15).
    """
    if must_understand:
        return status in UNDERSTOOD
    return 200 <= status < 600 and status != NOT_MODIFIED  # noqa: PLR2004 - below are the interim ones
