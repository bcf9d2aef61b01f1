"""How far a long command has come, on standard error: a bar on a terminal, else a line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_LINE_EVERY = 100_000
"""Rows."""


class Progress:
    """Counts rows and shows it. `verb` is what happens to them, `out` where it is shown."""

    def __init__(self, verb: str, out: TextIO, *, has_bar: bool) -> None:
        self.rows = 0
        self._verb = verb
        self._out = out
        self._has_bar = has_bar
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    @contextmanager
    def shown(self, total: int | None = None) -> Iterator[None]:
        """Show it meanwhile. `total` is what `advance` will have been told of at the end, if that is known."""
        if not self._has_bar:
            yield
            return
        from rich import progress  # noqa: PLC0415 - heavy, and often there is no terminal
        from rich.console import Console  # noqa: PLC0415

        columns = (
            progress.BarColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeElapsedColumn(),
        )
        with progress.Progress(*columns, console=Console(file=self._out), transient=True) as self._bar:
            self._task = self._bar.add_task("", total=total)
            yield
        self._bar = None

    def advance(self, rows: int, done: int) -> None:
        """So many rows more; `done` is counted as the total is."""
        before, self.rows = self.rows, self.rows + rows
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=done, description=str(self))
        elif self.rows // _LINE_EVERY > before // _LINE_EVERY:
            self.say(str(self))

    def __str__(self) -> str:
        return f"{self._verb} {self.rows:,} rows"

    def say(self, text: str) -> None:
        """A line that stays."""
        self._out.write(f"{text}\n")
        self._out.flush()
