"""One operation of a database: how long it took, and what its failure is to whoever asked for it."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from types import TracebackType

from store.base import StoreError

OnOperation = Callable[[str, float, bool], None]


class Operation:
    """The context of one operation. `on_end(name, seconds, ok)` is told of it, unless its caller goes away: the
    operation itself goes on then. What the driver raises, which is one of `foreign` and of which `on_failure` is told,
    becomes the StoreError that `as_ours(name, error)` makes of it."""

    __slots__ = ("_as_ours", "_foreign", "_name", "_on_end", "_on_failure", "_started")

    def __init__(
        self,
        name: str,
        *,
        on_end: OnOperation,
        on_failure: Callable[[BaseException], None],
        foreign: tuple[type[BaseException], ...],
        as_ours: Callable[[str, BaseException], StoreError],
    ) -> None:
        self._name = name
        self._on_end = on_end
        self._on_failure = on_failure
        self._foreign = foreign
        self._as_ours = as_ours

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._on_end(self._name, perf_counter() - self._started, True)  # noqa: FBT003 - the hook's shape
        elif isinstance(error, asyncio.CancelledError):
            return
        elif isinstance(error, self._foreign):
            self._on_failure(error)
            self._on_end(self._name, perf_counter() - self._started, False)  # noqa: FBT003 - the hook's shape
            raise self._as_ours(self._name, error) from None
        elif isinstance(error, StoreError):
            self._on_end(self._name, perf_counter() - self._started, False)  # noqa: FBT003 - the hook's shape
