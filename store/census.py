"""What both tiers hold, counted when somebody wants to know and not kept at each change."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping

from msgspec import Struct

from store.base import StoreStats
from store.memory import MemoryTier
from store.write_behind import WriteBehind

_SLICE = 1_000
"""Entries that are looked at before others have their turn: half a millisecond."""


class TieredStats(Struct, frozen=True):
    """What the ops listener shows of both tiers."""

    memory_bytes: int
    memory_max_bytes: int
    database_bytes: int
    """0 without a database."""
    entities: dict[str, int]
    """Representations by resource: of the database where there is a table, of memory otherwise."""
    stale: dict[str, int]
    """Those of them that are past their freshness."""
    pending: int
    """Keys whose last change the database has not confirmed."""
    invalidation_lag: float
    """Seconds for which the invalidation that has waited longest is not durable; 0 when none waits."""


async def take(
    memory: MemoryTier, database: StoreStats | None, behind: WriteBehind | None, *, at: float
) -> TieredStats:
    """The census; `database` is None where there is none, or where it failed; `at` is in epoch seconds."""
    counted: Mapping[str, int] = {} if database is None else database.stale
    stale = await stale_in(memory, at, others_than=counted)
    return TieredStats(
        memory_bytes=memory.bytes,
        memory_max_bytes=memory.max_bytes,
        database_bytes=0 if database is None else database.bytes,
        entities=memory.counts() | ({} if database is None else database.entities),
        stale={**stale, **counted},
        pending=0 if behind is None else len(behind),
        invalidation_lag=0.0 if behind is None else behind.invalidation_lag(),
    )


async def stale_in(memory: MemoryTier, at: float, *, others_than: Collection[str] = ()) -> dict[str, int]:
    """Representations by resource that are past their freshness at `at` (epoch seconds)."""
    counts: Counter[str] = Counter()
    keys = memory.keys()
    for start in range(0, len(keys), _SLICE):
        if start:
            await asyncio.sleep(0)
        for key in keys[start : start + _SLICE]:
            entry = None if key.resource in others_than else memory.look_at(key)
            if entry is not None and entry.item is not None and not entry.absent and entry.ttl(at) < 0:
                counts[key.resource] += 1
    return dict(counts)
