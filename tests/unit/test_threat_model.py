"""The threat model is about what there is: each module and each test that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threat-model.md"
_PATHS = re.compile(
    r"`((?:config|store|proxy|tests|k8s|requirements|supply)/[\w./-]+|Dockerfile|pyproject\.toml)`"
)


def _rows() -> list[list[str]]:
    """The cells of each threat: what it is, what protects, where, which test, what is left."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if len(row) == 5 and row[0] != "threat"]


def test_each_threat_names_code_and_a_test() -> None:
    rows = _rows()
    assert len(rows) > 25
    for threat, protection, code, test, _ in rows:
        assert protection, threat
        assert _PATHS.findall(code), threat
        assert not any(path.startswith("tests/") for path in _PATHS.findall(code)), threat
        named = _PATHS.findall(test)
        assert named, threat
        assert all(re.fullmatch(r"tests/.*/test_\w+\.py", path) for path in named), threat


def test_all_that_is_named_is_there() -> None:
    named = set(_PATHS.findall(PAGE.read_text()))
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]
