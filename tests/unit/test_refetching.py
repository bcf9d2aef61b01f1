"""Fetches behind a message: once a storm is over. The test calls the timers."""

import pytest

from proxy import refetching
from proxy.refetching import QUIET, Refetching
from tests.unit.timers import Timers


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def fetched() -> list[str]:
    return []


@pytest.fixture
def one(timers: Timers, fetched: list[str]) -> Refetching:
    return Refetching(fetched.append, clock=lambda: timers.now, later=timers.later)


def test_a_storm_makes_one_fetch_when_it_is_over(one: Refetching, timers: Timers, fetched: list[str]) -> None:
    for _ in range(100):
        one.soon("a")
        timers.tick(QUIET / 2)
    assert fetched == []
    timers.tick(QUIET)
    assert fetched == ["a"]
    assert len(one) == 0
    timers.tick(10 * QUIET)
    assert fetched == ["a"]


def test_entities_have_nothing_to_do_with_each_other(
    one: Refetching, timers: Timers, fetched: list[str]
) -> None:
    one.soon("a")
    timers.tick(QUIET / 2)
    one.soon("b")
    timers.tick(QUIET / 2)
    assert fetched == ["a"]
    timers.tick(QUIET / 2)
    assert fetched == ["a", "b"]


def test_what_was_fetched_so_is_known_for_a_moment(one: Refetching, timers: Timers) -> None:
    assert not one.is_known("a")
    one.soon("a")
    assert one.is_known("a")
    timers.tick(QUIET)
    assert one.is_known("a")
    timers.tick(60)
    assert not one.is_known("a")


def test_what_is_called_off_is_not_fetched(one: Refetching, timers: Timers, fetched: list[str]) -> None:
    one.soon("a")
    one.soon("b")
    one.soon("c")
    one.not_any_more("a")
    one.not_any_more("never")
    timers.tick(QUIET / 2)
    one.close()
    one.close()
    timers.tick(QUIET)
    assert fetched == []
    assert len(one) == 0


def test_only_so_many_wait(
    one: Refetching, timers: Timers, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refetching, "MOST", 2)
    for entity in ("a", "b", "c", "a"):
        one.soon(entity)
    timers.tick(QUIET)
    assert sorted(fetched) == ["a", "b"]
