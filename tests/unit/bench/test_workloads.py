"""The workloads name scripts that there are, and each is run by those who can."""

import pytest

from bench.peers.subjects import FLOOR, OURS, OURS_SLOW, SUBJECTS
from bench.peers.targets import TARGETS
from bench.peers.workloads import QUICK, WORKLOADS, Workload
from bench.peers.wrk import SCRIPTS

REPORT = 'dofile("report.lua")'


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_the_script_is_there_and_reports(workload: Workload) -> None:
    text = (SCRIPTS / workload.script).read_text()
    assert workload.script == "report.lua" or REPORT in text


def test_no_script_is_left_over() -> None:
    assert {path.name for path in SCRIPTS.iterdir()} == {one.script for one in WORKLOADS.values()}


def runners(workload: str) -> set[str]:
    return {name for name in SUBJECTS if WORKLOADS[workload].runs_on(name)}


def test_who_can_do_what() -> None:
    assert runners("get-hit") == set(SUBJECTS)
    assert runners("bulk-100") == {FLOOR, OURS, OURS_SLOW, "nginx"}
    assert runners("pass-get-16m") == {OURS, "nginx", "haproxy", "varnish", "squid"}
    assert runners("hits-1m") == {OURS}


def test_a_quick_run_fills_nothing() -> None:
    assert {name for name in WORKLOADS if name not in QUICK} == {"hits-1k", "hits-100k", "hits-1m"}


def test_every_target_is_about_something_that_is_measured() -> None:
    for target in TARGETS:
        assert OURS in runners(target.workload)
        assert target.subject in runners(target.other)
