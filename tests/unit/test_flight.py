"""Who waits for a flight is woken by its landing, or by the end of the time."""

import asyncio

from proxy.flight import Flight
from proxy.results import Failure
from tests.unit.store.fakes import turns

LATER = 3600.0


def boarding() -> Flight:
    loop = asyncio.get_running_loop()
    return Flight("", (), (), loop.create_future(), is_refresh=False)


async def test_all_who_wait_are_woken_by_the_landing() -> None:
    flight = boarding()
    until = asyncio.get_running_loop().time() + LATER
    crowd = [asyncio.create_task(flight.wait(until)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in crowd)
    flight.land({"a": Failure("status")})
    await turns(lambda: all(one.done() for one in crowd))
    assert flight.landed.result() == {"a": Failure("status")}


async def test_who_comes_after_the_landing_does_not_wait() -> None:
    flight = boarding()
    flight.land({})
    one = asyncio.create_task(flight.wait(asyncio.get_running_loop().time() + LATER))
    await turns(one.done)


async def test_nobody_waits_beyond_the_time_and_nothing_is_landed_then() -> None:
    flight = boarding()
    async with asyncio.timeout(5):
        await flight.wait(asyncio.get_running_loop().time())
    assert not flight.landed.done()
    assert not flight._waiters


async def test_who_goes_away_leaves_nothing_and_wakes_nobody() -> None:
    flight = boarding()
    until = asyncio.get_running_loop().time() + LATER
    gone, stays = (asyncio.create_task(flight.wait(until)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await turns(gone.done)
    assert len(flight._waiters) == 1
    assert not stays.done()
    flight.land({})
    await turns(stays.done)
