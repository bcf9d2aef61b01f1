"""The upstream is busy, and says when to come back: 429 and 503, with a Retry-After that may be anything."""

from email.utils import formatdate
from itertools import product
from pathlib import Path

import pytest

from tests.faults.asking import FACES, answered, heals, held_is_served, warm
from tests.faults.sick import SickUpstream, says
from tests.faults.watch import HELD, TTL, Watched, watched
from tests.turns import in_turn

START = 1_800_000_000.0
"""The hand clock's beginning."""
AN_HOUR = 3600.0
WISHES = {
    "seconds": (b"120", 120.0),
    "a date": (formatdate(START + TTL + 120, usegmt=True).encode(), 120.0),
    "none": (b"", 0.0),
    "garbage": (b"soon-ish; q=1", 0.0),
    "a negative number": (b"-5", 0.0),
    "a date of the past": (b"Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
    "a date of the year 9999": (b"Fri, 31 Dec 9999 23:59:59 GMT", AN_HOUR),
    "huge": (b"9" * 400, AN_HOUR),
}
"""Retry-After, and the seconds for which what there is a copy of is not asked for."""
RELAYED = {"bulk", "single", "pass"}


def busy(status: int, wish: bytes) -> bytes:
    retry_after = b"Retry-After: %b\r\n" % wish if wish else b""
    return b"HTTP/1.1 %d Busy\r\n%bContent-Length: 4\r\n\r\nbusy" % (status, retry_after)


def calls(upstream: SickUpstream) -> int:
    return len(upstream.upstream.seen)


@pytest.mark.parametrize(("said", "face"), in_turn(product(WISHES, (429, 503)), FACES), ids=str)
async def test_busy(said: tuple[str, int], face: str, tmp_path: Path) -> None:
    wish, status = said
    value, seconds = WISHES[wish]
    settings = {"retries": 0, "timeout": "30s"}
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, upstream=settings) as seen:
        await warm(seen)
        upstream.illness = says(busy(status, value), then="go on")
        answer = await answered(seen, face)
        if face in RELAYED:  # the upstream's own word
            assert (answer.status, answer.body) == (status, b"busy")
            assert answer.field("retry-after") == value.decode()
        else:
            assert (answer.status, answer.field("content-type")) == (503, "application/problem+json")
            assert answer.field("retry-after") == str(int(max(1.0, seconds)))
        seen.says_nothing(answer)
        assert seen.logged("request", log_level="warning") == (answer.status >= 500)
        if face != "pass":
            await left_alone(seen, upstream, seconds)
        else:
            assert (seen.errors(), seen.logged("upstream_failed")) == ({}, 0)
        upstream.illness = None
        await heals(seen, face)
        await seen.settled()


async def left_alone(seen: Watched, upstream: SickUpstream, seconds: float) -> None:
    """The copies are served, and the upstream is not asked for them for so many seconds, nor for much longer."""
    assert seen.errors() == {"status": 1}
    assert seen.logged("upstream_failed", reason="status", upstream="main") == 1
    asked = calls(upstream)
    if seconds:
        seen.proxy.clock.tick(seconds - 1)
    await held_is_served(seen)
    assert calls(upstream) == asked
    upstream.illness = None
    seen.proxy.clock.tick(2)  # the first back-off is a second at the most
    assert (await answered(seen, "bulk", HELD)).field("cache-status") == "handshake-proxy; fwd=stale; stored"
    assert calls(upstream) == asked + 1
