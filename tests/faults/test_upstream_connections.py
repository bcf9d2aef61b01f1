"""The upstream can't be reached, or its address not be found: each fault for every face of the proxy."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.asking import FACES, Outcome, asked_and_checked, heals, held_is_served, warm
from tests.faults.sick import SickUpstream
from tests.faults.watch import Watched, watched

SETTINGS = {"retries": 1, "timeout": "30s"}
NAME = "users.invalid"
"""A name that no resolver knows (RFC 6761 section 6.4)."""


@pytest.mark.parametrize("face", FACES)
async def test_refused(face: str, tmp_path: Path) -> None:
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, upstream=SETTINGS) as seen:
        await warm(seen)
        await upstream.stop()
        await asked_and_checked(seen, face, Outcome("connect", again=True))
        await held_is_served(seen)
        await upstream.start()
        await heals(seen, face)
        await seen.settled()


@pytest.mark.parametrize("face", FACES)
async def test_neither_accepted_nor_refused(face: str, tmp_path: Path) -> None:
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, upstream=SETTINGS) as seen:
        await warm(seen)
        await upstream.stop()
        with upstream.deaf(), seen.hurried("connect_timeout"):
            outcome = Outcome("connect_timeout", passed=504, again=True)
            await asked_and_checked(seen, face, outcome)
            await held_is_served(seen)
        await upstream.start()
        await heals(seen, face)
        await seen.settled()


class Names:
    """What the system's resolver says of NAME."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known = True
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0
        self._look_up: Callable[..., Any] = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: str, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return self._look_up(host, *args, **options)
        self.asked += 1
        self.answers.wait()
        if not self.known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._look_up("127.0.0.1", *args, **options)


@pytest.mark.parametrize("face", FACES)
async def test_a_name_that_is_not_known(face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    async with SickUpstream() as upstream:
        url = f"http://{NAME}:{upstream.port}"
        async with watched(url, tmp_path, upstream=SETTINGS) as seen:
            await warm(seen)
            names.known = False
            await forgotten(seen)
            await asked_and_checked(seen, face, Outcome("dns", again=True))
            await held_is_served(seen)
            names.known = True
            await heals(seen, face)
            await seen.settled()


async def forgotten(seen: Watched) -> None:
    """The proxy has no connection, and has to ask for the name again."""
    for upstream in seen.proxy.app._upstreams:
        connector = upstream._connector
        assert connector is not None
        connector.clear_dns_cache()
        await upstream.close()
        await upstream.start()


@pytest.mark.parametrize("face", FACES)
async def test_a_resolver_that_hangs(face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    async with SickUpstream() as upstream:
        url = f"http://{NAME}:{upstream.port}"
        async with watched(url, tmp_path, upstream=SETTINGS) as seen:
            await warm(seen)
            await forgotten(seen)
            asked_before = names.asked
            names.answers.clear()
            try:
                with seen.hurried("connect_timeout"):
                    outcome = Outcome("dns", again=True)
                    await asked_and_checked(seen, face, outcome)
                    await held_is_served(seen)
                # A thread for each call would be a queue without a bound.
                assert names.asked == asked_before + 1
            finally:
                names.answers.set()
            await heals(seen, face)
            await seen.settled()


async def test_a_name_that_is_no_name(tmp_path: Path) -> None:
    """The system's own resolver, whether there is a network or not."""
    async with watched(f"http://{NAME}", tmp_path, upstream=SETTINGS) as seen:
        await asked_and_checked(seen, "pass", Outcome("dns"))
        await seen.settled()
