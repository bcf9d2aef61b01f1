"""The targets are judged within one run, and never without what they are measured against."""

import pytest

from bench.figure import Figure
from bench.peers.subjects import FLOOR, OURS
from bench.peers.targets import ENTITY, TARGETS, judge
from tests.unit.bench.outcomes import outcome, result


def judged(ours: float, bulk: float) -> dict[str, Figure]:
    """With HAProxy at 10 us, nginx at 20, and the floor at 8."""
    others = {"haproxy": 10.0, "nginx": 20.0, FLOOR: 8.0}
    results = [result("get-hit", name, cpu) for name, cpu in others.items()]
    results += [result("get-hit-header", "nginx", 20.0)]
    results += [result(name, OURS, ours) for name in ("get-hit", "get-hit-header", "bulk-1")]
    figures, skipped = judge(outcome(*results, result("bulk-100", OURS, bulk)))
    assert skipped == {}
    assert len(figures) == len(TARGETS) + 1
    return {figure.name: figure for figure in figures}


def test_a_run_that_reaches_all() -> None:
    figures = judged(9.0, 49.0)
    assert not any(figure.missed for figure in figures.values())
    assert figures["get-hit: CPU against nginx"].value == pytest.approx(0.45)
    assert figures["get-hit: CPU against floor"].value == pytest.approx(1.125)
    assert figures["bulk-1: CPU against nginx's get-hit"].value == pytest.approx(0.45)
    assert figures[ENTITY].value == pytest.approx(0.49)


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        (9.7, {"get-hit: CPU against floor"}),
        (11.0, {"get-hit: CPU against floor", "get-hit: CPU against haproxy"}),
        (12.1, {f"get-hit: CPU against {name}" for name in ("floor", "haproxy", "nginx")}),
    ],
)
def test_each_ratio_has_its_own_bound(ours: float, missed: set[str]) -> None:
    assert {name for name, figure in judged(ours, 49.0).items() if figure.missed} == missed


def test_a_hundred_ids_are_judged_by_the_entity() -> None:
    assert judged(9.0, 50.1)[ENTITY].missed


def test_what_is_not_installed_is_no_verdict_but_a_reason() -> None:
    reason = "not installed (Debian package haproxy)"
    figures, skipped = judge(
        outcome(result("get-hit", OURS, 9.0), result("get-hit", "nginx", 20.0), haproxy=reason)
    )
    assert [figure.name for figure in figures] == ["get-hit: CPU against nginx"]
    assert skipped["get-hit: CPU against haproxy"] == f"haproxy: {reason}"
    assert skipped["bulk-1: CPU against nginx's get-hit"] == f"{OURS}: not measured in this run"
    assert len(figures) + len(skipped) == len(TARGETS) + 1
