"""Looking up addresses, with the system's resolver in the test's hands."""

import asyncio
import errno
import socket
import threading
from typing import Any

import pytest

from proxy.dns import Resolver

LOCAL = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class System:
    """The system's resolver: says what it is told to, when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, says: Any = LOCAL) -> None:
        self.says = says
        self.asked = 0
        self.answers = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        self.answers.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def test_addresses_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    System(monkeypatch).answers.set()
    (found,) = await Resolver(lambda: 10.0).resolve("users.example", 80)
    assert (found["hostname"], found["host"], found["port"]) == ("users.example", "192.0.2.1", 80)
    assert found["flags"] == socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


@pytest.mark.parametrize(("scope", "host"), [(0, "fe80::1"), (1, "fe80::1%lo")])
async def test_a_scope_belongs_to_its_address(scope: int, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = ("fe80::1", 80, 0, scope)
    System(monkeypatch, [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", address)]).answers.set()
    (found,) = await Resolver(lambda: 10.0).resolve("users.example", 80, socket.AF_INET6)
    assert found["host"] == host


@pytest.mark.parametrize(
    "why", [socket.gaierror(socket.EAI_NONAME, "no"), UnicodeEncodeError("idna", "", 0, 1, "label too long")]
)
async def test_a_failure_is_an_oserror(why: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, why)
    system.answers.set()
    resolver = Resolver(lambda: 10.0)
    for asked in (1, 2):  # it is not remembered
        with pytest.raises(OSError, match="no"):
            await resolver.resolve("users.example")
        assert system.asked == asked


async def test_no_thread_is_an_oserror_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    System(monkeypatch).answers.set()
    resolver = Resolver(lambda: 10.0)

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(OSError, match="no thread") as caught:
            await resolver.resolve("users.example", 80)
    assert caught.value.errno == errno.EAGAIN
    assert await resolver.resolve("users.example", 80)


async def test_who_comes_later_waits_for_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch)
    within = 0.01
    resolver = Resolver(lambda: within)
    for _ in range(3):
        with pytest.raises(OSError, match="no answer"):
            await resolver.resolve("users.example", 80)
    within = 10.0
    waiting = [asyncio.ensure_future(resolver.resolve("users.example", 80)) for _ in range(3)]
    await asyncio.sleep(0)
    system.answers.set()
    assert [found[0]["host"] for found in await asyncio.gather(*waiting)] == ["192.0.2.1"] * 3
    assert system.asked == 1
    await resolver.resolve("users.example", 80)
    assert system.asked == 2


def test_the_program_ends_whatever_the_resolver_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of the event loop's own pool would be waited for, for as long as the resolver hangs."""
    system = System(monkeypatch)

    async def work() -> None:
        with pytest.raises(OSError, match="no answer"):
            await Resolver(lambda: 0.01).resolve("users.example", 80)

    asyncio.run(work())
    (thread,) = (each for each in threading.enumerate() if each.name == "look up")
    assert thread.daemon
    system.answers.set()
    thread.join(10)  # its loop is closed, and that is nobody's fault
    assert not thread.is_alive()
