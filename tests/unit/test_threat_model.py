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


def test_it_says_plainly_what_is_not_ours() -> None:
    """Before anything else, and again in what is left to the operator."""
    text = " ".join(PAGE.read_text().split())
    plainly = "whose data a user may see is enforced by the attendance service's own guard"
    start, _, rest = text.partition("## What is worth protecting")
    assert (
        "Whose data a user may see is not decided here. That is enforced by the attendance service's own guard"
        in start
    )
    assert "the proxy answers whoever reaches its listener" in start
    _, _, left = rest.partition("## Left to the operator")
    assert plainly in left


def test_each_of_these_attacks_has_a_row() -> None:
    threats = " ".join(row[0] for row in _rows()).lower()
    for attack in (
        "smuggling",
        "poisoning",
        "deception",
        "splits an answer",
        "fall together",
        "json that is made to hurt",
        "somewhere else",
        "takes the upstream away from the others",
        "another's credential",
        "change of the configuration",
        "websocket",
        "core dump",
        "dns rebinding",
        "cross-site request",
        "erased can still be found",
        "known vulnerability",
    ):
        assert attack in threats, attack


def test_all_that_is_named_is_there() -> None:
    named = set(_PATHS.findall(PAGE.read_text()))
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]
