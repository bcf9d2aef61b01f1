"""The shared database as a replica has it: found when it is there, found again when it comes back, and listened to."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from store.base import DeriveId, StoreError, TableSpec
from store.operation import OnOperation
from store.postgres.listener import Listener
from store.postgres.pool import Pool
from store.postgres.store import PostgresStore

_FIRST_DELAY: Final = 1.0
"""Seconds after the first opening that failed; twice as long after each further one."""

_LAST_DELAY: Final = 5.0
"""Seconds at the most: a failover takes some ten, and nobody wants to wait for more than half as long again."""


class Hooks(Struct, frozen=True):
    """Who is told what happens."""

    on_opened: Callable[[], None]
    """It is in use."""
    on_failed: Callable[[str], None]
    """It can't be had now, and why."""
    on_lost: Callable[[str | None], None]
    """It was in use, and can't be had any more: what failed last."""
    on_heard: Callable[[], None]
    """There may be something in the log."""
    on_deaf: Callable[[str], None]
    """Notifications don't arrive, and why."""
    on_hearing: Callable[[], None]
    """Notifications arrive."""


class PostgresDatabase:
    """Owns the store, and the connection that listens. `look` does what is to be done; its caller calls it about once a
    second, and never twice at a time. `listener.listen` runs until it is cancelled."""

    def __init__(
        self,
        url: str,
        listen_url: str,
        tables: Sequence[TableSpec],
        hooks: Hooks,
        *,
        connections: int,
        prepared: bool,
        probe_every: float,
        max_bytes: int,
        derive_id: DeriveId,
        on_operation: OnOperation,
    ) -> None:
        self._hooks = hooks
        self._pool = Pool(url, connections=connections, prepared=prepared, on_lost=self._lost)
        self.store = PostgresStore(
            self._pool, tables, max_bytes=max_bytes, derive_id=derive_id, on_operation=on_operation
        )
        self.listener = Listener(
            listen_url,
            prepared=prepared,
            probe_every=probe_every,
            notify=self.store.notify,
            on_heard=hooks.on_heard,
            on_deaf=hooks.on_deaf,
            on_hearing=hooks.on_hearing,
        )
        self._next_attempt = float("-inf")
        self._failures = 0

    async def look(self, now: float) -> None:
        """Open it, if it is not there and it is time. `now`: monotonic seconds."""
        if self.store.is_there or now < self._next_attempt:
            return
        try:
            await self.store.open()
        except StoreError as error:
            self._next_attempt = now + min(_LAST_DELAY, _FIRST_DELAY * 2.0 ** min(self._failures, 10))
            self._failures += 1
            self._hooks.on_failed(str(error))
            return
        self._failures = 0
        self._hooks.on_opened()

    async def close(self) -> None:
        """Finish what is under way, then close. Idempotent; `look` and the listener must have ended."""
        await asyncio.shield(self.store.close())

    def _lost(self) -> None:
        self._next_attempt = float("-inf")
        self._hooks.on_lost(self._pool.last_failure)
