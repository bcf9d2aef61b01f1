"""One operation of a database: how long it took, and what its failure is to whoever asked for it."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from types import TracebackType

from store.base import StoreError
from store.sqlite_files import FOREIGN_ERRORS, store_error

OnOperation = Callable[[str, float, bool], None]


class Operation:
    """The context of one operation. `on_end(name, seconds, ok)` is told of it, unless its caller goes away: the
    operation itself goes on then. What the driver raises, of which `on_failure` is told, becomes a StoreError."""

    __slots__ = ("_name", "_on_end", "_on_failure", "_started")

    def __init__(
        self, name: str, *, on_end: OnOperation, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._name = name
        self._on_end = on_end
        self._on_failure = on_failure

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._on_end(self._name, perf_counter() - self._started, True)  # noqa: FBT003 - the hook's shape
        elif isinstance(error, asyncio.CancelledError):
            return
        elif isinstance(error, FOREIGN_ERRORS):
            self._on_failure(error)
            self._on_end(self._name, perf_counter() - self._started, False)  # noqa: FBT003 - the hook's shape
            raise store_error(self._name, error) from None
        elif isinstance(error, StoreError):
            self._on_end(self._name, perf_counter() - self._started, False)  # noqa: FBT003 - the hook's shape
