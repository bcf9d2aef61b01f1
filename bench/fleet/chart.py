"""What a fleet asks of the owner, by its size: a chart in SVG, which can be read in light and dark."""

from collections.abc import Callable, Sequence
from math import log10

from bench.fleet.document import Document
from bench.fleet.load import DAY
from bench.fleet.outcome import NAMES, Outcome, Way
from bench.fleet.tables import rate, short

_WIDTH, _HEIGHT = 820, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 220, 84, 56
_AXES = (100_000, 1_000_000, 10_000_000)
"""Users: each size has an axis of its own, at the right."""

_STYLE = """
    :root { color-scheme: light dark; --ink: #1f2933; --soft: #52606d; --grid: #d5dbe1; --none: #7b8794;
      --pod: #b7791f; --shared: #0b7a53; }
    @media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3b0bd; --grid: #3e4c59; --none: #9aa5b1;
      --pod: #e0a84e; --shared: #4cc38a; } }
    text { font: 13px system-ui, sans-serif; fill: var(--ink); }
    .title { font-weight: 600; font-size: 15px; } .soft { fill: var(--soft); font-size: 11.5px; }
    .grid { stroke: var(--grid); stroke-width: 1; } .line { fill: none; stroke-width: 2.5; }
    .none { stroke: var(--none); } .per-pod { stroke: var(--pod); } .shared { stroke: var(--shared); }
    .rollout { stroke-dasharray: 3 5; }"""

_LINES: tuple[tuple[Way, str, str, Callable[[Outcome], float]], ...] = (
    ("none", "none", NAMES["none"], lambda one: one.upstream_ids),
    ("per pod", "per-pod rollout", "SQLite in each pod, after a rollout", lambda one: one.rollout_ids),
    ("per pod", "per-pod", NAMES["per pod"], lambda one: one.upstream_ids),
    ("shared", "shared", NAMES["shared"], lambda one: one.upstream_ids),
)


def chart(document: Document) -> str:
    """Ids for a user a day at the left, ids a second of so many users at the right, against replicas."""
    replicas = document.replicas()
    lines = [
        (classes, name, [(count, value(one)) for count in replicas if (one := document.of(way, count))])
        for way, classes, name, value in _LINES
    ]
    most = max(value for _, _, points in lines for _, value in points)
    body = [*_head(document, replicas), *_grid(most), *_axis(replicas)]
    for place, (classes, name, points) in enumerate(lines):
        path = " ".join(f"{_x(count, replicas):.1f},{_y(value, most):.1f}" for count, value in points)
        body.append(f'<polyline class="line {classes}" points="{path}"/>')
        x, y = _LEFT + (place % 2) * 190, 56 + (place // 2) * 18
        body.append(f'<line class="line {classes}" x1="{x}" x2="{x + 26}" y1="{y - 4}" y2="{y - 4}"/>')
        body.append(f'<text class="soft" x="{x + 32}" y="{y}">{name}</text>')
    drawn = "\n  ".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
        f' height="{_HEIGHT}" role="img" aria-label="Ids that the owner of the users is asked for, by the'
        f' number of replicas">\n  <style>{_STYLE}\n  </style>\n  {drawn}\n</svg>\n'
    )


def _head(document: Document, replicas: Sequence[int]) -> list[str]:
    one = document.of("none", replicas[0])
    lookups = f", of {one.lookups:.0f} look-ups" if one else ""
    axes = _soft(_WIDTH - 22, _TOP - 24, "ids a second, of", "end")
    return [
        f'<text class="title" x="{_LEFT}" y="28">Ids asked of the owner for a user a day{lookups}</text>',
        axes,
    ]


def _grid(most: float) -> list[str]:
    body = []
    right = _WIDTH - _RIGHT
    for place, users in enumerate(_AXES):
        x = right + 62 + 68 * place
        body.append(_soft(x, _TOP - 6, f"{short(users)} users", "end"))
    for step in range(0, int(most) + 1, 5):
        y = _y(step, most)
        body.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(_soft(_LEFT - 8, y + 4, str(step), "end"))
        for place, users in enumerate(_AXES):
            body.append(_soft(right + 62 + 68 * place, y + 4, rate(step * users / DAY), "end"))
    return body


def _axis(replicas: Sequence[int]) -> list[str]:
    body = [_soft(_x(count, replicas), _HEIGHT - _BOTTOM + 20, f"{count:,}", "middle") for count in replicas]
    return [*body, _soft((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, "replicas", "middle")]


def _soft(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="soft" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _x(count: int, replicas: Sequence[int]) -> float:
    span = log10(replicas[-1]) - log10(replicas[0]) or 1.0
    return _LEFT + (log10(count) - log10(replicas[0])) / span * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - value / (most * 1.05) * (_HEIGHT - _TOP - _BOTTOM)
