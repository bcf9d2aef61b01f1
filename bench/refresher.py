"""What the refresher is worth: `make bench-refresher`, some four minutes.

10,000 users that change at their owner are asked for by Zipf's law, with the refresher and without it, in simulated
time: the upstream is played, the rest is real. The figures do not depend on the machine.
"""

import sys

from tests.unit.zipf import Case, compared

HOUR = 3600.0
CASES = (
    ("24 h", "24 h", Case(24 * HOUR, 1, 24 * HOUR, settled=2 * HOUR, end=4 * HOUR, interval="60s")),
    ("24 h", "1 h", Case(24 * HOUR, 1, HOUR, settled=2 * HOUR, end=4 * HOUR, interval="60s")),
    ("10 min", "10 min", Case(600, 50, 600, settled=120, end=360, interval="10s")),
    ("10 min", "100 min", Case(600, 10, 6000, settled=200, end=1000, interval="10s")),
    ("5 min", "5 min", Case(300, 100, 300, settled=120, end=360, interval="5s")),
    ("1 min", "1 min", Case(60, 1000, 60, settled=20, end=40, interval="1s")),
)


def main() -> int:
    """Print the table."""
    print(
        "| lifetime | requests a second | each user changes once in | out of date without | with | ratio | calls |"
    )
    print("|---|--:|---|--:|--:|--:|--:|")
    for lifetime, changes, case in CASES:
        without, refreshed = compared(case, seed=9)
        ratio, calls = refreshed.share / without.share, refreshed.calls / without.calls
        shares = f"{without.share:.1%} | {refreshed.share:.1%} | {ratio:.2f} | {calls:.0%}"
        print(f"| {lifetime} | {case.per_second:,.0f} | {changes} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
