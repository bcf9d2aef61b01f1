"""Connections to a server that may go and come back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from store.base import StoreError
from store.postgres.errors import (
    FOREIGN_ERRORS,
    OpenError,
    error_name,
    is_connection_lost,
    is_passing,
    is_server_lost,
    store_error,
)

Connection = Any
"""One of asyncpg's, which has no types."""

T = TypeVar("T")

CONNECT_WITHIN: Final = 2.0
"""Seconds for a connection to be made, by whoever waits for one."""

COMMAND_WITHIN: Final = 1.0
"""Seconds for one operation: a few milliseconds where all is well, and a client waits for it."""

_PING_WITHIN: Final = 0.5
"""Seconds for the server to say that it is there, when it was not in time for something else."""

_ATTEMPTS: Final = 4
"""Of what is broken off for the sake of another transaction."""

_OLDEST: Final = 13
"""The server's version that has snapshots to be read (`pg_current_snapshot`)."""


def options(url: str, *, prepared: bool) -> dict[str, Any]:
    """What a connection is made with. Only a server that can be written will do, whichever of several hosts it is."""
    given: dict[str, Any] = {"dsn": url, "timeout": CONNECT_WITHIN}
    if "target_session_attrs=" not in url:
        given["target_session_attrs"] = "read-write"
    if not prepared:
        given["statement_cache_size"] = 0
    return given


class Pool:
    """Up to so many connections; none, and an error for everybody at once, while the server is lost.

    `open` finds it again; its owner calls it about once a second until then. `on_lost()` is told each time that it is
    lost.
    """

    def __init__(
        self, url: str, *, connections: int, prepared: bool, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._options = options(url, prepared=prepared)
        self._connections = connections
        # So that nobody takes a pool that is busy for a server that is gone.
        self._free = asyncio.Semaphore(connections)
        self._on_lost = on_lost
        self._pool: Any = None
        self.last_failure: str | None = None
        """The driver's word for what failed last; for a log, since it quotes nothing."""

    @property
    def is_there(self) -> bool:
        """Whether the server was there when it was last spoken to."""
        return self._pool is not None

    async def open(self, prepare: Callable[[Connection], Awaitable[T]], *, within: float) -> T:
        """Connect, if it is not, and have `prepare` see to what it finds. Raises StoreError."""
        if self._pool is not None:
            return await self.run(prepare, within=within)
        pool: Any = None
        try:
            async with asyncio.timeout(within):
                pool = asyncpg.create_pool(
                    **await _suited(self._options),
                    min_size=0,
                    max_size=self._connections,
                    reset=_left_alone,
                )
                await pool
                async with pool.acquire() as connection:
                    _check_version(connection)
                    prepared = await prepare(connection)
        except BaseException as error:
            if pool is not None:
                pool.terminate()
            if isinstance(error, FOREIGN_ERRORS):
                self.last_failure = error_name(error)
                raise store_error("open", error) from None
            raise
        self._pool = pool
        return prepared

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, within: float = COMMAND_WITHIN) -> T:
        """What `work` returns, called with a connection, and once more with another one if the first was lost.

        It has to be such that a second time changes nothing. All of it may take `within` seconds. Raises the driver's
        errors, and StoreError: at once while there is no server, and when no connection is free.
        """
        self._check_is_current(self._pool)
        until = asyncio.get_running_loop().time() + within
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            raise StoreError("no connection was free in time") from None
        try:
            return await self._run(work, until)
        finally:
            self._free.release()

    async def _run(self, work: Callable[[Connection], Awaitable[T]], until: float) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            pool = self._pool
            try:
                return await self._attempt(pool, work, until)
            except FOREIGN_ERRORS as error:
                self.last_failure = error_name(error)
                if is_passing(error) and attempt < _ATTEMPTS:
                    continue
                if is_connection_lost(error) and attempt == 1:
                    continue
                # Nobody knows whether it has waited for a server that is gone, or for somebody's lock.
                is_late = isinstance(error, TimeoutError)
                if is_server_lost(error) or (is_late and not await self._answers(pool)):
                    self._lose(pool)
                raise
        raise RuntimeError("the last attempt either returns or raises")

    async def _answers(self, pool: Any) -> bool:
        try:
            await self._attempt(pool, _ping, asyncio.get_running_loop().time() + _PING_WITHIN)
        except (*FOREIGN_ERRORS, StoreError):
            return False
        return True

    async def close(self) -> None:
        """Close every connection. Whoever still uses one loses it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def _attempt(
        self,
        pool: Any,
        work: Callable[[Connection], Awaitable[T]],
        until: float,
    ) -> T:
        self._check_is_current(pool)
        async with asyncio.timeout_at(until):
            connection = await pool.acquire()
        try:
            self._check_is_current(pool)
            async with asyncio.timeout_at(until):
                return await work(connection)
        except (TimeoutError, asyncio.CancelledError, StoreError):
            # The server would be asked to break it off, by another connection, and waited for: it may never answer.
            connection.terminate()
            raise
        finally:
            await pool.release(connection, timeout=CONNECT_WITHIN)

    def _check_is_current(self, pool: Any) -> None:
        if pool is None or self._pool is not pool:
            raise StoreError("there is no database")

    def _lose(self, pool: Any) -> None:
        if self._pool is pool:
            self._pool = None
            pool.terminate()
            self._on_lost()


async def _suited(given: dict[str, Any]) -> dict[str, Any]:
    """The options for what is there. A pooler gives each transaction another of its connections: what is prepared on
    one is unknown on the next, or is another program's statement of the same name. It is told by the process that it
    says it is, which is none of the server's."""
    unprepared = given | {"statement_cache_size": 0}
    connection = await asyncpg.connect(**unprepared)
    try:
        is_direct = await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid()
    finally:
        connection.terminate()
    return given if is_direct else unprepared


def _check_version(connection: Connection) -> None:
    if connection.get_server_version().major < _OLDEST:
        raise OpenError(f"open: the server is older than PostgreSQL {_OLDEST}")


async def _ping(connection: Connection) -> None:
    await connection.execute("SELECT")


async def _left_alone(_connection: object) -> None:
    """In place of asyncpg's own reset, a call of the server for each operation: nothing here changes a session."""
