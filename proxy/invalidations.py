"""Invalidations: counted, and the last of them kept for people to look at, by ref and never by id."""

from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from proxy.log import Refs
from proxy.metrics import Metrics
from store.entry import Key

# Enough to see what a burst was about.
_KEPT = 50


class Invalidation(Struct, frozen=True):
    """One entity was invalidated."""

    at: float
    """Epoch seconds."""
    resource: str
    source: str
    ref: str
    """What the log calls the entity: an id would outlive its erasure here."""


class Invalidations:
    """Those of one process. `clock` gives epoch seconds."""

    def __init__(self, metrics: Metrics, refs: Refs, *, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._refs = refs
        self._clock = clock
        self._last: deque[Invalidation] = deque(maxlen=_KEPT)

    def note(self, key: Key, source: str) -> None:
        """An entity is invalidated; `source` is a fixed word."""
        self._metrics.invalidated(key.resource, source)
        self._last.append(Invalidation(self._clock(), key.resource, source, self._refs.of(key)))

    def recent(self) -> Sequence[Invalidation]:
        """The last 50, the newest first."""
        return tuple(reversed(self._last))
