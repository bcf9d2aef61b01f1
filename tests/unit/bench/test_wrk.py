"""What wrk says is read whole, or the run fails."""

import json

import pytest

from bench.peers import wrk
from bench.peers.servers import BenchError

NONE = {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}


def said(requests: int = 30_000, **errors: int) -> str:
    line = {
        "requests": requests,
        "microseconds": 2_000_000,
        "bytes": 9_000_000,
        "p50": 348.0,
        "p99": 1068.0,
        "p999": 2371.5,
        "errors": NONE | errors,
    }
    return f"Running 2s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n{json.dumps(line)}\n"


def test_the_last_line_is_read() -> None:
    report = wrk.parse(said())
    assert (report.requests, report.seconds, report.rate) == (30_000, 2.0, 15_000.0)
    assert (report.p50, report.p99, report.p999) == (0.348, 1.068, 2.3715)


@pytest.mark.parametrize("kind", NONE)
def test_a_single_error_of_any_kind_fails_the_run(kind: str) -> None:
    with pytest.raises(BenchError, match=kind):
        wrk.parse(said(**{kind: 1}))


def test_a_load_without_an_answer_fails_the_run() -> None:
    with pytest.raises(BenchError, match="no answer"):
        wrk.parse(said(requests=0))


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_output_without_the_report_is_shown(output: str) -> None:
    with pytest.raises(BenchError, match=r"did not report:\n" + output.strip()):
        wrk.parse(output)
