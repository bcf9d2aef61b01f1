"""The upstream answers, and the answer is ill: one table, and each row of it for every face of the proxy.

A fill has no use for such an answer: its request fails, or gets the copy that there is. What is passed through reaches
the client as far as it can be told from a good one, and is cut where it ends too early.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.asking import CUT, FACES, Outcome, asked_and_checked, heals, held_is_served, warm
from tests.faults.sick import Endless, SickUpstream, says
from tests.faults.watch import USER, watched
from tests.integration.harness import Script
from tests.turns import in_turn

HEAD = b"HTTP/1.1 200 OK\r\n"
ITEM = b'{"users":[{"id":"%b"}],"count":1}' % USER.encode()
MIB = 2**20
CHUNKED = b"Transfer-Encoding: chunked"


def framed(*fields: bytes, body: bytes = ITEM) -> bytes:
    return HEAD + b"".join(each + b"\r\n" for each in fields) + b"\r\n" + body


def long(length: bytes | int, body: bytes = ITEM) -> bytes:
    return framed(
        b"Content-Length: %b" % str(length).encode() if isinstance(length, int) else length, body=body
    )


@dataclass(frozen=True)
class Ill:
    """What the upstream does, and what it comes to."""

    script: Script
    outcome: Outcome
    hurried: bool = False
    """Nothing but a time-out ends it."""


LATE = Outcome("timeout", passed=504)
LATE_CUT = Outcome("timeout", passed=CUT)
BROKEN_OFF = Outcome("body", passed=CUT, again=True)
NO_HTTP = Outcome("protocol")
NOT_UNDERSTOOD = Outcome("invalid_answer", passed=200, passed_reason=None)

ANSWERS = {
    "reset before the head": Ill(says(b"", then="reset"), Outcome("reset", again=True)),
    "closed before the head": Ill(says(b""), Outcome("disconnected", again=True)),
    "hangs before the head": Ill(says(b"", then="hang"), LATE, hurried=True),
    "hangs within the head": Ill(says(HEAD, then="hang"), LATE, hurried=True),
    "hangs after the head": Ill(says(long(10, b""), then="hang"), LATE_CUT, hurried=True),
    "hangs within the body": Ill(says(long(100, b"half"), then="hang"), LATE_CUT, hurried=True),
    "reset within the body": Ill(says(long(100, b"half"), then="reset"), BROKEN_OFF),
    "length too long, then closed": Ill(says(long(len(ITEM) + 1)), BROKEN_OFF),
    "closed within a chunk": Ill(says(framed(CHUNKED, body=b"9\r\nhalf")), BROKEN_OFF),
    "closed before the last chunk": Ill(says(framed(CHUNKED, body=b"4\r\nhalf\r\n")), BROKEN_OFF),
    "length too short": Ill(says(long(len(ITEM) - 1)), NO_HTTP),
    "two lengths": Ill(says(framed(b"Content-Length: 2", b"Content-Length: %d" % len(ITEM))), NO_HTTP),
    "two lengths in one": Ill(says(framed(b"Content-Length: 2, %d" % len(ITEM))), NO_HTTP),
    "negative length": Ill(says(long(-1)), NO_HTTP),
    "length that is no number": Ill(says(long(b"Content-Length: 0x20")), NO_HTTP),
    "length beyond 64 bits": Ill(says(long(2**65)), NO_HTTP),
    "length and chunks": Ill(
        says(framed(b"Content-Length: 2", CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n")), NO_HTTP
    ),
    "chunk size that is no number": Ill(says(framed(CHUNKED, body=b"zz\r\nok\r\n0\r\n\r\n")), NO_HTTP),
    "a blank before a colon": Ill(says(framed(b"X : v", b"Content-Length: %d" % len(ITEM))), NO_HTTP),
    "a coding that is not chunked": Ill(says(framed(b"Transfer-Encoding: gzip")), NO_HTTP),
    "no HTTP": Ill(says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), NO_HTTP),
    "no JSON": Ill(says(long(4, b"oops")), NOT_UNDERSTOOD),
    "JSON of another shape": Ill(says(long(2, b"[]")), NOT_UNDERSTOOD),
    "a field of 1 MiB": Ill(says(framed(b"X: " + b"v" * MIB)), NO_HTTP),
    "a field name of 1 MiB": Ill(says(framed(b"X" * MIB + b": v")), NO_HTTP),
    "a reason of 1 MiB": Ill(says(b"HTTP/1.1 200 " + b"v" * MIB + b"\r\n\r\n"), NO_HTTP),
    "fields of 1 MiB in all": Ill(
        says(framed(*[b"X: " + b"v" * 10_240] * 103, b"Content-Length: 32")), NO_HTTP
    ),
    "too many fields": Ill(says(framed(*[b"X: v"] * 513)), NO_HTTP),
    "fields without end": Ill(Endless(HEAD, b"X: v\r\n"), NO_HTTP),
    "trailers without end": Ill(Endless(framed(CHUNKED, body=b"2\r\nok\r\n0\r\n"), b"X: v\r\n"), BROKEN_OFF),
    "interim answers without end": Ill(Endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), NO_HTTP),
    "a switch of protocols": Ill(says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), NO_HTTP),
}


@pytest.mark.parametrize(("name", "face"), in_turn(ANSWERS, FACES))
async def test_an_answer(name: str, face: str, tmp_path: Path) -> None:
    ill = ANSWERS[name]
    limits = {"idle_timeout": "300ms"} if ill.hurried else {}
    settings = {"retries": 1, "timeout": "30s"}
    async with (
        SickUpstream() as upstream,
        watched(upstream.url, tmp_path, upstream=settings, limits=limits) as seen,
    ):
        await warm(seen)
        upstream.illness = ill.script
        with seen.hurried(*["timeout"] * ill.hurried):
            await asked_and_checked(seen, face, ill.outcome)
            await held_is_served(seen)
        upstream.illness = None
        await heals(seen, face)
        await seen.settled()
