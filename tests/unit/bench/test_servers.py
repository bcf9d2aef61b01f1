"""A server that does not start says why, and what answers wrongly gives no figures."""

import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bench.peers import rounds, wrk
from bench.peers.rounds import Bench, Plan, measure
from bench.peers.servers import BenchError, Server, ask, running
from bench.peers.subjects import FLOOR, SUBJECTS, Subject
from bench.peers.workloads import WORKLOADS

ORIGIN = "127.0.0.1:1"


def subject(program: str, *, says_port: bool) -> Subject:
    return Subject("one", frozenset({"get"}), lambda _: [sys.executable, "-c", program], says_port=says_port)


@pytest.mark.parametrize("says_port", [True, False])
def test_a_server_that_does_not_start_says_why(says_port: bool, tmp_path: Path) -> None:
    one = subject("import sys; sys.exit('no room')", says_port=says_port)
    with pytest.raises(BenchError, match="did not start:\nno room"):
        with running(one, tmp_path / "one", ORIGIN):
            pytest.fail("it started")


def test_a_server_has_ended_when_its_time_is_over(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with running(SUBJECTS[FLOOR], tmp_path / "floor", ORIGIN) as server:
        assert b'"u7"' in ask(server.address, "/users/u7")
        assert len(server.pids) == 1
        assert len(os.sched_getaffinity(server.pid)) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    assert os.sched_getaffinity(0) == before


class Answering(BaseHTTPRequestHandler):
    """Says 503 for /busy, and {"id": "u1"} for all else."""

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/busy" else 200)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b'{"id": "u1"}')

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_other_than_200_is_an_error(address: str) -> None:
    with pytest.raises(BenchError, match="/busy answered 503"):
        ask(address, "/busy")


def test_no_answer_is_an_error() -> None:
    with pytest.raises(BenchError, match="did not answer"):
        ask(ORIGIN, "/users/u0")


def test_another_answer_than_what_was_asked_for_is_an_error(address: str) -> None:
    with pytest.raises(BenchError, match="another than what was asked for"):
        rounds.check(WORKLOADS["get-hit"], Server(FLOOR, address, os.getpid()))


def measured(monkeypatch: pytest.MonkeyPatch, reached: int, used: int = 2_000_000_000) -> list[float]:
    """Three rounds of 100,000 requests, in each of which so many reached the upstream."""
    counts = iter(range(0, 100 * reached + 1, reached) if reached else [0] * 100)
    times = iter(range(0, 100 * used + 1, used) if used else [0] * 100)
    monkeypatch.setattr(rounds, "prepare", lambda *_: None)
    monkeypatch.setattr(rounds, "fetched", lambda _: (next(counts), 0))
    monkeypatch.setattr(rounds, "cpu", lambda _: {"thread": next(times)})
    monkeypatch.setattr(rounds, "_load", lambda *_: wrk.Report(100_000, 2.0, 0.3, 1.0, 2.0))
    bench = Bench("wrk", ORIGIN, Plan(rounds=3))
    (result,) = measure(bench, WORKLOADS["get-hit"], [Server(FLOOR, ORIGIN, os.getpid())])
    assert (result.requests, result.rate) == (300_000, 50_000)
    return list(result.rounds_cpu_us)


def test_processor_time_is_that_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, reached=0) == [20.0, 20.0, 20.0]


def test_a_hit_in_a_thousand_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, reached=100)
    with pytest.raises(BenchError, match="get-hit, floor: 101 of 100000 were no hits"):
        measured(monkeypatch, reached=101)


def test_a_kernel_that_keeps_no_time_gives_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match="schedstat"):
        measured(monkeypatch, reached=0, used=0)
