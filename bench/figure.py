"""What a measurement comes to, for people and for programs."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str
    target: float | None = None
    """At most this much, if there is a target."""

    @property
    def missed(self) -> bool:
        """Whether there is a target, and it was not reached."""
        return self.target is not None and self.value > self.target

    def line(self) -> str:
        """For a person."""
        target = "" if self.target is None else f"target {self.target:g} {self.unit}"
        verdict = "" if self.target is None else ("  MISSED" if self.missed else "  ok")
        return f"{self.name:<58} {self.value:>10.3f} {self.unit:<6} {target}{verdict}"


def report(figures: Sequence[Figure], file: Path | None) -> int:
    """Print a table, and write the figures as JSON if there is a file for them; 1 if a target was missed."""
    print(f"Python {platform.python_version()}, {platform.machine()}\n")
    for figure in figures:
        print(figure.line())
    if file is not None:
        file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    return int(any(figure.missed for figure in figures))
