"""The Cache-Status members that are written (RFC 9211)."""

import re

import pytest

from proxy.core import cache_status

# RFC 8941: a list member of ours is a token with parameters, each a bare key, a token, an integer or a string.
KEY = rb"[a-z*][a-z0-9_.*-]*"
TOKEN = rb"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"
STRING = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
MEMBER = re.compile(
    TOKEN + rb"(?: *; *" + KEY + rb"(?:=(?:-?[0-9]{1,15}|" + STRING + rb"|" + TOKEN + rb"))?)*"
)
# RFC 9211 section 2.2.
FORWARD_REASONS = {b"bypass", b"method", b"uri-miss", b"vary-miss", b"miss", b"request", b"stale", b"partial"}

MEMBERS = [
    cache_status.hit(3.0),
    cache_status.hit(-3.0),
    cache_status.forwarded("uri-miss", stored=True),
    cache_status.forwarded("uri-miss", stored=False),
    cache_status.forwarded("uri-miss", stored=False, collapsed=True),
    cache_status.forwarded("stale", stored=False, fwd_status=304),
    cache_status.forwarded("request", stored=True, collapsed=True, fwd_status=200),
    cache_status.bypass("shape"),
    cache_status.bypass("answer-shape"),
    cache_status.partial(hit=3, stale=0, negative=1, miss=2),
]


@pytest.mark.parametrize("member", MEMBERS)
def test_each_member_is_valid_and_names_this_cache_first(member: bytes) -> None:
    """RFC 9211 section 2; RFC 8941 section 3.1."""
    assert MEMBER.fullmatch(member)
    assert member.split(b";")[0] == b"handshake-proxy"
    names = [part.split(b"=")[0].strip() for part in member.split(b";")[1:]]
    assert len(names) == len(set(names))
    assert (b"hit" in names) != (b"fwd" in names)
    reason = re.search(rb"fwd=([a-z-]+)", member)
    assert reason is None or reason[1] in FORWARD_REASONS


@pytest.mark.parametrize(
    ("ttl", "written"),
    [
        (60.0, 60),
        (60.9, 60),
        (0.999, 0),
        (0.0, 0),
        (-0.001, -1),
        (-0.5, -1),
        (-1.0, -1),
        (-1.5, -2),
        (2.0**31, 2**31),
    ],
)
def test_the_ttl_of_a_hit_is_floored_and_negative_when_stale(ttl: float, written: int) -> None:
    """RFC 9211 section 2.4."""
    assert cache_status.hit(ttl) == b"handshake-proxy; hit; ttl=%d" % written


def test_what_was_forwarded_says_why_and_what_came_of_it() -> None:
    """RFC 9211 sections 2.2, 2.3, 2.5 and 2.6."""
    assert cache_status.forwarded("uri-miss", stored=True) == b"handshake-proxy; fwd=uri-miss; stored"
    assert cache_status.forwarded("uri-miss", stored=False) == b"handshake-proxy; fwd=uri-miss"
    assert (
        cache_status.forwarded("uri-miss", stored=False, collapsed=True)
        == b"handshake-proxy; fwd=uri-miss; collapsed"
    )
    assert (
        cache_status.forwarded("stale", stored=True, collapsed=True, fwd_status=304)
        == b"handshake-proxy; fwd=stale; fwd-status=304; stored; collapsed"
    )


def test_a_bypass_says_why() -> None:
    """RFC 9211 section 2.8."""
    assert cache_status.bypass("query") == b"handshake-proxy; fwd=bypass; detail=query"


def test_a_partly_forwarded_bulk_counts_its_ids() -> None:
    """RFC 9211 section 2.8."""
    assert (
        cache_status.partial(hit=3, stale=0, negative=1, miss=2)
        == b'handshake-proxy; fwd=miss; detail="hit=3,stale=0,negative=1,miss=2"'
    )


def test_the_field_has_its_registered_name() -> None:
    """RFC 9211 section 5."""
    assert cache_status.NAME == b"Cache-Status"
