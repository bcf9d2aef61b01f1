"""A world of one resource whose owner tells what changes; what is fetched behind that waits for the test."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from proxy.core.bulk import AnswerShape
from proxy.core.events import Event
from proxy.events import Events, Outcome, Subject
from proxy.refetching import QUIET, Refetching
from store.base import Store
from store.entry import Entry, Key
from tests.unit.timers import Timers
from tests.unit.world import World, versions, world

A = Key("user", "a")


@dataclass
class There:
    """A world with events; what waits to be fetched behind them is fetched when the test says so."""

    world: World
    events: Events
    timers: Timers = field(default_factory=Timers)
    invalidated: list[Key] = field(default_factory=list)
    _count: int = 0

    async def tell(
        self,
        version: int | str | None = None,
        data: dict[str, Any] | None = None,
        *,
        entity: str = "a",
        deleted: bool = False,
        name: str = "",
    ) -> Outcome:
        self._count += 1
        event = Event(
            "user",
            entity,
            "deleted" if deleted else "updated",
            None if version is None else str(version),
            None if data is None else json.dumps(data).encode(),
        )
        return await self.events.take(event, name or f"m{self._count}")

    async def fetched_behind(self) -> int:
        """Let the time pass that is waited for, and what follows; how many calls that made."""
        before = len(self.world.upstream.calls)
        self.timers.tick(QUIET)
        await self.world.idle()
        return len(self.world.upstream.calls) - before

    async def held(self) -> Entry | None:
        return (await self.world.store.load([A])).get(A)

    async def item(self) -> bytes | None:
        held = await self.held()
        return None if held is None else held.item

    async def in_step(self, version: int) -> None:
        """The owner has a version, and it is held."""
        self.world.upstream.users["a"] = version
        assert versions(await self.world.ask("a")) == {"a": version}
        await self.world.store.flush()


@asynccontextmanager
async def there(database: Store | None, **resource: Any) -> AsyncIterator[There]:
    options: dict[str, Any] = {"source_version": "/v", "storage": "database" if database else "memory"}
    async with world(database=database, **(options | resource)) as made:
        config = made.loader._fetcher.config
        assert config.id is not None
        found = There(made, cast("Events", None))
        refetching = Refetching(made.resolver.refetch, clock=lambda: made.now, later=found.timers.later)
        made.resolver.on_let_go = refetching.not_any_more
        shape = AnswerShape(items="", count=None, id_pointer=config.id)
        found.events = Events(
            {"user": Subject(config, shape, refetching, 2**20)},
            made.store,
            on_invalidated=lambda key, _source: found.invalidated.append(key),
            clock=lambda: made.now,
        )
        yield found
