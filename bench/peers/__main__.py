"""This proxy beside nginx, HAProxy, Varnish and Squid, and beside the least that an answer can cost.

All run before one upstream, each on the same core; wrk runs on another. The figure to compare is the processor time
that the server used for a request: a busy machine changes it little. The subjects take turns, and the median of the
rounds counts. A subject that is missing is left out, and said to be; nothing is installed. Linux only, loopback only.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.peers import chart, machine, results, rounds, table, targets, zipf
from bench.peers.results import Outcome
from bench.peers.servers import BenchError, Server, find, missing, origin, running
from bench.peers.subjects import SUBJECTS
from bench.peers.usage import cores, on
from bench.peers.workloads import QUICK, WORKLOADS, ZIPF, Workload

_MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory; the directory made there is private
_ZIPF_REQUESTS = 5_000
_ZIPF_SUBJECTS = ("handshake-proxy", "nginx")


@dataclass(frozen=True, slots=True)
class Wish:
    """What to measure."""

    subjects: Sequence[str]
    workloads: Sequence[str]
    quick: bool = False

    @property
    def plan(self) -> rounds.Plan:
        """Three rounds; a quick run has one of a second, without warm-up."""
        return rounds.Plan(rounds=1, seconds=1, warmup=0) if self.quick else rounds.Plan()

    def entities(self, subject: str) -> int:
        """The most that a workload wants this subject to hold."""
        chosen = (WORKLOADS[name] for name in self.workloads if name != ZIPF)
        return max((one.entities for one in chosen if one.runs_on(subject)), default=0)


def measure(wish: Wish) -> Outcome:
    """Everything that was wished for. Raises BenchError, also if wrk is missing."""
    wrk = find("wrk")
    if wrk is None:
        raise BenchError("wrk, which makes the load, is missing: apt-get install wrk")
    absent = missing(wish.subjects)
    for name, reason in absent.items():
        print(f"{name}: {reason}", file=sys.stderr)
    present = [name for name in wish.subjects if name not in absent]
    with ExitStack() as stack:
        stack.enter_context(on(cores()[1]))
        where = _MEMORY if _MEMORY.is_dir() else None
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=where)))
        # Squid gives its root rights up, and has to find its own directory.
        place.chmod(0o755)
        address = stack.enter_context(origin())
        bench = rounds.Bench(wrk, address, wish.plan)
        servers = [
            stack.enter_context(running(SUBJECTS[name], place / str(number), address, wish.entities(name)))
            for number, name in enumerate(present)
        ]
        found = Outcome(
            machine=machine.machine(present, wrk),
            settings={"rounds": wish.plan.rounds, "seconds": wish.plan.seconds},
            missing=absent,
        )
        found = _measured(bench, wish, servers, found)
    figures, skipped = targets.judge(found)
    return replace(found, figures=figures, skipped=skipped)


def _measured(bench: rounds.Bench, wish: Wish, servers: Sequence[Server], found: Outcome) -> Outcome:
    chosen: list[Workload] = [one for name, one in WORKLOADS.items() if name in wish.workloads]
    for workload in chosen:
        print(workload.title, file=sys.stderr)
        found = replace(found, results=[*found.results, *rounds.measure(bench, workload, servers)])
    if ZIPF in wish.workloads:
        print("Zipf bulks", file=sys.stderr)
        able = [server for server in servers if server.name in _ZIPF_SUBJECTS]
        count = _ZIPF_REQUESTS // 10 if wish.quick else _ZIPF_REQUESTS
        found = replace(found, fetched=zipf.measure(bench.origin, able, count))
    return found


def options() -> argparse.ArgumentParser:
    """What to measure, and where to write it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--only", metavar="WORKLOADS", help=f"of {','.join([*WORKLOADS, ZIPF])}")
    parser.add_argument("--subjects", help=f"of {','.join(SUBJECTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="less than a minute: too short to judge, so no target is"
    )
    parser.add_argument("--json", type=Path, help="a file to write the results to")
    parser.add_argument("--svg", type=Path, help="a file to draw the chart in")
    return parser


def wished(arguments: argparse.Namespace) -> Wish:
    """What these options ask for. Raises BenchError for a name that there is none of."""
    every = [*QUICK, ZIPF] if arguments.quick else [*WORKLOADS, ZIPF]
    workloads = arguments.only.split(",") if arguments.only else every
    subjects = arguments.subjects.split(",") if arguments.subjects else list(SUBJECTS)
    for name in workloads:
        if name not in WORKLOADS and name != ZIPF:
            raise BenchError(f"there is no workload {name}: {', '.join([*WORKLOADS, ZIPF])}")
    for name in subjects:
        if name not in SUBJECTS:
            raise BenchError(f"there is no subject {name}: {', '.join(SUBJECTS)}")
    return Wish([name for name in SUBJECTS if name in subjects], workloads, arguments.quick)


def main() -> int:
    """Measure and print; 1 if a target was missed, 2 if there are no figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[options()],
    )
    arguments = parser.parse_args()
    end_with_servers()
    try:
        wish = wished(arguments)
        outcome = measure(wish)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    show(outcome)
    save(outcome, arguments.json, arguments.svg)
    return 0 if wish.quick else int(any(figure.missed for figure in outcome.figures))


def end_with_servers() -> None:
    """Have SIGTERM unwind this process, which ends its servers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def show(outcome: Outcome) -> None:
    """Print it all."""
    print(f"{machine.line(outcome.machine)}\n")
    print(f"{table.tables(outcome)}\n")
    for figure in outcome.figures:
        print(figure.line())
    for name, reason in outcome.skipped.items():
        print(f"{name:<58} {'-':>10} {reason}")


def save(outcome: Outcome, json_file: Path | None, svg_file: Path | None) -> None:
    """Write what there is a file for."""
    if json_file is not None:
        results.write(outcome, json_file)
    if svg_file is not None:
        svg_file.write_text(chart.chart(outcome))


if __name__ == "__main__":
    sys.exit(main())
