"""What the state machines over a resolver have in common: a database, and turns of the event loop."""

import asyncio
from pathlib import Path

from store.base import TableSpec
from store.sqlite import SqliteStore
from tests.unit.store.samples import derive
from tests.unit.world import World


async def opened(directory: str) -> SqliteStore:
    """A database of users."""
    return await SqliteStore.open(
        Path(directory) / "handshake.db",
        [TableSpec("user", ())],
        max_bytes=2**24,
        derive_id=derive,
        on_operation=lambda *_: None,
    )


async def some_turns(there: World) -> None:
    """A hop to the database's thread and back takes real time, a little."""
    for _ in range(5):
        await asyncio.sleep(0)
    await there.store.flush()
    for _ in range(5):
        await asyncio.sleep(0)
