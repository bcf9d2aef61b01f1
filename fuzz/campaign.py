"""All targets, one after the other: `make fuzz FUZZ_SECONDS=60`.

Each starts from the inputs of `fuzz/corpus` and `fuzz/kept`. An input that breaks a target is added to the latter, and
the exit code is 1.
With `--keep` new inputs that reach something are kept in `fuzz/corpus`, merged down to as few as reach as much.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz import samples
from fuzz.targets import NAMES, load

_MAX_BYTES = 2048
"""Of an input. Long ones take long, and what they reach short ones reach; a nesting too deep for Python fits in."""
_SLOW = 10
"""Seconds that one input may take; it is some 20 microseconds usually, and some 10 milliseconds for `lane`."""
_GRACE = 120
"""Seconds for starting, reading the inputs that are kept, and ending."""
_MEMORY = 1024
"""MiB that a target may grow to."""
_STATS = re.compile(r"^#(\d+)\s.*?cov: (\d+) ft: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    name: str
    executions: int
    coverage: int
    """Edges that were reached, as libFuzzer counts them."""
    fresh: int
    """Inputs that reached something new."""
    found: tuple[bytes, ...]
    """Inputs that broke it."""
    log: str


def run(name: str, seconds: int, *, keep: bool) -> Outcome:
    """Fuzz one target for so long. Raises RuntimeError if the fuzzer itself fails."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        work = Path(directory)
        seeds, fresh, found = (_made(work / part) for part in ("seeds", "fresh", "found"))
        kept = [*samples.read(samples.CORPUS, name), *samples.read(samples.KEPT, name)]
        _unpack(seeds, kept)
        command = _command(work / "run", name)
        words = work / "words"
        words.write_text("".join(f'"{_escaped(token)}"\n' for token in load(name).tokens))
        code, log = _fuzz(
            command, seconds, f"-dict={words}", f"-artifact_prefix={found}/", str(fresh), str(seeds)
        )
        broke = tuple(file.read_bytes() for file in sorted(found.iterdir()))
        if code and not broke:
            raise RuntimeError(f"{name}: the fuzzer ended with {code}\n{log}")
        if broke:
            samples.write(samples.KEPT, name, [*samples.read(samples.KEPT, name), *broke])
        elif keep:
            merged = _made(work / "merged")
            _fuzz(command, _GRACE, "-merge=1", str(merged), str(seeds), str(fresh))
            samples.write(samples.CORPUS, name, [file.read_bytes() for file in merged.iterdir()])
        stats = _STATS.findall(log) or [("0", "0", "0")]
        return Outcome(name, int(stats[-1][0]), int(stats[-1][1]), len(list(fresh.iterdir())), broke, log)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _unpack(directory: Path, inputs: Sequence[bytes]) -> None:
    for number, data in enumerate(inputs):
        (directory / f"{number:04}").write_bytes(data)


def _escaped(token: bytes) -> str:
    """A word as libFuzzer's dictionaries spell it."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in token
    )


def _command(file: Path, name: str) -> Path:
    """A program that fuzzes this target."""
    file.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fuzz.run {name} "$0" "$@"\n')
    file.chmod(0o700)
    return file


def _fuzz(command: Path, seconds: int, *options: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [
            command,
            *(
                f"-max_total_time={seconds}",
                f"-max_len={_MAX_BYTES}",
                f"-timeout={_SLOW}",
                f"-rss_limit_mb={_MEMORY}",
            ),
            *options,
        ],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + _GRACE,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets that are asked for; 1 if one of them is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.campaign", description="Fuzz the program's parsers."
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all ({', '.join(NAMES)})")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--keep", action="store_true", help="add what reaches something new to the corpus")
    given = parser.parse_args(arguments)
    broken = 0
    for name in given.targets or NAMES:
        outcome = run(name, given.seconds, keep=given.keep)
        print(
            f"{name:14} {outcome.executions:9,} runs, {outcome.coverage:4} edges, {outcome.fresh:4} new inputs, "
            f"{len(outcome.found)} findings",
            flush=True,
        )
        for data in outcome.found:
            broken += 1
            print(f"{outcome.log}\n{name} is broken by {data!r}, which is now in fuzz/kept", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
