"""Tables each pair of which is dear to try: in CI all of them, on a developer's machine each row once."""

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

Row = TypeVar("Row")
Column = TypeVar("Column")


def in_turn(rows: Iterable[Row], columns: Sequence[Column]) -> list[tuple[Row, Column]]:
    """In CI each row with each column; elsewhere each row with one column, and the columns take turns."""
    if os.environ.get("CI"):
        return [(row, column) for row in rows for column in columns]
    return [(row, columns[number % len(columns)]) for number, row in enumerate(rows)]
