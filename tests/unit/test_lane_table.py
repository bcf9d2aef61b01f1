"""The table of answers: what is kept in it, what goes, and what it takes."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from proxy import lane_table
from proxy.lane_table import Asked, Table, asked_by, part_of
from proxy.ready import Ready
from tests.turns import in_turn
from tests.unit.served import Face
from tests.unit.store.samples import NOW, entry, user

LARGE = 1 << 30
A: Asked = asked_by(b"GET", b"/users/a", b"")
B: Asked = asked_by(b"GET", b"/users/b", b"")
WAYS = [b"GET /users/a HTTP/1.1\r\nHost: %d\r\n\r\n" % number for number in range(10)]


@pytest.fixture
def face() -> Face:
    return Face()


Making = Callable[..., Ready]


@pytest.fixture
def answer(face: Face) -> Making:
    """Of entities of these names, with so many bytes."""

    def make(*names: str, size: int = 10) -> Ready:
        entries = [entry(user(name)) for name in names]
        slots = [face.put(one, NOW) for one in entries]
        return Ready(face, slots, entries, b"x" * size, NOW)

    return make


def get(number: int) -> Asked:
    """That asks for the user of that number."""
    return asked_by(b"GET", b"/users/%04d" % number, b"")


def name_of(asked: Asked) -> str:
    """What such a request asks for."""
    return asked.split()[1].decode().removeprefix("/users/")


def kept(table: Table, asked: Asked, ready: Ready, *ways: bytes) -> None:
    """Have the table keep that."""
    for _ in range(2):
        table.add(asked, ready)
    for way in ways:
        for _ in range(2):
            table.add_exact(asked, way)


def check(table: Table) -> None:
    """That its parts say the same."""
    ways = [(way, one) for one in table._kept.values() for way in one.ways]
    assert len({way for way, _ in ways}) == len(ways)
    assert table.exact.keys() == {way for way, _ in ways}
    assert all(table.exact[way] is one.ready for way, one in ways)
    assert table.bytes == sum(one.size for one in table._kept.values())
    assert table.bytes <= table.max_bytes
    assert all(len(one.ways) <= lane_table._WAYS for one in table._kept.values())


def test_an_answer_is_kept_when_it_is_seen_again(answer: Making) -> None:
    table, first, second = Table(LARGE), answer("a"), answer("a")
    table.add(A, first)
    assert (table.get(A), len(table), table.bytes) == (None, 0, 0)
    table.add(A, second)
    assert (table.get(A), len(table)) == (second, 1)
    assert table.get(B) is None
    assert table.bytes > 0


@pytest.mark.parametrize(
    "other",
    [
        asked_by(b"POST", b"/users/a", b""),
        asked_by(b"GET", b"/users/A", b""),
        asked_by(b"GET", b"/users/a", b"1"),
        asked_by(b"GET", b"/users/a", b"\n"),
    ],
)
def test_what_is_asked_for_is_all_of_method_target_and_body(answer: Making, other: Asked) -> None:
    table = Table(LARGE)
    kept(table, A, answer("a"))
    assert table.get(other) is None
    table.add(other, answer("a"))
    assert table.get(other) is None, "it was not seen before"


def test_the_bytes_of_a_request_are_kept_when_they_are_seen_again(answer: Making) -> None:
    table, ready = Table(LARGE), answer("a")
    way = WAYS[0]
    for _ in range(3):
        table.add_exact(A, way)
    assert table.exact == {}, "there is no answer to it"
    kept(table, A, ready)
    table.add_exact(A, way)
    assert table.exact == {}, "what came before there was an answer is no sighting"
    table.add_exact(A, way)
    assert table.exact == {way: ready}
    size = table.bytes
    table.add_exact(A, way)
    assert table.bytes == size, "it is counted twice"
    check(table)


def test_only_so_many_ways_to_ask_for_the_same_are_kept(answer: Making) -> None:
    table, ready = Table(LARGE), answer("a")
    kept(table, A, ready, *WAYS)
    assert list(table.exact) == WAYS[-lane_table._WAYS :], "the oldest go"
    check(table)


def test_a_field_that_differs_each_time_does_not_flood_it(answer: Making) -> None:
    table = Table(LARGE)
    kept(table, A, answer("a"), WAYS[0])
    size = table.bytes
    for number in range(10_000):
        table.add_exact(A, b"%d" % number)
        table.add(get(number), answer("b"))
    assert (table.bytes, len(table), list(table.exact)) == (size, 1, [WAYS[0]])
    sightings = table._sightings
    assert len(sightings._now) + len(sightings._before) <= 2 * lane_table._SIGHTINGS


def test_what_was_seen_long_ago_is_forgotten_and_what_was_seen_lately_is_not(answer: Making) -> None:
    table = Table(LARGE)
    table.add(A, answer("a"))
    for number in range(lane_table._SIGHTINGS - 1):
        table.add(get(number), answer("b"))
    table.add(A, answer("a"))
    assert table.get(A) is not None, "it is among the last that were seen"
    table.add(B, answer("b"))
    for number in range(2 * lane_table._SIGHTINGS):
        table.add(asked_by(b"GET", b"/further/%d" % number, b""), answer("b"))
    table.add(B, answer("b"))
    assert table.get(B) is None


def test_another_answer_takes_the_place_of_the_one_before_with_its_ways(answer: Making) -> None:
    table, later = Table(LARGE), answer("b")
    kept(table, A, answer("a"), *WAYS[:3])
    size = table.bytes
    table.add(A, later)
    assert (table.get(A), table.exact, len(table)) == (later, {}, 1)
    assert table.bytes < size
    table.add_exact(A, WAYS[0])
    assert table.exact == {WAYS[0]: later}, "bytes that were seen lately are known at once"
    check(table)


def test_what_is_dropped_takes_nothing_any_more(answer: Making) -> None:
    table = Table(LARGE)
    kept(table, A, answer("a"), *WAYS[:3])
    kept(table, B, answer("b"), b"b")
    table.drop(A)
    table.drop(A)
    check(table)
    assert (table.get(A), list(table.exact)) == (None, [b"b"])
    table.drop(B)
    assert (table.bytes, table.exact, len(table)) == (0, {}, 0)


def test_a_sweep_drops_what_does_not_stand(answer: Making, face: Face) -> None:
    table = Table(LARGE)
    kept(table, A, answer("a", "c"), WAYS[0])
    kept(table, B, answer("b"), b"b")
    table.sweep()
    assert len(table) == 2
    face.slots["c"].fill(None, NOW)
    table.sweep()
    assert (table.get(A), list(table.exact), len(table)) == (None, [b"b"], 1)
    check(table)


def sized(asked: Asked, ready: Ready) -> int:
    """What it takes, with nothing that asks for it."""
    table = Table(LARGE)
    kept(table, asked, ready)
    return table.bytes


def filled(answer: Making, count: int) -> tuple[Table, list[Asked]]:
    """A table with room for so many answers, and no more."""
    asked = [get(number) for number in range(count)]
    table = Table(count * sized(asked[0], answer("0000")))
    for one in asked:
        kept(table, one, answer(name_of(one)))
    assert table.bytes == table.max_bytes
    return table, asked


def pressed(table: Table, asked: Asked, ready: Ready) -> None:
    """Have a full table keep that: it is let in now and then."""
    for _ in range(2 * lane_table._ONE_IN):
        if table.get(asked) is None:
            table.add(asked, ready)
    assert table.get(asked) is ready


def test_a_full_table_lets_one_in_now_and_then(answer: Making) -> None:
    table, asked = filled(answer, 5)
    others = [get(number) for number in range(9000, 9000 + 3 * lane_table._ONE_IN)]
    for one in others:
        kept(table, one, answer(name_of(one)))
    assert sum(table.get(one) is not None for one in others) == 3, "one in sixteen"
    assert [table.get(one) is None for one in asked] == [True, True, True, False, False]
    check(table)


def test_one_that_is_put_together_anew_has_its_place_in_a_full_table(answer: Making) -> None:
    table, asked = filled(answer, 5)
    for one in asked * 3:
        ready = answer(name_of(one))
        table.drop(one)
        table.add(one, ready)
        assert table.get(one) is ready
    check(table)


def test_the_oldest_go_first(answer: Making) -> None:
    table, asked = filled(answer, 5)
    pressed(table, get(9999), answer("9999"))
    assert [one for one in asked if table.get(one) is None] == asked[:1]
    assert len(table) == 5
    check(table)


def test_those_that_were_used_are_spared_once(answer: Making) -> None:
    table, asked = filled(answer, 5)
    for one in asked[:2]:
        ready = table.get(one)
        assert ready is not None
        ready.is_used = True
    pressed(table, get(9999), answer("9999"))
    assert [one for one in asked if table.get(one) is None] == [asked[2]]
    for number in (9998, 9997):
        pressed(table, get(number), answer(f"{number}"))
    assert [one for one in asked if table.get(one) is None] == asked[2:], (
        "those that were spared stand behind"
    )
    for number in (9996, 9995):
        pressed(table, get(number), answer(f"{number}"))
    assert table.get(asked[0]) is None, "they are spared once"
    check(table)


def test_making_room_ends_though_all_are_used(answer: Making) -> None:
    table, asked = filled(answer, 3 * lane_table._SPARED)
    for one in asked:
        ready = table.get(one)
        assert ready is not None
        ready.is_used = True
    pressed(table, get(9999), answer("9999"))
    gone = [one for one in asked if table.get(one) is None]
    assert gone == [asked[lane_table._SPARED]], "those before it are spared, and it goes all the same"
    check(table)


def test_what_is_larger_than_the_table_is_not_kept(answer: Making) -> None:
    small = answer("a")
    table = Table(sized(A, small))
    kept(table, A, small)
    kept(table, B, answer("b", size=11))
    assert (table.get(A), table.get(B)) == (small, None), "what is too large must not drive out the rest"
    nothing = Table(0)
    kept(nothing, A, small, WAYS[0])
    assert (len(nothing), nothing.bytes, nothing.exact) == (0, 0, {})


def test_bytes_of_a_request_that_are_too_many_go_with_their_answer(answer: Making) -> None:
    table = Table(sized(A, answer("a")) + 500)
    kept(table, A, answer("a"), b"x" * 1000)
    assert table.bytes <= table.max_bytes
    check(table)


def test_the_tables_have_a_part_of_the_memory() -> None:
    assert part_of(64 << 20) == 4 << 20
    assert part_of(0) == 0


class Operations(RuleBasedStateMachine):
    """Whatever is done to it, its parts say the same, and it keeps within its bound."""

    NAMES = st.sampled_from([f"{number}" for number in range(12)])
    SIZES = st.sampled_from((0, 10, 400, 2000, 20_000))

    @initialize(max_bytes=st.sampled_from((0, 2000, 5000, 12_000, 40_000)))
    def start(self, max_bytes: int) -> None:
        self.face = Face()
        self.table = Table(max_bytes)

    def asked(self, name: str) -> Asked:
        return asked_by(b"POST", b"/users/bulk", name.encode())

    @rule(name=NAMES, size=SIZES, way=st.integers(0, 6), padding=st.sampled_from((0, 300, 3000)))
    def ask(self, name: str, size: int, way: int, padding: int) -> None:
        """As the lane does for a request that it reads."""
        asked = self.asked(name)
        ready = self.table.get(asked)
        if ready is not None and not ready.stands():
            self.table.drop(asked)
            ready = None
        if ready is None:
            one = entry(user(name))
            slot = self.face.slots.get(name)
            if slot is None or slot.entry is None:
                slot = self.face.put(one, NOW)
            assert slot.entry is not None
            ready = Ready(self.face, [slot], [slot.entry], b"x" * size, NOW)
            self.table.add(asked, ready)
        self.table.add_exact(asked, b"%s %d" % (name.encode(), way) + b" " * padding)

    @rule(name=NAMES)
    def change(self, name: str) -> None:
        self.face.put(entry(user(name)), NOW)

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        if name in self.face.slots:
            self.face.slots[name].fill(None, NOW)

    @rule(name=NAMES)
    def use(self, name: str) -> None:
        ready = self.table.get(self.asked(name))
        if ready is not None:
            ready.is_used = True

    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        self.table.drop(self.asked(name))

    @rule()
    def sweep(self) -> None:
        self.table.sweep()
        assert all(one.ready.stands() for one in self.table._kept.values())

    @invariant()
    def its_parts_say_the_same(self) -> None:
        check(self.table)
        for request, ready in self.table.exact.items():
            assert self.table.get(self.asked(request.split(b" ")[0].decode())) is ready

    def teardown(self) -> None:
        if hasattr(self, "table"):
            for asked in list(self.table._kept):
                self.table.drop(asked)
            assert (self.table.bytes, self.table.exact) == (0, {})


TestOperations = Operations.TestCase
TestOperations.settings = settings(settings.get_profile("deep"), stateful_step_count=60)


HELD = [(340, 1), (350, 1), (500, 1), (340, 10), (100, 100)]
"""Answers, and the entities in each. The counts of answers are before and after tables double."""


@pytest.mark.parametrize(("size", "ways"), in_turn(HELD, (0, 1, 4)), ids=str)
def test_the_accounting_is_near_to_what_is_really_taken(size: tuple[int, int], ways: int) -> None:
    """What is remembered as seen is bounded, and not counted."""
    count, entities = size
    face, table = Face(), Table(LARGE)
    held = [replace(entry(user(str(number))), received_at=NOW - number / 7) for number in range(entities)]
    slots = [face.put(one, NOW) for one in held]
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            for _ in range(2):
                body = b"%d" % number + b"x" * 9 * entities
                asked = asked_by(b"POST", b"/users/%08d" % number, body)
                table.add(asked, Ready(face, slots, held, b"y" * 250 * entities, NOW + number / 1000))
            for way in range(ways):
                for _ in range(2):
                    table.add_exact(asked, b"%d %d" % (number, way) + b"z" * 200)
        table._sightings = lane_table._Sightings()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (len(table), len(table.exact)) == (count, count * ways)
    assert 0.9 < table.bytes / taken < 1.15
