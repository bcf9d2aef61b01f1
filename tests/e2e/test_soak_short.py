"""A soak of some seconds, and proof that its checks find what is wrong: `make soak` is the long one."""

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from bench.soak.run import Outcome, Plan, soak
from bench.soak.trouble import UPSTREAM

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


async def _soak(directory: Path, seconds: float, lie: Callable[[bytes], bytes] | None = None) -> Outcome:
    return await soak(Plan(seconds, 5, directory, rate=150, pace=0.3, fill=False, lie=lie))


async def test_every_answer_of_mixed_traffic_with_faults_is_right(tmp_path: Path) -> None:
    outcome = await _soak(tmp_path, 12)
    assert not outcome.verdicts.violations
    played = outcome.trouble.played
    assert len(played) >= 3
    assert played.keys() & set(UPSTREAM)
    for what in ("hit", "miss", "partial", "bypass", "echo", "person hit", "person miss", "person absent"):
        assert outcome.verdicts.judged[what] > 0, what
    assert outcome.moments[-1].memory_bytes > 0
    assert outcome.erased > 0


class Liar:
    """Tells one lie after the other about what it is asked for."""

    def __init__(self) -> None:
        self._first: dict[str, dict[str, Any]] = {}
        self._lies = cycle((self._replayed, self._replayed, _left_out, _another_byte, _of_another))

    def __call__(self, body: bytes) -> bytes:
        return next(self._lies)(body)

    def _replayed(self, body: bytes) -> bytes:
        """Everybody as they were when they were first asked for."""
        document = json.loads(body)
        for plural in ("users", "businesses"):
            listed = document.get(plural, [])
            listed[:] = [self._first.setdefault(member["id"], member) for member in listed]
        return json.dumps(document).encode()


def _left_out(body: bytes) -> bytes:
    """Of one who was asked for it is said that there is nobody."""
    return b'{"users":[],"count":0}' if b'"users"' in body and b'"count" : 1 }' in body else body


def _another_byte(body: bytes) -> bytes:
    """One letter of each item is another."""
    return body.replace(b"filling", b"felling")


def _of_another(body: bytes) -> bytes:
    """What is somebody else's, under the right id."""
    return body.replace(b" of soak-user-0", b" of soak-user-1")


async def test_an_upstream_that_lies_is_found_out(tmp_path: Path) -> None:
    outcome = await _soak(tmp_path, 8, Liar())
    found = " ".join(outcome.verdicts.kinds)
    for kind in (
        "not the bytes of the upstream", "it was invalidated", "absent when it was there", "torn, or of another",
    ):  # fmt: skip
        assert kind in found
