"""Every task has an owner, a name and an end."""

import asyncio
import inspect

import pytest

from proxy.supervisor import Supervisor

Crashes = list[tuple[str, BaseException]]


def supervisor() -> tuple[Supervisor, Crashes]:
    crashes: Crashes = []
    return Supervisor(lambda name, error: crashes.append((name, error))), crashes


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_has_its_name_and_its_result() -> None:
    owner, crashes = supervisor()

    async def work() -> int:
        return 7

    task = owner.spawn("refresh", work())
    assert task.get_name() == "refresh"
    assert len(owner) == 1
    assert await task == 7
    assert (len(owner), crashes) == (0, [])
    await owner.close()


async def test_a_crash_is_told_with_the_name_and_the_error() -> None:
    owner, crashes = supervisor()
    error = RuntimeError("boom")

    async def work() -> None:
        raise error

    task = owner.spawn("flight", work())
    await asyncio.wait([task])
    assert crashes == [("flight", error)]
    assert len(owner) == 0
    await owner.close()


async def test_a_task_that_was_cancelled_has_not_crashed() -> None:
    owner, crashes = supervisor()
    task = owner.spawn("flight", forever())
    task.cancel()
    await asyncio.wait([task])
    assert (len(owner), crashes) == (0, [])
    await owner.close()


async def test_the_crash_of_one_task_leaves_the_others_alone() -> None:
    owner, crashes = supervisor()

    async def work() -> None:
        raise ValueError

    steady = owner.spawn("steady", forever())
    await asyncio.wait([owner.spawn("flight", work())])
    assert [name for name, _ in crashes] == ["flight"]
    assert not steady.done()
    assert len(owner) == 1
    await owner.close()


async def test_close_cancels_what_is_under_way_and_waits_for_its_end() -> None:
    owner, crashes = supervisor()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await forever()
        finally:
            ended.set()

    task = owner.spawn("flight", work())
    await begun.wait()
    await owner.close()
    assert ended.is_set()
    assert task.cancelled()
    assert (len(owner), crashes) == (0, [])


async def test_a_crash_during_close_is_told_and_not_raised() -> None:
    owner, crashes = supervisor()
    begun = asyncio.Event()
    error = OSError("while closing")

    async def work() -> None:
        try:
            begun.set()
            await forever()
        finally:
            raise error

    owner.spawn("flight", work())
    await begun.wait()
    await owner.close()
    assert crashes == [("flight", error)]


async def test_close_is_idempotent() -> None:
    owner, _ = supervisor()
    owner.spawn("flight", forever())
    await owner.close()
    await owner.close()
    assert len(owner) == 0


async def test_nothing_is_started_after_close() -> None:
    """The refused coroutine is closed, so that nobody warns of one that was never awaited."""
    owner, _ = supervisor()
    await owner.close()
    work = forever()
    with pytest.raises(RuntimeError, match=r"^refresh: "):
        owner.spawn("refresh", work)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
    assert len(owner) == 0
