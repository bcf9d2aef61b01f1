"""What a fleet asks of the owner, by its size: a chart in SVG, which can be read in light and dark, and a table."""

from collections.abc import Mapping, Sequence
from math import log10

from bench.fleet.model import DAY, Outcome, Way

Results = Mapping[tuple[Way, int], Outcome]

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 130, 56, 60
NAMES: dict[Way, str] = {"none": "no proxy", "per pod": "SQLite in each pod", "shared": "shared PostgreSQL"}

_STYLE = """
    :root { color-scheme: light dark; --ink: #1f2933; --soft: #52606d; --grid: #d5dbe1; --none: #9aa5b1;
      --pod: #b7791f; --shared: #0b7a53; }
    @media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3b0bd; --grid: #3e4c59; --none: #616e7c;
      --pod: #e0a84e; --shared: #4cc38a; } }
    text { font: 13px system-ui, sans-serif; fill: var(--ink); }
    .title { font-weight: 600; font-size: 15px; } .soft { fill: var(--soft); font-size: 11.5px; }
    .grid { stroke: var(--grid); stroke-width: 1; } .line { fill: none; stroke-width: 2.5; }
    .none { stroke: var(--none); } .per-pod { stroke: var(--pod); } .shared { stroke: var(--shared); }"""


def chart(results: Results) -> str:
    """Calls for a user a day, against replicas on a logarithmic scale; one line a way."""
    replicas = sorted({count for _, count in results})
    most = max(outcome.upstream_ids for outcome in results.values())
    body = [
        f'<text class="title" x="{_LEFT}" y="24">How often a user is asked of the owner, a day</text>',
        f'<text class="soft" x="{_LEFT}" y="42">{_explained(results)}</text>',
    ]
    for step in range(0, int(most) + 1, 5):
        y = _y(step, most)
        body.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="soft" text-anchor="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{step}</text>')
    for count in replicas:
        x = _x(count, replicas)
        body.append(
            f'<text class="soft" text-anchor="middle" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 20}">{count:,}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    body.append(f'<text class="soft" text-anchor="middle" x="{middle}" y="{_HEIGHT - 18}">replicas</text>')
    for way, name in NAMES.items():
        points = [(count, results[way, count].upstream_ids) for count in replicas if (way, count) in results]
        path = " ".join(f"{_x(count, replicas):.1f},{_y(value, most):.1f}" for count, value in points)
        body.append(f'<polyline class="line {way.replace(" ", "-")}" points="{path}"/>')
        y = _y(points[-1][1], most) + (14 if way == "per pod" else 0)
        body.append(f'<text x="{_WIDTH - _RIGHT + 8}" y="{y + 4:.1f}">{name}</text>')
    lines = "\n  ".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
        f' height="{_HEIGHT}" role="img" aria-label="How often a user is asked of the owner a day, by the number of'
        f' replicas">\n  <style>{_STYLE}\n  </style>\n  {lines}\n</svg>\n'
    )


def table(results: Results, users: Sequence[int]) -> str:
    """In Markdown: what the owner is asked, by the size of the fleet and the number of users, and what else differs."""
    replicas = sorted({count for _, count in results})
    heads = [f"{_short(count)} users" for count in users]
    lines = [
        "| replicas | store | asked of the owner, a user a day | "
        + " | ".join(heads)
        + " | wait for the owner |"
    ]
    lines[0] += (
        " in the hour of a rollout | out of date though a replica was told | database calls, a user a day |"
    )
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    for count in replicas:
        for way, name in NAMES.items():
            one = results.get((way, count))
            if one is None:
                continue
            rates = [f"{one.upstream_ids * number / DAY:,.2f}/s" for number in users]
            told = (
                f"{one.told_stale:.2%}, up to {one.told_longest / 3600:.0f} h" if one.told_stale else "none"
            )
            cells = [f"{count:,}", name, f"{one.upstream_ids:.2f}", *rates, f"{one.waits:.1%}"]
            cells += [f"{one.rollout_ids:.1f}", told, f"{sum(one.database_calls.values()):.1f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _explained(results: Results) -> str:
    lookups = next(outcome.lookups for (way, _), outcome in results.items() if way == "none")
    return f"of {lookups:.0f} look-ups a day; for 100,000 users once a day is 1.2 a second"


def _short(count: int) -> str:
    return f"{count // 1_000_000} M" if count >= 1_000_000 else f"{count // 1_000} k"


def _x(count: int, replicas: Sequence[int]) -> float:
    span = log10(replicas[-1]) - log10(replicas[0]) or 1.0
    return _LEFT + (log10(count) - log10(replicas[0])) / span * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - value / (most * 1.05) * (_HEIGHT - _TOP - _BOTTOM)
