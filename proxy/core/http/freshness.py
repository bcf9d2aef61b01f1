"""May an answer of the upstream be stored, and for how long is it fresh (RFC 9111 sections 3 and 4.2).

The origin's explicit word wins over the operator's ttl, which is what a silent origin gets; `origin: ignore` turns
that round. This is the part of the rules that keeps a wrong answer out of an entity store.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from proxy.core.http.directives import delta_seconds, parse
from proxy.core.http.fields import RawField, tokens, values

# A bulk answer is JSON of our own asking: its coding is fixed by the fill, and CORS does not change its bytes.
_HARMLESS_VARY = frozenset({b"accept-encoding", b"origin"})
_FORBIDDING = (b"no-store", b"private", b"no-cache")


def lifetime(
    fields: Iterable[RawField],
    *,
    ttl: float,
    jitter: float,
    origin: Literal["honour", "ignore"],
    rng: Callable[[], float],
) -> float | None:
    """Freshness lifetime in seconds of an answer with these fields, or None if it must not be stored.

    `rng` gives a number in [0, 1); jitter only ever shortens a lifetime that came from `ttl`, so that entities
    which were fetched together do not expire together.
    """
    from_ttl = ttl * (1.0 - jitter * rng())
    if origin == "ignore":
        return from_ttl
    fields = tuple(fields)
    if is_for_one_caller(fields):
        return None
    directives = parse(fields)
    if any(name in directives for name in _FORBIDDING):
        return None
    for name in (b"s-maxage", b"max-age"):  # section 4.2.1: the first that is there
        if name in directives:
            return float(
                delta_seconds(directives[name])
            )  # 0 is stale at once, and of use when the upstream fails
    return from_ttl


def is_for_one_caller(fields: Iterable[RawField]) -> bool:
    """Whether an answer sets a cookie, or varies with a field that a fill does not carry (sections 4.1 and 7.3)."""
    fields = tuple(fields)
    return bool(values(fields, b"set-cookie") or set(tokens(fields, b"vary")) - _HARMLESS_VARY)
