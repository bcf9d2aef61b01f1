"""Pages that are generated: written by `make docs`, compared by `make check`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write_or_check(
    page: Callable[[], str], arguments: Sequence[str] | None, *, module: str, about: str | None, source: str
) -> int:
    """Write the page to the file that the arguments name, or compare it with `--check`; the exit status.

    `source` is what the page is made of, for the message about one that is out of date.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    file: Path = options.file
    text = page()
    if not options.check:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{file} is not what {source} says: run `make docs`\n")
    return 1
