"""How far a long command has come."""

import io

import pytest

from proxy.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_is_a_line_each_hundred_thousand_rows() -> None:
    out = io.StringIO()
    progress = Progress("imported", out, has_bar=False)
    with progress.shown(250_001):
        for rows in (60_000, 60_000, 60_000, 10_000, 10_000, 50_000, 1):
            progress.advance(rows, rows)
    progress.say("done")
    assert out.getvalue() == "imported 120,000 rows\nimported 200,000 rows\ndone\n"
    assert str(progress) == "imported 250,001 rows"


def test_on_a_terminal_there_is_a_bar_which_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    progress = Progress("imported", out, has_bar=True)
    with progress.shown(200_000):
        progress.advance(200_000, 200_000)
    assert "imported 200,000 rows" in out.getvalue()
    shown = out.getvalue()
    progress.advance(100_000, 0)
    progress.say("done")
    assert out.getvalue() == f"{shown}imported 300,000 rows\ndone\n"
