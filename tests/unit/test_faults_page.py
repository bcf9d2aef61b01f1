"""The table of faults in docs/operations.md is about tests that there are, and has a row for each that it must have."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)?::(test_\w+)`")


def _rows() -> list[list[str]]:
    """The cells of each fault: what it is, what clients get, what is logged, which metric, how it heals, which test."""
    faults = PAGE.read_text().split("\n## Faults\n")[1].split("\n## ")[0]
    lines = [line for line in faults.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] != "fault"]


def test_each_fault_says_all_of_it_and_names_a_test_that_there_is() -> None:
    rows = _rows()
    assert len(rows) > 50
    for row in rows:
        assert len(row) == 6, row[0]
        assert all(row), row[0]
        named = _TEST.findall(row[5])
        assert named, row[0]
        module = ""
        for path, name in named:
            module = path or module
            assert re.search(rf"^\s*(?:async )?def {name}\(", (ROOT / module).read_text(), re.MULTILINE), row[
                0
            ]


def test_each_log_event_and_metric_of_a_fault_is_on_the_page() -> None:
    page = PAGE.read_text().split("\n## Faults\n")[0]
    named = {
        word for row in _rows() for cell in row[2:4] for word in re.findall(r"`([a-z_]+)(?:\{[^`]*)?`", cell)
    }
    assert {"store_set_aside", "upstream_errors_total", "draining"} <= named
    missing = sorted(word for word in named if not re.search(rf"\b{word}\b", page))
    assert not missing
