"""What a soak came to, for people and for programs."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from bench.soak.run import Outcome
from bench.soak.watch import EARLY, LATE, MOST_GROWTH, growth, part

_ENOUGH = 300.0
"""Seconds from which on growth is judged: a shorter run ends before the tiers, caches and pools are full."""
_LINES = 12


def judge_growth(outcome: Outcome) -> float | None:
    """How much resident memory grew; None if the run was too short. Too much of it is a violation."""
    if outcome.plan.seconds < _ENOUGH:
        return None
    grown = growth(outcome.moments, "resident")
    if grown >= MOST_GROWTH:
        outcome.verdicts.violation(
            outcome.verdicts.started + outcome.plan.seconds,
            "resident memory grows",
            "process",
            f"by {grown:.2%}",
        )
    return grown


def report(outcome: Outcome, file: Path | None) -> int:
    """Print tables, and write all of it as JSON if there is a file for it; 1 if anything was wrong."""
    grown = judge_growth(outcome)
    verdicts = outcome.verdicts
    print(f"{outcome.plan.seconds:g} s, seed {outcome.plan.seed}, {verdicts.requests.total():,} requests\n")
    for title, counts in _counters(outcome).items():
        print(f"{title}:\n  " + ", ".join(f"{name} {count:,}" for name, count in counts.most_common()))
    _print_curve(outcome)
    if grown is None:
        print(f"\nresident memory: too short a run to judge its growth (at least {_ENOUGH:g} s)")
    else:
        print(
            f"\nresident memory: {grown:+.2%} from the median of {EARLY[0]:.0%} to {EARLY[1]:.0%} of the run to that "
            f"of its last {LATE[1] - LATE[0]:.0%} (bound: below {MOST_GROWTH:.0%})"
        )
    for violation in verdicts.violations:
        print(f"VIOLATION at {violation.at} s, {violation.place}: {violation.kind} {violation.detail}")
    print(f"\n{verdicts.wrong} violations (repeat with SOAK_SEED={outcome.plan.seed})")
    if file is not None:
        file.write_text(json.dumps(_document(outcome, grown), indent=1) + "\n")
    return int(verdicts.wrong > 0)


def _counters(outcome: Outcome) -> dict[str, Counter[str]]:
    verdicts = outcome.verdicts
    return {
        "requests by kind": verdicts.requests,
        "answers by status": verdicts.answers,
        "answers by Cache-Status": verdicts.caches,
        "held against the model": verdicts.judged,
        "failures that a fault excuses": verdicts.excused,
        "calls of the upstream": Counter(outcome.upstream_calls),
        "faults played": outcome.trouble.played,
        "calls that met one": outcome.trouble.met,
    }


def _print_curve(outcome: Outcome) -> None:
    print(
        "\n  second   resident MiB  descriptors  threads  tasks  memory tier  database MiB  upstream connections"
    )
    step = max(1, len(outcome.moments) // _LINES)
    for moment in (outcome.first, *outcome.moments[::step], outcome.quiet):
        print(
            f"  {moment.second:>6.0f}  {moment.resident / 2**20:>13.2f}  {moment.descriptors:>11}  {moment.threads:>7}"
            f"  {moment.tasks:>5}  {moment.memory_bytes:>11}  {moment.store_bytes / 2**20:>12.2f}"
            f"  {moment.upstream_connections:>20}"
        )
    for name in ("descriptors", "tasks"):
        values = [getattr(moment, name) for moment in part(outcome.moments, (0.0, 1.0))]
        print(f"  {name}: {getattr(outcome.first, name)} before, {max(values)} at the most, "
              f"{getattr(outcome.quiet, name)} after")  # fmt: skip


def _document(outcome: Outcome, grown: float | None) -> dict[str, object]:
    return {
        "seconds": outcome.plan.seconds,
        "seed": outcome.plan.seed,
        "resident_growth": grown,
        "erased": outcome.erased,
        "violations": outcome.verdicts.wrong,
        "first_violations": [asdict(violation) for violation in outcome.verdicts.violations],
        "faults": [
            (fault, round(begin - outcome.verdicts.started, 1), round(end - outcome.verdicts.started, 1))
            for fault, begin, end in outcome.trouble.history
        ],
        "moments": [asdict(moment) for moment in (outcome.first, *outcome.moments, outcome.quiet)],
        "metrics": outcome.samples,
        **{title: dict(counts) for title, counts in _counters(outcome).items()},
    }
