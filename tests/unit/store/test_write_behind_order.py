"""That each key keeps its order, whatever happens meanwhile and in whatever order the database answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from store.base import StoreError, StoreStats
from store.entry import Entry, Key, Write
from store.write_behind import WriteBehind
from tests.unit.store.fakes import turns
from tests.unit.store.samples import derive, user, write


@dataclass(eq=False)
class Call:
    """A call that the test answers."""

    keys: list[Key]
    answer: asyncio.Future[None]


class Database:
    """A store whose calls take effect when the test answers them, in any order."""

    def __init__(self) -> None:
        self.items: dict[Key, bytes | None] = {}
        self.calls: list[Call] = []

    async def _answered(self, keys: Sequence[Key]) -> None:
        # Of one key two calls at a time would have no order.
        assert not {key for call in self.calls for key in call.keys} & set(keys)
        call = Call(list(keys), asyncio.get_running_loop().create_future())
        self.calls.append(call)
        try:
            await call.answer
        finally:
            self.calls.remove(call)

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        await self._answered([sent.key for sent, _ in writes])
        self.items |= {sent.key: sent.item for sent, _ in writes}
        return {sent.key: sent.confirmed(internal_id=derive(sent.key, 0), version=1) for sent, _ in writes}

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        await self._answered(keys)
        self.items |= dict.fromkeys(keys)

    def holds(self, resource: str) -> bool:
        raise NotImplementedError

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        raise NotImplementedError

    async def stats(self) -> StoreStats:
        raise NotImplementedError

    async def prune(self, *, older_than: float) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def answer(self, number: int = 0, error: Exception | None = None) -> Call:
        """Answer one of the calls that are under way."""
        call = self.calls[number]
        if error is None:
            call.answer.set_result(None)
        else:
            call.answer.set_exception(error)
        await turns(lambda: call not in self.calls)
        return call


async def settled() -> None:
    """Let the queue come to where only an answer, or something new, takes it on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def emptied(database: Database, queue: WriteBehind) -> None:
    """Answer everything."""
    await settled()
    while database.calls:
        await database.answer()
        await settled()
    assert len(queue) == 0


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "invalidate"]), st.sampled_from("abc"))
    | st.tuples(st.sampled_from(["answer", "fail"]), st.integers(0, 3))
    | st.just(("settle", 0)),
    max_size=40,
)


@dataclass
class Story:
    """What has happened to a key, in order: each put's item, None for an invalidation."""

    events: list[bytes | None]

    def is_stale(self, item: bytes | None) -> bool:
        """Whether the item was put before the last invalidation."""
        if item is None or None not in self.events:
            return False
        last = len(self.events) - 1 - self.events[::-1].index(None)
        return self.events.index(item) < last


@settings(deadline=None)
@given(STEPS)
def test_every_key_ends_as_it_was_last_told_in_whatever_order_the_database_answers(
    steps: list[tuple[str, str | int]],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str | int]]) -> None:
    database = Database()
    queue = WriteBehind(database, on_confirmed=lambda *_: None, on_result=lambda *_: None, max_pending=1_000)
    queue.start()
    stories = {user(name): Story([]) for name in "abc"}
    failed = False
    for number, (step, what) in enumerate(steps):
        if isinstance(what, str):
            story = stories[user(what)]
            if step == "put":
                item = b"%d" % number
                assert queue.put(write(what, item))
                story.events.append(item)
            else:
                queue.invalidate(user(what))
                story.events.append(None)
        elif step == "settle":
            await settled()
        elif what < len(database.calls):
            failed = failed or step == "fail"
            await database.answer(what, StoreError("broken") if step == "fail" else None)
        for key, story in stories.items():
            # Nobody may be shown what has been invalidated since.
            assert not story.is_stale(database.items.get(key)) or queue.is_forgotten(key)
            on_its_way = queue.entry(key)
            assert on_its_way is None or on_its_way.item == story.events[-1]
    # What the database failed to forget, it is told again with this.
    queue.put(write("other"))
    await emptied(database, queue)
    for key, story in stories.items():
        kept = database.items.get(key)
        # A put that failed is lost for the database, and what was there before is all that it may have.
        assert kept == (story.events[-1] if story.events else None) or (failed and not story.is_stale(kept))
        assert not queue.is_forgotten(key)
    await queue.close()
