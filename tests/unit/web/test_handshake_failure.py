"""What the outcomes of a call's parts come to."""

import pytest

from proxy.entities import NotDurable, Nowhere, Outcome, Present, Unavailable
from proxy.web.handshake.failure import Failed, present
from tests.unit.web.faces import entry

HERE = Present(entry(), "hit")
LATE = Unavailable("upstream_status", 503, 2.1)
AWAY = Unavailable("circuit_open")


@pytest.mark.parametrize(
    ("user", "business", "status", "cache", "wrong"),
    [
        (Nowhere("miss"), HERE, 404, "miss", ["#/userId"]),
        (Nowhere("negative"), AWAY, 404, "negative", ["#/userId"]),
        (Nowhere("negative"), Nowhere("miss"), 404, "miss", ["#/userId", "#/businessId"]),
        (NotDurable(), Nowhere("negative"), 404, "negative", ["#/businessId"]),
        (NotDurable(), AWAY, 500, "error", []),
        (HERE, AWAY, 503, "error", ["#/businessId"]),
        (LATE, AWAY, 503, "error", ["#/userId", "#/businessId"]),
    ],
)
def test_an_absence_wins_then_our_own_failure(
    user: Outcome, business: Outcome, status: int, cache: str, wrong: list[str]
) -> None:
    with pytest.raises(Failed) as caught:
        present({"#/userId": user, "#/businessId": business}, ())
    problem = caught.value.problem
    assert (problem.status, caught.value.cache) == (status, cache)
    assert [fault.at for fault in problem.faults] == wrong


@pytest.mark.parametrize(
    ("late", "seconds"), [([AWAY], 1), ([AWAY, LATE], 3), ([LATE, Unavailable("x", None, 9)], 9)]
)
def test_to_wait_is_as_long_as_the_slowest_asks_in_whole_seconds(late: list[Outcome], seconds: int) -> None:
    with pytest.raises(Failed) as caught:
        present({f"#/{number}": outcome for number, outcome in enumerate(late)}, ())
    assert caught.value.problem.retry_after == seconds


def test_the_upstream_s_own_status_is_named() -> None:
    with pytest.raises(Failed) as caught:
        present({"#/userId": LATE}, ())
    (fault,) = caught.value.problem.faults
    assert fault.detail == "could not be fetched: upstream status (the upstream said 503)"


def test_all_that_is_there_is_given_back() -> None:
    assert present({"#/a": HERE, "#/b": HERE}, ()) == {"#/a": HERE, "#/b": HERE}
