"""What is held of one opaque resource: which response a request selects, and what a new one takes the place of."""

from itertools import permutations

import pytest

from proxy.core.http.fields import RawField
from proxy.representations import Representations
from store.entry import Key
from tests.unit.shelf import DE, EN, NONE, PART, TARGET, Shelf, date, of
from tests.unit.store.samples import NOW


def test_a_response_without_vary_is_for_every_request_of_its_target() -> None:
    shelf = Shelf()
    assert shelf.held.select(TARGET, EN) == (None, None, False)
    assert shelf.put(shelf.entry("1", EN))
    assert [shelf.whole(asked) for asked in ((), EN, DE)] == ["1", "1", "1"]
    assert shelf.held.select(TARGET, ()).part is None
    others = ["/a", "/a?", "/a?x=2", "/a?x=1&", "/A?x=1", "/a?X=1"]
    assert [shelf.whole(target=target) for target in others] == [None] * len(others)


def test_of_several_the_one_that_vary_selects() -> None:
    """RFC 9111 section 4.1; that a field is absent is a value of its own."""
    shelf = Shelf()
    asked = [EN, DE, NONE, ()]
    for number, fields in enumerate(asked):
        assert shelf.put(shelf.entry(str(number), fields, vary="Lang"))
    assert [shelf.whole(fields) for fields in asked] == ["0", "1", "2", "3"]
    assert shelf.whole(of(lang="fr")) is None
    assert shelf.whole((*EN, *of(other="x"))) == "0"


def test_it_is_known_whether_there_are_some_for_others() -> None:
    """So that it can be said why there is none (RFC 9211 section 2.2)."""
    shelf = Shelf()
    shelf.put(shelf.entry("1"))
    assert not shelf.held.select(TARGET, EN).is_varied
    shelf.put(shelf.entry("2", EN, vary="Lang", at=1))
    for fields in (EN, DE):
        assert shelf.held.select(TARGET, fields).is_varied
    assert not shelf.held.select("/other", EN).is_varied
    shelf.held.invalidate(TARGET)
    assert not shelf.held.select(TARGET, DE).is_varied


def test_what_varies_with_several_fields_is_selected_by_all_of_them() -> None:
    shelf = Shelf()
    shelf.put(shelf.entry("1", of(lang="en", size="s"), vary="Lang, Size"))
    assert shelf.whole(of(size="s", lang="en")) == "1"
    assert shelf.whole(of(lang="en", size="l")) is None
    assert shelf.whole(of(lang="en")) is None


def test_nobody_selects_what_varies_with_all() -> None:
    """RFC 9111 section 4.1."""
    shelf = Shelf()
    assert shelf.held.key_of(TARGET, EN, ((b"Vary", b"Lang, *"),), 200) is None


@pytest.mark.parametrize("status", [200, PART])
def test_what_does_not_vary_goes_for_what_is_newer_and_does(status: int) -> None:
    """RFC 9111 section 4.1."""
    shelf = Shelf()
    shelf.put(shelf.entry("1", status=status))
    shelf.put(shelf.entry("2", EN, vary="Lang", at=1))
    assert (shelf.whole(DE), shelf.part(DE), shelf.whole(EN)) == (None, None, "2")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_those_that_match_the_newest_by_date_counts_whenever_it_came(order: tuple[int, ...]) -> None:
    """RFC 9111 section 4."""
    shelf = Shelf()
    asked = of(a="1", b="1", c="1")
    for at, number in enumerate(order):
        vary, made = "abc"[number], date(number - 100)
        assert shelf.put(shelf.entry(str(number), asked, vary=vary, made=made, at=at))
    assert shelf.whole(asked) == "2"
    assert shelf.whole(of(a="1", b="1")) == "1"
    assert shelf.whole(of(a="1")) == "0"


@pytest.mark.parametrize(
    ("first", "second", "newest"),
    [
        (date(0), date(0), "2"),
        (date(5), date(4), "1"),
        (date(4), date(5), "2"),
        (date(5), None, "2"),  # what has no Date is of the time of its receipt, which is 9
        (date(9), date(10), "2"),
        (date(10), None, "2"),  # a Date that is ahead of the receipt, which is 8, is no newer than that
        (date(10), b"yesterday", "2"),
        (b"yesterday", b"today", "2"),
        (None, None, "2"),
    ],
)
def test_of_equal_dates_the_one_that_came_last(
    first: bytes | None, second: bytes | None, newest: str
) -> None:
    shelf = Shelf()
    asked = of(a="1", b="1")
    shelf.put(shelf.entry("1", asked, vary="a", made=first, at=8))
    shelf.put(shelf.entry("2", asked, vary="b", made=second, at=9))
    assert shelf.whole(asked) == newest


def test_who_is_set_apart_sees_his_own_alone() -> None:
    shelf = Shelf()
    for scope in ("", "one", "other"):
        shelf.put(shelf.entry(f"of {scope}", scope=scope))
        shelf.put(shelf.entry(f"en of {scope}", EN, vary="Lang", scope=scope, target="/b"))
    assert [shelf.whole(scope=scope) for scope in ("", "one", "other")] == ["of ", "of one", "of other"]
    assert [shelf.whole(EN, scope=scope, target="/b") for scope in ("", "one")] == ["en of ", "en of one"]
    assert shelf.whole(scope="nobody") is shelf.whole(EN, scope="nobody", target="/b") is None


# What a new one takes the place of.


def test_what_varies_no_more_is_the_newest_answer_to_every_request() -> None:
    shelf = Shelf()
    for fields in (EN, DE):
        shelf.put(shelf.entry("old", fields, vary="Lang"))
    shelf.put(shelf.entry("new", at=1))
    assert [shelf.whole(fields) for fields in (EN, DE, ())] == ["new", "new", "new"]
    assert shelf.memory.count("page") == 1


def test_what_varies_now_is_no_answer_to_those_that_it_does_not_select() -> None:
    shelf = Shelf()
    shelf.put(shelf.entry("old"))
    shelf.put(shelf.entry("new", EN, vary="Lang", at=1))
    assert [shelf.whole(fields) for fields in (EN, DE, ())] == ["new", None, None]


def test_a_newer_one_of_the_same_variant_alone_is_replaced() -> None:
    shelf = Shelf()
    for fields in (EN, DE):
        shelf.put(shelf.entry("old", fields, vary="Lang"))
    shelf.put(shelf.entry("new", EN, vary="lang", at=1))
    assert [shelf.whole(fields) for fields in (EN, DE)] == ["new", "old"]
    assert shelf.memory.count("page") == 2


def test_a_change_of_one_scope_is_none_of_the_others() -> None:
    shelf = Shelf()
    shelf.put(shelf.entry("all"))
    for scope in ("one", "other"):
        shelf.put(shelf.entry(f"en {scope}", EN, vary="Lang", scope=scope))
        shelf.put(shelf.entry(f"de {scope}", DE, vary="Lang", scope=scope))
    shelf.put(shelf.entry("new", scope="one", at=1))
    assert shelf.whole() == "all"
    assert [shelf.whole(DE, scope=scope) for scope in ("one", "other")] == ["new", "de other"]
    shelf.put(shelf.entry("new for all", at=1))
    assert [shelf.whole(DE, scope=scope) for scope in ("", "one", "other")] == [
        "new for all",
        "new",
        "de other",
    ]


def test_of_a_part_and_the_whole_the_one_that_came_last_is_held() -> None:
    """The other is of what was before."""
    shelf = Shelf()
    shelf.put(shelf.entry("part", status=PART))
    assert (shelf.whole(), shelf.part()) == (None, "part")
    shelf.put(shelf.entry("whole", at=1))
    assert (shelf.whole(), shelf.part()) == ("whole", None)
    assert not shelf.put(shelf.entry("late part", status=PART))
    assert (shelf.whole(), shelf.part()) == ("whole", None)
    shelf.put(shelf.entry("newer part", status=PART, at=2))
    assert (shelf.whole(), shelf.part()) == (None, "newer part")
    assert shelf.memory.count("page") == 1


@pytest.mark.parametrize("scope", ["", "one"])
def test_that_is_so_for_each_variant(scope: str) -> None:
    shelf = Shelf()
    for fields in (EN, DE):
        shelf.put(shelf.entry("part", fields, vary="Lang", status=PART, scope=scope))
    assert shelf.part(scope=scope) is None
    shelf.put(shelf.entry("whole", EN, vary="Lang", at=1, scope=scope))
    assert (shelf.whole(EN, scope=scope), shelf.part(EN, scope=scope)) == ("whole", None)
    assert (shelf.whole(DE, scope=scope), shelf.part(DE, scope=scope)) == (None, "part")
    shelf.put(shelf.entry("newer part", EN, vary="Lang", status=PART, at=2, scope=scope))
    assert (shelf.whole(EN, scope=scope), shelf.part(EN, scope=scope)) == (None, "newer part")
    assert shelf.memory.count("page") == 2


# How many there are.


def value(number: int) -> tuple[RawField, ...]:
    return of(lang=f"l{number}")


def test_a_target_has_as_many_variants_as_there_is_room_for() -> None:
    shelf = Shelf(max_bytes=100_000)
    for number in range(300):
        shelf.now += 1
        assert shelf.put(shelf.entry("x" * 1000, value(number), vary="Lang", at=number))
    kept = [number for number in range(300) if shelf.whole(value(number)) is not None]
    assert kept == list(range(300 - len(kept), 300))
    assert 20 < len(kept) < 100
    assert shelf.memory.bytes <= 100_000


def test_it_has_as_many_for_each_who_is_set_apart() -> None:
    """A target such as /me is asked for by all callers: what one of them has takes nobody else's place."""
    shelf = Shelf()
    scopes = [f"scope {number}" for number in range(200)]
    for scope in scopes:
        shelf.put(shelf.entry(scope, scope=scope))
    assert [shelf.whole(scope=scope) for scope in scopes] == scopes


def test_of_what_it_varies_with_the_last_lists_are_known() -> None:
    shelf = Shelf()
    names = [f"field-{number}" for number in range(9)]
    for number, name in enumerate(names):
        shelf.put(shelf.entry(name, ((name.encode(), b"1"),), vary=name, at=number))
    found = [name for name in names if shelf.whole(((name.encode(), b"1"),)) == name]
    assert found == names[-4:]


def test_of_so_many_targets_it_is_known_what_they_vary_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.representations._VARIED_BYTES", 2 * 250)
    shelf = Shelf()
    for number, target in enumerate(("/a", "/b", "/a", "/c")):
        shelf.put(shelf.entry(target, EN, vary="Lang", target=target, at=number))
    assert [shelf.whole(EN, target=target) for target in ("/a", "/b", "/c")] == ["/a", None, "/c"]
    shelf.put(shelf.entry("plain", target="/b", at=9))
    assert shelf.whole(EN, target="/b") == "plain"


# The rest.


def test_one_response_is_dropped_by_its_key() -> None:
    shelf = Shelf()
    en, de = (shelf.entry("1", fields, vary="Lang") for fields in (EN, DE))
    for entry in (en, de):
        shelf.put(entry)
    shelf.held.drop(en.key)
    assert (shelf.whole(EN), shelf.whole(DE)) == (None, "1")


def test_the_place_of_what_answers_every_request_while_it_is_fresh() -> None:
    shelf = Shelf()
    assert shelf.held.fresh(TARGET, NOW) is None
    entry = shelf.entry("1")
    shelf.put(entry)
    slot = shelf.held.fresh(TARGET, NOW + 59.9)
    assert slot is not None
    found = slot.entry
    assert found is entry
    assert shelf.held.fresh(TARGET, NOW + 60.0) is None
    assert shelf.held.fresh("/a", NOW) is None
    shelf.put(shelf.entry("2", EN, vary="Lang", at=1))
    assert slot.entry is None
    assert shelf.held.fresh(TARGET, NOW + 1) is None


@pytest.mark.parametrize(("vary", "status", "scope"), [("Lang", 200, ""), ("", PART, ""), ("", 200, "one")])
def test_nothing_else_has_such_a_place(vary: str, status: int, scope: str) -> None:
    shelf = Shelf()
    shelf.put(shelf.entry("1", EN, vary=vary, status=status, scope=scope))
    assert shelf.held.fresh(TARGET, NOW) is None


def test_what_is_selected_counts_as_used_and_what_had_to_go_is_known() -> None:
    shelf = Shelf(max_bytes=4000)
    for target in ("/a", "/b", "/c"):
        shelf.now += 2
        assert shelf.put(shelf.entry("1", target=target))
    shelf.now += 2
    assert shelf.whole(target="/a") == "1"
    shelf.put(shelf.entry("1" * 1000, target="/d"))
    assert [shelf.held.was_evicted(target) for target in ("/a", "/b", "/d")] == [False, True, False]


def test_two_resources_may_share_a_memory() -> None:
    shelf = Shelf()
    other = Representations("other", shelf.memory, usable_until=lambda entry: entry.received_at + 1000)
    shelf.put(shelf.entry("1"))
    assert other.select(TARGET, ()) == (None, None, False)
    other.invalidate(TARGET)
    assert shelf.whole() == "1"
    assert other.key_of(TARGET, (), (), 200) == Key("other", TARGET)
