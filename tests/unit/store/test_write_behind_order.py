"""That each key keeps its order, whatever happens meanwhile and in whatever order the database answers."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from store.base import StoreError
from store.entry import Entry, Key, Write
from store.write_behind import WriteBehind
from tests.unit.store import fakes
from tests.unit.store.fakes import turns
from tests.unit.store.samples import derive, user, write


@dataclass(eq=False)
class Call:
    """A call that the test answers."""

    kind: str
    keys: list[Key]
    answer: asyncio.Future[None]


class Database(fakes.Database):
    """A store whose calls take effect when the test answers them, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[Key, bytes | None] = {}
        self.under_way: list[Call] = []

    async def _answered(self, kind: str, keys: Sequence[Key]) -> None:
        for call in self.under_way:
            # Of one key two calls at a time have no order; a change does not need one, but with puts.
            is_apart = "change" in {kind, call.kind} and "put" not in {kind, call.kind}
            assert is_apart or not set(call.keys) & set(keys)
        call = Call(kind, list(keys), asyncio.get_running_loop().create_future())
        self.under_way.append(call)
        try:
            await call.answer
        finally:
            self.under_way.remove(call)

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        await self._answered("put", [sent.key for sent, *_ in writes])
        self.items |= {sent.key: sent.item for sent, *_ in writes}
        return {sent.key: sent.confirmed(internal_id=derive(sent.key, 0), version=1) for sent, *_ in writes}

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        await self._answered("forget", keys)
        self.items |= dict.fromkeys(self.items.keys() & set(keys))

    async def erase_many(self, keys: Sequence[Key]) -> None:
        await self._answered("forget", keys)
        for key in keys:
            self.items.pop(key, None)

    async def changed(self, key: Key, queue: WriteBehind) -> None:
        """Change a row, as goes past the queue."""
        async with queue.quiet(key):
            with suppress(StoreError):
                await self._answered("change", [key])

    async def answer(self, number: int = 0, error: Exception | None = None) -> Call:
        """Answer one of the calls that are under way."""
        call = self.under_way[number]
        if error is None:
            call.answer.set_result(None)
        else:
            call.answer.set_exception(error)
        await turns(lambda: call not in self.under_way)
        return call


async def settled() -> None:
    """Let the queue come to where only an answer, or something new, takes it on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def emptied(database: Database, queue: WriteBehind) -> None:
    """Answer everything."""
    await settled()
    while database.under_way:
        await database.answer()
        await settled()
    assert len(queue) == 0


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "invalidate", "erase", "change"]), st.sampled_from("abc"))
    | st.tuples(st.sampled_from(["answer", "fail"]), st.integers(0, 3))
    | st.just(("settle", 0)),
    max_size=40,
)


@dataclass
class Story:
    """What has happened to a key, in order: each put's item, None for an invalidation, an erasure by its future."""

    events: list[bytes | asyncio.Future[None] | None]
    erased: asyncio.Future[None] | None = None
    """The erasure, if no put came after it."""

    def is_stale(self, item: bytes | None) -> bool:
        """Whether an invalidation, or an erasure that has not failed, came after the item."""
        if item is None:
            return False
        later = self.events[self.events.index(item) + 1 :]
        return any(not isinstance(event, bytes) and not _has_failed(event) for event in later)

    def is_erased(self) -> bool:
        """Whether somebody was told so."""
        return self.erased is not None and self.erased.done() and self.erased.exception() is None


def _has_failed(erasure: asyncio.Future[None] | None) -> bool:
    return erasure is not None and erasure.done() and erasure.exception() is not None


@settings(deadline=None)
@given(STEPS)
@example(
    [("put", "a"), ("settle", 0), ("answer", 0), ("settle", 0), ("erase", "a"), ("settle", 0), ("fail", 0)]
)
def test_every_key_ends_as_it_was_last_told_in_whatever_order_the_database_answers(
    steps: list[tuple[str, str | int]],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str | int]]) -> None:
    database = Database()
    queue = WriteBehind(
        database,
        on_confirmed=lambda *_: None,
        on_result=lambda *_: None,
        max_pending=1_000,
        clock=lambda: 0.0,
    )
    queue.start()
    stories = {user(name): Story([]) for name in "abc"}
    changes: list[asyncio.Task[None]] = []
    failed = False
    for number, (step, what) in enumerate(steps):
        if isinstance(what, str):
            story = stories[user(what)]
            if step == "put":
                item = b"%d" % number
                assert queue.put(write(what, item))
                story.events.append(item)
                story.erased = None
            elif step == "change":
                changes.append(asyncio.create_task(database.changed(user(what), queue)))
            elif step == "erase":
                story.erased = queue.erase(user(what))
                story.events.append(story.erased)
            else:
                queue.invalidate(user(what))
                story.events.append(None)
        elif step == "settle":
            await settled()
        elif what < len(database.under_way):
            failed = failed or step == "fail"
            await database.answer(what, StoreError("broken") if step == "fail" else None)
        for key, story in stories.items():
            # Nobody may be shown what has been invalidated since.
            assert not story.is_stale(database.items.get(key)) or queue.is_forgotten(key)
            on_its_way = queue.entry(key)
            assert on_its_way is None or on_its_way.item == story.events[-1]
            assert not story.is_erased() or key not in database.items
    # What the database failed to forget, it is told again with this.
    queue.put(write("other"))
    await emptied(database, queue)
    await asyncio.gather(*changes)
    for key, story in stories.items():
        kept = database.items.get(key)
        # A put that failed is lost for the database, and what was there before is all that it may have.
        last = story.events[-1] if story.events else None
        assert kept == (last if isinstance(last, bytes) else None) or (failed and not story.is_stale(kept))
        assert not queue.is_forgotten(key)
        assert story.erased is None or story.erased.done()
        assert not story.is_erased() or key not in database.items
    await queue.close()
