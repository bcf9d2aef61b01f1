import pytest

from store.entry import Key
from tests.unit.store.samples import NOW, entry, user

ENTRY = entry(user("a"), received_at=NOW, lifetime=60, initial_age=10)


@pytest.mark.parametrize(
    ("now", "age"),
    [(NOW, 10), (NOW + 50.5, 60.5), (NOW - 10, 0), (NOW - 60, 0)],
)
def test_age_is_what_it_was_at_receipt_and_the_time_since_but_never_negative(now: float, age: float) -> None:
    assert ENTRY.age(now) == age
    assert ENTRY.ttl(now) == 60 - age


def test_what_comes_from_the_future_is_stale_for_nobody_knows_its_age() -> None:
    assert ENTRY.age(NOW - 61) == ENTRY.age(NOW - 86_400) == 60
    assert ENTRY.ttl(NOW - 61) == 0
    old = entry(user("a"), received_at=NOW, lifetime=60, initial_age=100)
    assert old.ttl(NOW - 86_400) == -40


def test_a_key_without_a_variant_is_the_one_that_has_a_row() -> None:
    assert Key("user", "a") == Key("user", "a", "")
    assert Key("user", "a") != Key("user", "a", "v")
