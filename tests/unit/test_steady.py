"""A wall clock that is set forward and back, and the one that the program goes by."""

from proxy.steady import SteadyClock
from tests.integration.harness import Clock

DAY = 86_400.0


def clocks() -> tuple[Clock, Clock, SteadyClock]:
    wall, monotonic = Clock(), Clock()
    monotonic.now = 1000.0
    return wall, monotonic, SteadyClock(wall, monotonic)


def test_it_is_the_wall_clock_while_nobody_sets_that() -> None:
    wall, monotonic, steady = clocks()
    for seconds in (0.0, 0.25, 3600.0):
        wall.tick(seconds)
        monotonic.tick(seconds)
        assert steady() == wall.now
        assert steady.ahead() == 0


def test_it_goes_on_when_the_wall_clock_is_set_back() -> None:
    wall, monotonic, steady = clocks()
    before = steady()
    wall.tick(-DAY)
    assert (steady(), steady.ahead()) == (before, DAY)
    wall.tick(60)
    monotonic.tick(60)
    assert (steady(), steady.ahead()) == (before + 60, DAY)


def test_it_follows_the_wall_clock_forward_at_once() -> None:
    wall, _monotonic, steady = clocks()
    before = steady()
    wall.tick(DAY)
    assert steady() == before + DAY
    wall.tick(-DAY)
    assert (steady(), steady.ahead()) == (before + DAY, DAY)


def test_a_wall_clock_that_catches_up_is_followed_again() -> None:
    wall, _monotonic, steady = clocks()
    before = steady()
    wall.tick(-10)
    wall.tick(25)
    assert (steady(), steady.ahead()) == (before + 15, 0)


def test_one_clock_and_the_offset_tell_the_time_as_of_the_last_look_at_both() -> None:
    wall, monotonic, steady = clocks()
    wall.tick(7)
    monotonic.tick(7)
    assert steady.monotonic() + steady.offset == wall.now
    wall.tick(DAY)
    assert steady.monotonic() + steady.offset == wall.now - DAY
    assert steady() == steady.monotonic() + steady.offset == wall.now
