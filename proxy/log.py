"""Logs: one JSON object a line. An entity is named by its ref, never by an id."""

import hashlib
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO

from store.entry import Key

# structlog imports rich where that is installed, to paint tracebacks, and none is ever logged here: it would take 35 ms
# of a start and 3 MiB for good. A module that is None can't be imported (Python reference, section 5.3.1).
_MODULES: dict[str, Any] = sys.modules
_HAS_RICH = _MODULES.setdefault("rich", None) is not None
try:
    import structlog
finally:
    if not _HAS_RICH:
        del _MODULES["rich"]

# Strictly: what is no trace id could be anything, and must not get into a log.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

Level = Literal["debug", "info", "warning", "error"]


class Refs:
    """Names for entities in logs: 12 hex digits of a keyed hash of resource and id.

    The key is the instance's own, so that lines about one entity can be found together, while a ref can't be
    computed from a known id.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, key: Key) -> str:
        """The ref of an entity."""
        text = f"{key.resource}\0{key.id}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=6).hexdigest()


def configure(level: Level, style: Literal["json", "console"], stream: TextIO | None = None) -> None:
    """Set the process's logging up: to `stream`, standard error unless told otherwise."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=False)
        if style == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; what they have to say quotes requests, so none of it is shown.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def logger() -> structlog.typing.FilteringBoundLogger:
    """The process's logger."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


class Seldom:
    """Says when a line about something that may happen many times a second is due: what happens is counted each time,
    and said now and then. `clock` gives seconds, and never steps back."""

    EVERY = 10.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, kind: str = "") -> bool:
        """Whether to say it now. `kind` is one of a fixed set of words, each of which has a time of its own."""
        now = self._clock()
        if now - self._said.get(kind, float("-inf")) < self.EVERY:
            return False
        self._said[kind] = now
        return True


def place_of(error: BaseException) -> str:
    """Where it was raised, file and line. Never the message: it may quote what was being handled."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""


def trace_id(traceparent: str) -> str | None:
    """The trace id of a W3C traceparent, for the log line of its request; None for anything else."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else None
