"""Whatever replicas do, in whatever order, and whatever fails: nothing is shown that was invalidated before."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from store.base import StoreError
from store.entry import Key
from store.postgres.store import PostgresStore
from tests.conftest import EXAMPLES
from tests.fleet.coherence import KEYS, Replica, Way, World
from tests.fleet.replicas import FORGET_THE_LOG
from tests.postgres.server import Database
from tests.unit.store.samples import USERS, open_shared

T = TypeVar("T")
REPLICAS = 3
STEPS = 40
_EMPTY = "TRUNCATE handshake_proxy.users, handshake_proxy.changes, handshake_proxy.leases"

keys = st.sampled_from(KEYS)
replicas = st.integers(0, REPLICAS - 1)


class Shop:
    """A database that is used again and again: to open it takes longer than all that is tried in it."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.stores: list[PostgresStore] = []
        self.person: Any = None
        self.tokens = itertools.count(1)
        self.runner.run(self._open(url))

    def close(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    async def _open(self, url: str) -> None:
        self.person = await asyncpg.connect(url)
        self.stores = [await open_shared(url, tables=(USERS,)) for _ in range(REPLICAS)]

    async def _close(self) -> None:
        for store in self.stores:
            await store.close()
        await self.person.close()


class Machine(RuleBasedStateMachine):
    """Each step is made to its end, but for what is written behind."""

    shop: ClassVar[Shop]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.shop.runner.run(work)

    @initialize()
    def start(self) -> None:
        async def begin() -> World:
            await self.shop.person.execute(_EMPTY)
            made = World([Replica(store, self.shop.tokens) for store in self.shop.stores])
            for replica in made.replicas:
                assert await replica.sharing.read_log()
                await replica.store.start()
            return made

        self.world = self.run(begin())

    @rule(number=replicas, key=keys, is_forced=st.booleans())
    def ask(self, number: int, key: Key, *, is_forced: bool) -> None:
        self.run(self.world.ask(self.world.replicas[number], key, is_forced=is_forced))

    @rule(which=st.integers(0, 3), is_flushed=st.booleans())
    def land(self, which: int, *, is_flushed: bool) -> None:
        if which < len(self.world.fetched):
            fetched = self.world.fetched.pop(which)

            async def landed() -> None:
                self.world.land(fetched)
                if is_flushed:
                    await fetched.by.store.flush()

            self.run(landed())

    @rule(number=replicas, key=keys)
    def spread(self, number: int, key: Key) -> None:
        """One fetches it without a delay, and all show it."""

        async def shown() -> None:
            replica, before = self.world.replicas[number], len(self.world.fetched)
            await self.world.ask(replica, key, is_forced=True)
            while len(self.world.fetched) > before:
                self.world.land(self.world.fetched.pop())
            await replica.store.flush()
            for each in self.world.replicas:
                await self.world.load(each, key)

        self.run(shown())

    @rule(number=replicas, key=keys)
    def invalidate(self, number: int, key: Key) -> None:
        self.run(self.world.invalidate(self.world.replicas[number], key))

    @rule(number=replicas, key=keys)
    def erase(self, number: int, key: Key) -> None:
        self.run(self.world.erase(self.world.replicas[number], key))

    @rule(number=replicas, key=keys, department=st.sampled_from("xyz"))
    def change(self, number: int, key: Key, department: str) -> None:
        replica = self.world.replicas[number]

        async def changed() -> None:
            # One that was made unheard is for whoever wanted it to make again.
            if replica.gate.way != "unanswered":
                with suppress(StoreError):
                    await replica.store.change(key, local={"department_id": department})

        self.run(changed())

    @rule(number=replicas)
    def read_log(self, number: int) -> None:
        self.run(self.world.read_log(self.world.replicas[number]))

    @rule(number=replicas)
    def recover(self, number: int) -> None:
        self.run(self.world.recover(self.world.replicas[number]))

    @rule(number=replicas, key=keys)
    def load(self, number: int, key: Key) -> None:
        self.run(self.world.load(self.world.replicas[number], key))

    @rule(number=replicas, way=st.sampled_from(("well", "well", "well", "down", "unanswered")))
    def the_way_there(self, number: int, way: Way) -> None:
        self.world.replicas[number].gate.way = way

    @rule(is_due=st.sampled_from((True, False, False, False)))
    def prune_the_log(self, *, is_due: bool) -> None:
        """Seldom: whoever has missed something forgets all, and shows nothing that could be wrong."""
        if is_due:
            self.run(self.shop.person.execute(FORGET_THE_LOG))

    @invariant()
    def nothing_is_too_old(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.check())

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return

        async def closed() -> None:
            for replica in self.world.replicas:
                replica.gate.way = "well"
                await replica.store.close()

        try:
            self.run(self.world.end())
        finally:
            self.run(closed())


@pytest.fixture
def shop(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    # A machine that is busy is no way that fails.
    monkeypatch.setattr("store.postgres.store.COMMAND_WITHIN", 30.0)
    one = Shop(database.url)
    yield one
    one.close()


@pytest.mark.timeout(180)
def test_nothing_is_shown_that_was_invalidated_before(shop: Shop) -> None:
    class Here(Machine):
        pass

    Here.shop = shop
    run_state_machine_as_test(Here, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))
