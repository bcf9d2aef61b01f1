"""The calls of the Zipf workload: the same each time, and skewed as they claim to be."""

from collections import Counter

from bench.peers.zipf import LARGEST, USERS, draw


def test_the_same_seed_gives_the_same_calls() -> None:
    assert draw(20, seed=3) == draw(20, seed=3)
    assert draw(20, seed=3) != draw(20, seed=4)


def test_a_call_has_one_to_twenty_different_ids() -> None:
    calls = draw(500)
    assert {len(ids) for ids in calls} == set(range(1, LARGEST + 1))
    assert all(len(set(ids)) == len(ids) for ids in calls)


def test_the_first_rank_comes_about_twice_as_often_as_the_second() -> None:
    # Of calls of one id: in a longer one, no id can come twice.
    firsts = Counter(ids[0] for ids in draw(20_000))
    assert 1.8 < firsts["z0"] / firsts["z1"] < 2.2
    # The harmonic number of 10,000 is 9.79.
    assert 0.09 < firsts["z0"] / 20_000 < 0.115


def test_the_ids_are_of_the_users_that_there_are() -> None:
    ids = {int(entity.removeprefix("z")) for call in draw(2_000) for entity in call}
    assert max(ids) < USERS
    assert len(ids) > USERS // 3
