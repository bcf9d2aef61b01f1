"""Looking up the address of an upstream: one that hangs holds neither a request for long nor the end of the program."""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult

_Asked = tuple[str, int, socket.AddressFamily]
_Outcome = list[ResolveResult] | OSError


class Resolver(AbstractResolver):
    """The system's resolver, which is waited for `within` so many seconds.

    A look-up can't be given up: the system's call ends when it wants to, after half a minute at times. So it has a
    thread of its own, of which there is one for each name at the most, and none keeps the process from ending.
    """

    def __init__(self, within: Callable[[], float]) -> None:
        self._within = within
        self._under_way: dict[_Asked, asyncio.Future[_Outcome]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError, also when there is no answer in time."""
        asked = (host, port, family)
        outcome = self._under_way.get(asked)
        if outcome is None:
            outcome = self._under_way[asked] = self._begin(asked)
        await asyncio.wait({outcome}, timeout=self._within())
        if not outcome.done():
            raise OSError("no answer from the resolver")
        found = outcome.result()
        if isinstance(found, OSError):
            raise found
        return found

    async def close(self) -> None:
        """Nothing is open. Called by aiohttp."""

    def _begin(self, asked: _Asked) -> asyncio.Future[_Outcome]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[_Outcome] = loop.create_future()

        def end(found: _Outcome) -> None:
            del self._under_way[asked]
            outcome.set_result(found)

        def work() -> None:
            found = _looked_up(*asked)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(end, found)

        try:
            threading.Thread(target=work, name="look up", daemon=True).start()
        except RuntimeError as error:  # there are too many, or there is no memory for one
            raise OSError(errno.EAGAIN, "no thread to be had") from error
        return outcome


def _looked_up(host: str, port: int, family: socket.AddressFamily) -> _Outcome:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        return [_result(host, port, family, proto, address) for family, _, proto, _, address in found]
    except OSError as error:
        return error
    except UnicodeError:  # a label that is too long, or empty
        return OSError("not a name")


def _result(
    host: str, port: int, family: socket.AddressFamily, proto: int, address: tuple[object, ...]
) -> ResolveResult:
    # The scope of a link-local address is a number beside it, and belongs to it.
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    scoped = family == socket.AF_INET6 and len(address) > 3 and address[3]  # noqa: PLR2004
    found = socket.getnameinfo(address, numeric)[0] if scoped else str(address[0])  # type: ignore[arg-type]
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=found, port=port, family=family, proto=proto, flags=flags)
