"""What a handler gives back: the answer, and the words for metrics and log."""

from dataclasses import dataclass

from proxy.messages import Answer
from proxy.metrics import Cache


@dataclass(frozen=True, slots=True)
class Served:
    """An answer, with the configured route that it came by and what the cache had to do with it."""

    answer: Answer
    route: str
    cache: Cache
    ref: str | None = None
    """The entity's ref for the log, if the answer is about one."""
