r"""Inputs kept as text: a file for each target, a line for each input, each line a bytes literal of Python.

So a diff shows what an input is, and a few hundred of them are not a few hundred files.
"""

import ast
from collections.abc import Iterable
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
KEPT = Path(__file__).with_name("kept")


def read(directory: Path, target: str) -> list[bytes]:
    """The inputs that are kept for a target, in the order of the file; none if there is no file."""
    file = directory / f"{target}.txt"
    if not file.exists():
        return []
    found = [ast.literal_eval(line) for line in file.read_text("ascii").splitlines()]
    if not all(isinstance(sample, bytes) for sample in found):
        raise ValueError(f"{file}: a line is no bytes literal")
    return found


def write(directory: Path, target: str, samples: Iterable[bytes]) -> None:
    """Keep these inputs and no others, the shortest first, each once."""
    ordered = sorted(set(samples), key=lambda sample: (len(sample), sample))
    text = "".join(f"{sample!r}\n" for sample in ordered)
    (directory / f"{target}.txt").write_text(text, "ascii")
