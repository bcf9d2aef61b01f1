"""The one connection of a replica that listens for notifications: of nothing but that the log is to be read."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import asyncpg

from store.base import StoreError
from store.postgres.errors import FOREIGN_ERRORS, error_name
from store.postgres.pool import CONNECT_WITHIN, options
from store.postgres.statements import CHANNEL

_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0
"""Seconds before another connection is tried, twice as long each time: the log is read without it, too."""

_ECHO_WITHIN: Final = 1.0
"""Seconds in which a notification to oneself arrives, at the most: a few milliseconds where all is well."""


class Listener:
    """Listens until cancelled. `on_heard()` is called for each notification, and when there may have been some that
    were not heard. `on_deaf(why)` is told once that none arrive, and `on_hearing()` that they do again.

    Each `probe_every` seconds it has a notification sent to itself, by another connection (`notify(channel)`, which may
    raise StoreError): a network may drop packets in silence, and a pooler in transaction mode takes a LISTEN and
    forgets it.
    """

    def __init__(
        self,
        url: str,
        *,
        prepared: bool,
        probe_every: float,
        notify: Callable[[str], Awaitable[None]],
        on_heard: Callable[[], None],
        on_deaf: Callable[[str], None],
        on_hearing: Callable[[], None],
    ) -> None:
        self._options = options(url, prepared=prepared)
        self._probe_every = probe_every
        self._notify = notify
        self._on_heard = on_heard
        self._on_deaf = on_deaf
        self._on_hearing = on_hearing
        self._echo_channel = f"{CHANNEL}_{uuid4().hex}"
        self._echoed = asyncio.Event()
        self._ended = asyncio.Event()
        self._delay = _FIRST_DELAY
        self.is_hearing = False
        """Whether the last notification to itself has arrived."""
        self._is_told = False

    async def listen(self) -> None:
        """Connect, and listen; again, when that ends."""
        while True:
            try:
                await self._session()
            except FOREIGN_ERRORS as error:
                self._deaf(error_name(error))
            # What was sent meanwhile is in the log.
            self._on_heard()
            await asyncio.sleep(self._delay)
            self._delay = min(_LAST_DELAY, 2 * self._delay)

    async def _session(self) -> None:
        connection: Any = await asyncpg.connect(**self._options)
        try:
            self._ended.clear()
            connection.add_termination_listener(lambda _: self._ended.set())
            async with asyncio.timeout(CONNECT_WITHIN):
                await connection.add_listener(CHANNEL, lambda *_: self._on_heard())
                await connection.add_listener(self._echo_channel, lambda *_: self._echoed.set())
            self._on_heard()
            while await self._hears_itself():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._probe_every):
                        await self._ended.wait()
        finally:
            connection.terminate()

    async def _hears_itself(self) -> bool:
        if self._ended.is_set():
            self._deaf("the connection was closed")
            return False
        self._echoed.clear()
        try:
            await self._notify(self._echo_channel)
        except StoreError:
            return True  # nothing can be sent now: that says nothing about listening
        try:
            async with asyncio.timeout(_ECHO_WITHIN):
                await self._echoed.wait()
        except TimeoutError:
            self._deaf("a notification to itself did not arrive")
            return False
        self._delay = _FIRST_DELAY
        if not self.is_hearing:
            self.is_hearing, self._is_told = True, False
            self._on_hearing()
        return True

    def _deaf(self, why: str) -> None:
        self.is_hearing = False
        if not self._is_told:
            self._is_told = True
            self._on_deaf(why)
