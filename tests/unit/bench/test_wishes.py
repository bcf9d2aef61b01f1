"""What is asked for is understood, and what is missing is said and never installed."""

import argparse
import json
import os
import sys
from pathlib import Path

import pytest

from bench import __main__ as whole
from bench.figure import Figure
from bench.peers import __main__ as peers
from bench.peers import servers
from bench.peers.servers import BenchError
from bench.peers.subjects import FLOOR, OURS, SUBJECTS
from bench.peers.workloads import QUICK, WORKLOADS, ZIPF


def wish(*options: str) -> peers.Wish:
    parser = argparse.ArgumentParser(parents=[peers.options()])
    return peers.wished(parser.parse_args(options))


def test_without_options_everything_is_measured() -> None:
    assert wish() == peers.Wish(list(SUBJECTS), [*WORKLOADS, ZIPF])


def test_a_quick_run_has_one_round_of_a_second() -> None:
    assert list(wish("--quick").workloads) == [*QUICK, ZIPF]
    assert (wish("--quick").plan.rounds, wish("--quick").plan.seconds) == (1, 1)


def test_a_choice_keeps_the_order_of_the_table() -> None:
    assert wish("--subjects", "handshake-proxy,floor", "--only", "bulk-1").subjects == [FLOOR, OURS]


@pytest.mark.parametrize("options", [("--only", "get-hits"), ("--subjects", "apache")])
def test_a_name_that_there_is_none_of_is_an_error(options: tuple[str, str]) -> None:
    with pytest.raises(BenchError, match=f"there is no .* {options[1]}: "):
        wish(*options)


def test_a_subject_starts_with_as_many_entities_as_its_workloads_want() -> None:
    assert wish().entities(OURS) == 1_000_000
    assert wish().entities("nginx") == 100_000
    assert wish("--quick").entities(OURS) == 0


def test_what_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "find", lambda name: None if name == "varnishd" else f"/somewhere/{name}")
    assert servers.missing(list(SUBJECTS)) == {"varnish": "not installed (Debian package varnish)"}


def test_without_wrk_there_are_no_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "find", lambda _: None)
    monkeypatch.setattr(peers, "end_with_servers", lambda: None)
    monkeypatch.setattr(sys, "argv", ["peers"])
    assert peers.main() == 2
    assert "apt-get install wrk" in capsys.readouterr().err


def test_after_a_run_every_core_is_there_for_the_next_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find", lambda _: sys.executable)
    before = os.sched_getaffinity(0)
    outcome = peers.measure(peers.Wish([], []))
    assert outcome.results == ()
    assert os.sched_getaffinity(0) == before


def stand_in(directory: Path, code: int, *, writes: bool = True) -> list[str]:
    """A module that writes one figure and ends with this code."""
    said = json.dumps([{"name": "start", "value": 0.4, "unit": "s", "target": 0.5}])
    program = directory / "module"
    step = f"echo '{said}' > $3" if writes else ":"
    program.write_text(f"#!/bin/sh\n{step}\nexit {code}\n")
    program.chmod(0o755)
    return [str(program)]


@pytest.mark.parametrize("code", [0, 1])
def test_figures_of_another_module_are_taken_whether_its_targets_are_met(code: int, tmp_path: Path) -> None:
    assert whole.alone("startup", (), stand_in(tmp_path, code)) == [Figure("startup: start", 0.4, "s", 0.5)]


@pytest.mark.parametrize(("code", "writes"), [(2, True), (0, False)])
def test_a_module_that_fails_fails_the_run(code: int, writes: bool, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"bench.startup ended with {code}"):
        whole.alone("startup", (), stand_in(tmp_path, code, writes=writes))
