"""What comes late to one opaque resource: behind a newer response, or behind an invalidation (RFC 9111 section 4.4)."""

import pytest

from tests.unit.shelf import DE, EN, PART, TARGET, Shelf, of


def test_what_was_received_before_what_is_there_is_not_kept() -> None:
    shelf = Shelf()
    assert shelf.put(shelf.entry("new", at=1))
    assert not shelf.put(shelf.entry("late"))
    assert shelf.whole() == "new"
    assert shelf.put(shelf.entry("at the same time", at=1))
    assert shelf.whole() == "at the same time"


@pytest.mark.parametrize("vary", [("Lang", ""), ("", "Lang"), ("Lang", "Size")])
def test_nor_does_it_take_the_place_of_one_that_varies_otherwise(vary: tuple[str, str]) -> None:
    shelf = Shelf()
    first, second = vary
    asked = of(lang="en", size="s")
    shelf.put(shelf.entry("new", asked, vary=first, at=1))
    shelf.put(shelf.entry("late", asked, vary=second))
    assert shelf.whole(asked) == "new"


def test_what_came_later_stays_where_the_others_of_a_request_are_dropped() -> None:
    shelf = Shelf()
    asked = of(lang="en", size="s")
    for vary, at in (("Lang", 0.0), ("Size", 2.0), ("Lang, Size", 1.0)):
        shelf.put(shelf.entry(vary, asked, vary=vary, at=at))
    one = shelf.entry("", asked, vary="Lang, Size")
    shelf.held.drop_others(one.key, asked, until=one.received_at + 1)
    assert shelf.whole(of(lang="en")) is None
    assert shelf.whole(asked) == "Size"
    shelf.held.drop_others(one.key, asked, until=one.received_at + 2)
    assert shelf.whole(asked) == "Lang, Size"


# Invalidation (RFC 9111 section 4.4).


def test_an_invalidated_target_is_forgotten_whatever_is_held_of_it() -> None:
    shelf = Shelf()
    for scope in ("", "one"):
        for fields in (EN, DE):
            shelf.put(shelf.entry("1", fields, vary="Lang", scope=scope))
        shelf.put(shelf.entry("part", vary="Size", status=PART, scope=scope))
    shelf.put(shelf.entry("2", target="/b"))
    shelf.held.invalidate(TARGET)
    assert shelf.memory.count("page") == 1
    assert [shelf.whole(fields, scope=scope) for scope in ("", "one") for fields in (EN, DE)] == [None] * 4
    assert shelf.part() is None
    assert shelf.whole(target="/b") == "2"
    shelf.held.invalidate(TARGET)


def test_so_is_what_does_not_vary() -> None:
    shelf = Shelf()
    shelf.put(shelf.entry("1"))
    shelf.held.invalidate(TARGET)
    assert shelf.whole() is None
    assert shelf.memory.bytes == 0


@pytest.mark.parametrize("scope", ["", "one"])
@pytest.mark.parametrize("vary", ["", "Lang"])
def test_what_was_under_way_for_it_is_not_kept(vary: str, scope: str) -> None:
    shelf = Shelf()
    before = shelf.watch()
    shelf.held.invalidate(TARGET)
    after = shelf.watch()
    entry = shelf.entry("1", EN, vary=vary, scope=scope)
    assert not shelf.held.put(entry, seen=before)
    assert shelf.whole(EN, scope=scope) is None
    assert shelf.held.put(entry, seen=after)
    assert not shelf.held.put(shelf.entry("2", EN, vary=vary, scope=scope, at=1), seen=before)
    assert shelf.whole(EN, scope=scope) == "1"
    for seen in (before, after):
        seen.close()


def test_what_was_under_way_for_it_takes_nothing_away() -> None:
    shelf = Shelf()
    seen = shelf.watch()
    shelf.held.invalidate(TARGET)
    shelf.put(shelf.entry("new", EN, vary="Lang"))
    assert not shelf.held.put(shelf.entry("old", at=1), seen=seen)
    assert shelf.whole(EN) == "new"
    seen.close()


def test_another_target_is_another() -> None:
    shelf = Shelf()
    seen = shelf.watch()
    shelf.held.invalidate("/a")
    assert shelf.held.put(shelf.entry("1"), seen=seen)
    seen.close()


def test_what_nobody_watches_is_not_kept() -> None:
    """What is not counted is not known."""
    shelf = Shelf()
    seen = shelf.watch()
    seen.close()
    assert not shelf.held.put(shelf.entry("1"), seen=seen)
    assert shelf.whole() is None
