from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from store.entry import Key
from store.generation import Generations, Watch
from tests.unit.store.samples import user

A, B = user("a"), user("b")
VARIANT = A._replace(variant="v")
OTHER = A._replace(variant="w")


def test_a_watch_is_current_until_its_key_changes() -> None:
    generations = Generations()
    before = generations.watch([A, B])
    generations.changed(A)
    after = generations.watch([A])
    assert not before.is_current(A)
    assert before.is_current(B)
    assert after.is_current(A)


def test_what_happened_before_does_not_matter() -> None:
    generations = Generations()
    first = generations.watch([A])
    generations.changed(A)
    generations.invalidated(A)
    assert generations.watch([A]).is_current(A)
    assert not first.is_current(A)


def test_a_write_changes_its_own_variant_and_an_invalidation_every_one() -> None:
    generations = Generations()
    watch = generations.watch([A, VARIANT, OTHER, B])
    generations.changed(VARIANT)
    assert [watch.is_current(key) for key in (A, VARIANT, OTHER, B)] == [True, False, True, True]
    generations.invalidated(OTHER)
    assert [watch.is_current(key) for key in (A, VARIANT, OTHER, B)] == [False, False, False, True]


def test_all_can_change_at_once() -> None:
    generations = Generations()
    before = generations.watch([A, VARIANT])
    generations.all_changed()
    after = generations.watch([A, B])
    assert not before.is_current(A)
    assert not before.is_current(VARIANT)
    assert after.is_current(A)
    assert after.is_current(B)


def test_resources_and_ids_are_kept_apart() -> None:
    generations = Generations()
    watch = generations.watch([Key("user", "a"), Key("us", "era"), Key("user", "a", "a")])
    generations.invalidated(Key("us", "era"))
    generations.changed(Key("user", "a", "a"))
    assert watch.is_current(Key("user", "a"))


def test_what_is_not_watched_is_not_known_to_be_current() -> None:
    generations = Generations()
    watch = generations.watch([VARIANT])
    assert not watch.is_current(A)
    assert not watch.is_current(OTHER)
    watch.close()
    assert not watch.is_current(VARIANT)


def test_nothing_is_remembered_of_what_nobody_watches() -> None:
    generations = Generations()
    generations.changed(A)
    generations.invalidated(A)
    assert len(generations) == 0
    first, second = generations.watch([A, A, VARIANT]), generations.watch(iter([A]))
    assert len(generations) == 3
    first.close()
    first.close()
    assert len(generations) == 2
    generations.changed(A)
    assert not second.is_current(A)
    second.close()
    assert len(generations) == 0


def test_a_watch_of_nothing() -> None:
    generations = Generations()
    generations.watch([]).close()
    assert len(generations) == 0


@dataclass
class _Naive:
    """Everything that has happened since the watch began."""

    watch: Watch
    keys: set[Key]
    changed: set[Key] = field(default_factory=set)
    invalidated: set[tuple[str, ...]] = field(default_factory=set)

    def is_current(self, key: Key) -> bool:
        return key in self.keys and key not in self.changed and key[:2] not in self.invalidated


KEYS = st.builds(
    Key, st.sampled_from(["user", "business"]), st.sampled_from("ab"), st.sampled_from(["", "v", "w"])
)
STEPS = st.lists(
    st.tuples(st.just("watch"), st.lists(KEYS, max_size=4))
    | st.tuples(st.sampled_from(["changed", "invalidated"]), KEYS.map(lambda key: [key]))
    | st.tuples(st.just("close"), st.integers(0, 5)),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_it_says_what_a_list_of_all_events_would_say(steps: list[tuple[str, list[Key] | int]]) -> None:
    generations = Generations()
    open_: list[_Naive] = []
    for step, what in steps:
        if isinstance(what, int):
            if what < len(open_):
                open_.pop(what).watch.close()
        elif step == "watch":
            open_.append(_Naive(generations.watch(what), set(what)))
        elif step == "changed":
            generations.changed(what[0])
            for naive in open_:
                naive.changed.add(what[0])
        else:
            generations.invalidated(what[0])
            for naive in open_:
                naive.invalidated.add(what[0][:2])
        asked = {key for naive in open_ for key in naive.keys} | {A, VARIANT}
        for naive in open_:
            assert [naive.watch.is_current(key) for key in asked] == [naive.is_current(key) for key in asked]
        watched = {name for naive in open_ for key in naive.keys for name in (key, key[:2])}
        assert len(generations) == len(watched)
