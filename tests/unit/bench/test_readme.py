"""The README's figures come from a command, which notices when they do not."""

import sys
from pathlib import Path

import pytest

from bench import readme
from bench.peers import results
from bench.peers.results import Outcome
from tests.unit.bench.outcomes import MACHINE, whole

PAGE = "# Title\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nmore\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    results.write(whole(), tmp_path / "docs" / "benchmark.json")
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    return path


def run(page: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    arguments = [str(page.parent / "docs" / "benchmark.json"), str(page), *options]
    monkeypatch.setattr(sys, "argv", ["readme", *arguments])
    return readme.main()


def test_the_block_is_written_and_the_rest_stays(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(page, monkeypatch) == 0
    text = page.read_text()
    assert text.startswith("# Title\n\n<!-- bench -->\n")
    assert text.endswith("\n<!-- /bench -->\n\nmore\n")
    assert "old" not in text
    assert "](docs/benchmark.svg)" in text
    assert "| handshake-proxy | 9.0 | 40.0 | 111,111 |" in text
    assert "| nginx | 16.0 |  | 62,500 |" in text
    assert "2,024 through handshake-proxy, 5,476 through nginx" in text.replace("\n", " ")
    assert "Some <Processor>" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_a_check_writes_nothing_and_notices_what_is_old(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(page, monkeypatch, "--check") == 1
    assert page.read_text() == PAGE
    assert run(page, monkeypatch) == 0
    assert run(page, monkeypatch, "--check") == 0


def test_a_page_without_a_place_is_an_error(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.write_text("# Title\n\n<!-- bench -->\n")
    with pytest.raises(ValueError, match="has no <!-- bench -->"):
        run(page, monkeypatch)


def test_what_was_not_measured_has_no_column_and_no_sentence() -> None:
    text = readme.block(Outcome(MACHINE, {}, whole().results), "chart.svg")
    assert "bulk of 1 " not in text
    assert "Zipf" not in text
    assert "squid" not in text
