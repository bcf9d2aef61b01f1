"""The processor time of a request as a bar chart in SVG, which can be read in light and dark."""

from xml.sax.saxutils import escape

from bench.peers import machine
from bench.peers.results import Outcome
from bench.peers.subjects import FLOOR, OURS, SUBJECTS
from bench.peers.workloads import WORKLOADS

_WIDTH = 760
_LEFT = 200
"""Where the bars begin; the names stand before."""
_LONGEST = _WIDTH - _LEFT - 90
"""A bar of the largest value; the value stands behind."""
_BAR, _STEP = 14, 20
_HEAD, _GAP, _TITLE = 66, 14, 24
_WRAP = 105
"""Characters of the machine's line that fit."""

_STYLE = """
    :root { color-scheme: light dark; --ink: #1f2933; --soft: #52606d; --peer: #9aa5b1; --ours: #0b7a53;
      --floor: #cbd2d9; }
    @media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3b0bd; --peer: #616e7c; --ours: #4cc38a;
      --floor: #3e4c59; } }
    text { font: 13px system-ui, sans-serif; fill: var(--ink); }
    .name { text-anchor: end; } .title { font-weight: 600; font-size: 15px; } .group { font-weight: 600; }
    .soft { fill: var(--soft); font-size: 11.5px; }
    .ours { fill: var(--ours); } .peer { fill: var(--peer); } .floor { fill: var(--floor); }"""


def chart(outcome: Outcome) -> str:
    """One group of bars for each workload whose cost is that of a request. Each group has its own scale."""
    body: list[str] = []
    top = _HEAD
    for workload in WORKLOADS.values():
        results = [one for name in SUBJECTS if (one := outcome.of(workload.name, name)) is not None]
        if workload.large or len(results) < 2:
            continue
        body.append(f'<text class="group" x="{_LEFT}" y="{top + 15}">{escape(workload.title)}</text>')
        top += _TITLE
        largest = max(one.cpu_us for one in results)
        for one in results:
            body.append(_bar(one.subject, one.cpu_us, one.cpu_us / largest * _LONGEST, top))
            top += _STEP
        top += _GAP
    for text in _wrapped(machine.line(outcome.machine)):
        body.append(f'<text class="soft" x="16" y="{top + 12}">{escape(text)}</text>')
        top += 16
    return _page(body, top + 12)


def _bar(name: str, value: float, width: float, top: int) -> str:
    kind = "floor" if name == FLOOR else "ours" if name.startswith(OURS) else "peer"
    base = top + _BAR - 2
    return (
        f'<text class="name" x="{_LEFT - 8}" y="{base}">{escape(name)}</text>'
        f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
        f'<text x="{_LEFT + width + 6:.1f}" y="{base}">{value:,.1f} µs</text>'
    )


def _page(body: list[str], height: int) -> str:
    lines = "\n  ".join(body)
    title = "Processor time of the server for each request"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"
    aria-labelledby="title desc">
  <title id="title">{title}</title>
  <desc id="desc">Horizontal bars, in microseconds for a request: for each workload one bar for each server.</desc>
  <style>{_STYLE}
  </style>
  <text class="title" x="16" y="26">{title}</text>
  <text class="soft" x="16" y="46">Microseconds on one core; shorter is better. Each group has its own scale.</text>
  {lines}
</svg>
"""


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= _WRAP:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
