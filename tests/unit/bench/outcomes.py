"""A made-up run, to render."""

from bench.figure import Figure
from bench.peers.results import Fetched, Outcome, Result
from bench.peers.subjects import FLOOR, OURS

MACHINE = {
    "processor": "Some <Processor>",
    "cores": "2, the server on a core of its own",
    "kernel": "Linux 6.1",
    "Python": "3.11.2",
    "wrk": "4.1.0",
    "nginx": "1.22.1",
}


def result(workload: str, subject: str, cpu_us: float) -> Result:
    return Result(
        workload,
        subject,
        requests=90_000,
        cpu_us=cpu_us,
        rate=round(1e6 / cpu_us),
        p50_ms=0.3,
        p99_ms=1.25,
        p999_ms=2.5,
        peak_mib=66.4,
        rounds_cpu_us=(cpu_us - 0.1, cpu_us, cpu_us + 0.1),
    )


def outcome(*results: Result, **missing: str) -> Outcome:
    return Outcome(MACHINE, {"rounds": 3, "seconds": 2}, results, missing=missing)


def whole() -> Outcome:
    """With something of everything."""
    results = [
        result("get-hit", FLOOR, 8.0),
        result("get-hit", OURS, 9.0),
        result("get-hit", "nginx", 16.0),
        result("bulk-100", OURS, 40.0),
        result("pass-get-16m", OURS, 8_000.0),
        result("pass-get-16m", "nginx", 4_000.0),
    ]
    fetched = [Fetched(OURS, 500, 5_482, 2_024, 177, 2_024), Fetched("nginx", 500, 5_482, 2_024, 494, 5_476)]
    return Outcome(
        MACHINE,
        {"rounds": 3, "seconds": 2},
        results,
        fetched,
        {"haproxy": "not installed (Debian package haproxy)"},
        [Figure("a figure", 1.5, "x", 2.0), Figure("another", 3.0, "us")],
        {"a target": "a reason"},
    )
