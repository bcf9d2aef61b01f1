"""Ids and names that are chosen to fall together: the work grows with their number, not with its square."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from config.json_pointer import Pointer
from config.path_template import PathTemplate
from proxy.core import bulk, json_split
from proxy.core.http import fields

ROOT = Path(__file__).parents[2]
MANY = bulk.MAX_IDS


def _hash_of(text: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    command = [sys.executable, "-c", f"print(hash({text!r}))"]
    return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def test_hashes_of_text_are_keyed_anew_in_each_process() -> None:
    assert len({_hash_of("user-1") for _ in range(4)}) > 1


def test_nothing_that_starts_the_program_fixes_the_key() -> None:
    files = [
        ROOT / "Dockerfile",
        ROOT / "Makefile",
        *(ROOT / "k8s").rglob("*.y*ml"),
        *(ROOT / "proxy").rglob("*.py"),
    ]
    assert len(files) > 20
    fixed = [file for file in files if re.search(r"PYTHONHASHSEED|hash-seed", file.read_text())]
    assert not fixed
    # -E and -I ignore the variable, and leave the key to chance.
    assert sys.flags.hash_randomization


class _Counted(str):
    """Text that counts how often it is compared: a table that has fallen together compares all with all."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def _adversarial() -> list[str]:
    """As many ids as one request may have: alike but for case, normalisation, width, a last byte, and all very long."""
    kinds = [
        lambda n: f"user-{n}",
        lambda n: f"USER-{n}",
        lambda n: f"e\u0301-{n}",
        lambda n: f"\u00e9-{n}",
        lambda n: str(n * (2**61 - 1)),  # integers that are the same modulo the prime of Python's numbers
        lambda n: f"{n:05d}".rjust(200, "x"),
    ]
    return [kinds[number % len(kinds)](number) for number in range(MANY)]


def test_ids_of_a_request_are_compared_about_once_each() -> None:
    ids = _adversarial()
    assert len(set(ids)) == MANY
    parsed = bulk.RequestShape("userIds").parse(bulk.RequestShape("userIds").render(ids))
    assert parsed == ids
    _Counted.compared = 0
    items = [bulk.Item(_Counted(one), b"{}", {}) for one in ids]
    found, repeated = bulk.take_requested(items, map(_Counted, ids))
    assert len(found) == MANY
    assert not repeated
    assert _Counted.compared < 8 * MANY


def test_ids_that_look_alike_stay_apart() -> None:
    alike = ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "cafe", "\uff43afe", "1", "\u0661", "01", " 1", "1 "]
    shape = bulk.RequestShape("userIds")
    assert shape.parse(shape.render(alike)) == alike
    template = PathTemplate.parse("/users/{id}")
    assert [template.match(template.expand(one).encode()) for one in alike] == alike


def test_the_longest_ids_are_taken_and_no_longer_ones() -> None:
    shape = bulk.RequestShape("userIds")
    assert shape.parse(shape.render(["x" * 1024])) is not None
    assert shape.parse(shape.render(["x" * 1025])) is None
    assert shape.parse(shape.render(["\u00e9" * 513])) is None


def _steps(work: Callable[[bytes], object], text: bytes) -> int:
    """Lines of Python that a call takes."""
    steps = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal steps
        steps += event == "line"
        return trace

    before = sys.gettrace()  # coverage's own
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work(text)
    finally:
        sys.settrace(before)
    return steps


def test_the_parsers_of_ours_take_steps_in_proportion() -> None:
    """Twice the input is not more than about twice the steps."""
    shape = bulk.AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id"))
    cases: dict[str, tuple[Callable[[bytes], object], Callable[[int], bytes]]] = {
        "elements": (json_split.elements, lambda n: b"[" + b",".join([b'{"id":"\\ud800"}'] * n) + b"]"),
        "members": (
            json_split.members,
            lambda n: b"{" + b",".join(b'"%d":1' % one for one in range(n)) + b"}",
        ),
        "answer": (
            shape.parse,
            lambda n: (
                b'{"users":[' + b",".join(b'{"id":"%d"}' % one for one in range(n)) + b'],"count":%d}' % n
            ),
        ),
        "quoted list": (fields.members, lambda n: b'"a\\",", ' * n),
    }
    for name, (work, sample) in cases.items():
        small, large = _steps(work, sample(200)), _steps(work, sample(400))
        assert large < 2.5 * small, name
