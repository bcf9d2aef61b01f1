"""Measures the subjects under one workload, in turns, so that a noisy minute hits all alike."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvloop

from bench.load import get, load, post
from bench.origin import BULK
from bench.peers import wrk
from bench.peers.results import Result
from bench.peers.servers import BenchError, Server, ask
from bench.peers.subjects import SUBJECTS, has_database
from bench.peers.usage import cpu, forget_peak, peak_mib, spent
from bench.peers.workloads import Workload

_LOST = 0.001
"""The part of hits that may be none: of 100,000 entities, HAProxy has one or two whose hashes displace each other."""
_SETTLED = 0.02
"""The part of a core that a server may use while nobody asks."""
_SETTLE_TIMEOUT = 180.0
_FILL = 500
"""Ids of a bulk call that fills."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each measurement is."""

    rounds: int = 3
    seconds: int = 2
    warmup: int = 1
    """Seconds before the first round; 0 leaves it out."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rounds need to know."""

    wrk: str
    """The program."""
    origin: str
    """The address of the upstream."""
    plan: Plan


def measure(bench: Bench, workload: Workload, servers: Sequence[Server]) -> list[Result]:
    """One result for each server. Raises BenchError if an answer is wrong, or a hit came from the upstream."""
    able = [server for server in servers if workload.runs_on(server.name)]
    for server in able:
        forget_peak(server.pids)
        prepare(bench, workload, server)
    rounds: dict[str, list[tuple[float, wrk.Report]]] = {server.name: [] for server in able}
    for _ in range(bench.plan.rounds):
        for server in able:
            rounds[server.name].append(_round(bench, workload, server))
    return [_result(workload, server, rounds[server.name]) for server in able]


def _result(workload: Workload, server: Server, rounds: Sequence[tuple[float, wrk.Report]]) -> Result:
    reports = [report for _, report in rounds]

    def median(value: Callable[[wrk.Report], float]) -> float:
        return statistics.median(value(report) for report in reports)

    return Result(
        workload=workload.name,
        subject=server.name,
        requests=sum(report.requests for report in reports),
        cpu_us=statistics.median(used for used, _ in rounds),
        rate=median(lambda report: report.rate),
        p50_ms=median(lambda report: report.p50),
        p99_ms=median(lambda report: report.p99),
        p999_ms=median(lambda report: report.p999),
        peak_mib=peak_mib(server.pids),
        rounds_cpu_us=tuple(used for used, _ in rounds),
    )


def _round(bench: Bench, workload: Workload, server: Server) -> tuple[float, wrk.Report]:
    """Processor time for a request in microseconds, and what wrk saw."""
    asked = fetched(bench.origin)[0]
    before = cpu(server.pids)
    report = _load(bench, workload, server, bench.plan.seconds)
    used = spent(before, cpu(server.pids))
    if not used:
        raise BenchError("the kernel keeps no processor time by thread (/proc/PID/task/TID/schedstat)")
    reached = fetched(bench.origin)[0] - asked
    if workload.cached and reached > report.requests * _LOST:
        raise BenchError(f"{workload.name}, {server.name}: {reached} of {report.requests} were no hits")
    return used / report.requests / 1000, report


def _load(bench: Bench, workload: Workload, server: Server, seconds: int) -> wrk.Report:
    url = f"http://{server.address}{workload.path}"
    try:
        return wrk.run(
            bench.wrk,
            url,
            workload.script,
            workload.arguments,
            connections=workload.connections,
            seconds=seconds,
        )
    except BenchError as error:
        raise BenchError(f"{workload.name}, {server.name}: {error}") from error


def prepare(bench: Bench, workload: Workload, server: Server) -> None:
    """Have it hold what will be asked for, look at an answer, and let it get warm."""
    if workload.entities:
        fill(server, workload.entities)
    check(workload, server)
    # To be filled is to be warmed up, and a large body costs the same from the first one on.
    warmup = 0 if workload.entities or workload.large else bench.plan.warmup
    if warmup:
        _load(bench, workload, server, warmup)
    if bench.plan.warmup or workload.entities:
        settle(server)


def check(workload: Workload, server: Server) -> None:
    """One answer has to be what was asked for; a cache holds it from then on. Raises BenchError."""
    if workload.ids:
        ids = [f"u{number}" for number in range(workload.ids)]
        # The very bytes that the script sends, for a cache that has the body in its key.
        body = json.dumps({"userIds": ids}, separators=(",", ":")).encode()
        users = json.loads(ask(server.address, workload.path, body))["users"]
        right = [user["id"] for user in users] == ids
    elif workload.needs == "get":
        path = workload.path if not workload.entities else "/users/u0"
        right = json.loads(ask(server.address, path))["id"] == path.removeprefix("/users/")
    elif workload.arguments:
        size = int(workload.arguments[0])
        right = ask(server.address, workload.path, b"x" * size) == str(size).encode()
    else:
        right = len(ask(server.address, workload.path)) == int(workload.path.removeprefix("/bytes/"))
    if not right:
        raise BenchError(f"{workload.name}, {server.name}: the answer is another than what was asked for")


def fill(server: Server, entities: int) -> None:
    """Have it hold u0, u1, … in memory: many at a time out of its database, or one at a time from the upstream."""
    print(f"  {server.name}: asking for {entities:,} entities once", file=sys.stderr)
    many = has_database(SUBJECTS[server.name])

    def request(index: int) -> bytes:
        if many:
            ids = [f"u{index * _FILL + n}" for n in range(_FILL)]
            return post(server.address, BULK, {"userIds": ids})
        return get(server.address, f"/users/u{index}")

    count, connections = (entities // _FILL, 4) if many else (entities, 32)
    uvloop.run(load_all(server.address, request, count, connections))


async def load_all(address: str, request: Callable[[int], bytes], count: int, connections: int) -> None:
    """Make these requests. Raises BenchError for an answer other than 200."""
    try:
        await load(address, request, count=count, connections=connections)
    except ExceptionGroup as group:
        raise BenchError(f"{address}: {group.exceptions[0]}") from group


def settle(server: Server) -> None:
    """Wait until it has nothing left to do behind its answers. Raises BenchError if that does not end."""
    end = time.monotonic() + _SETTLE_TIMEOUT
    while time.monotonic() < end:
        before, since = cpu(server.pids), time.monotonic()
        time.sleep(0.1)
        busy = spent(before, cpu(server.pids)) / 1e9 / (time.monotonic() - since)
        if busy < _SETTLED:
            return
    raise BenchError(f"{server.name} does not come to rest")


def fetched(origin: str) -> tuple[int, int]:
    """Calls for users that the upstream has had so far, and ids that those asked for."""
    said = json.loads(ask(origin, "/count"))
    return said["requests"], said["ids"]
