"""An event loop whose time passes at once: whenever nothing is to be done now, it is the time of the next timer."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.on_passed: Callable[[float], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
            self.on_passed(self.now)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time` begins at 0. `on_passed(now)` is told whenever time has passed. For what opens no sockets: nobody waits
    for those."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def tell(self, on_passed: Callable[[float], None]) -> None:
        self._virtual.on_passed = on_passed
