"""The audit: some of the copies that are served are compared with what the upstream has (proxy/core/auditing.py).

What is compared is asked of the upstream by a call of its own, soon after it was served, and several of a resource by
one call. The call is a fetch like any other, so that what it brings is kept: who audits all renews all. Requests do not
wait for it, and are not counted by it.

A copy counts once for each second of the clock in which it is served: the fast lane, which answers thousands of
requests out of one head, looks at the copy as often.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from math import floor

from msgspec import Struct

from config.model import AuditConfig
from proxy.core.auditing import Verdict, compare
from proxy.loader import Loader, Want
from proxy.metrics import Metrics
from proxy.outcomes import as_data, representations
from proxy.results import Loaded, Missing
from store.entry import Entry, Key
from store.tiered import TieredStore

OnServed = Callable[[Iterable[Entry], float], None]
"""Told of copies that are served at a time, in epoch seconds."""

_NAME = "audit"


class _Served(Struct, frozen=True):
    """A copy as it was served, and when, in epoch seconds."""

    entry: Entry
    at: float


class Auditor:
    """Compares copies of any number of resources. `rng` gives a number in [0, 1), `sleep` waits so many seconds;
    `on_crash(name, error)` is told of a defect, after which it goes on."""

    def __init__(
        self,
        config: AuditConfig,
        *,
        metrics: Metrics,
        rng: Callable[[], float],
        on_crash: Callable[[str, BaseException], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ratio = config.sample_ratio
        self._every = 1 / config.max_rate
        self._metrics = metrics
        self._rng = rng
        self._on_crash = on_crash
        self._sleep = sleep
        self._due: dict[_Audited, None] = {}  # in the order in which they are called
        self._is_due = asyncio.Event()

    def of(
        self, loader: Loader, store: TieredStore, *, at_once: int, may_call: Callable[[], bool]
    ) -> OnServed:
        """Have a resource audited by who is given its copies as they are served. One call asks for `at_once` of them
        at the most; `may_call`: whether the upstream is well enough to be asked for what nobody waits for."""
        self._metrics.audits(loader.name)
        return _Audited(loader, store, at_once, may_call, self._is_sampled, self._add).served

    async def run(self) -> None:
        """Compare what is sampled, one call after the other, until cancelled."""
        while True:
            await self._is_due.wait()
            try:
                await self._call()
            except Exception as error:  # noqa: BLE001 - a defect in one round must not be the end of all
                self._on_crash(_NAME, error)
            await self._sleep(self._every)

    async def _call(self) -> None:
        audited = next(iter(self._due))
        del self._due[audited]
        if not self._due:
            self._is_due.clear()
        for verdict in await audited.compared():
            self._metrics.audited(audited.name, verdict)

    def _is_sampled(self) -> bool:
        return self._rng() < self._ratio

    def _add(self, audited: "_Audited") -> None:
        self._due[audited] = None
        self._is_due.set()


class _Audited:
    """The copies of one resource that are to be compared by the next call."""

    def __init__(
        self,
        loader: Loader,
        store: TieredStore,
        at_once: int,
        may_call: Callable[[], bool],
        is_sampled: Callable[[], bool],
        on_due: Callable[["_Audited"], None],
    ) -> None:
        self.name = loader.name
        self._loader = loader
        self._store = store
        # What the next call can't carry would wait for one after it, and be compared when it was long served.
        self._at_once = at_once
        self._may_call = may_call
        self._is_sampled = is_sampled
        self._on_due = on_due
        self._queue: dict[str, _Served] = {}
        self._second = 0
        self._counted: set[int] = set()  # by hash: who was erased is not to be found here

    def served(self, entries: Iterable[Entry], now: float) -> None:
        """These representations answer a request at `now` (epoch seconds)."""
        if floor(now) != self._second:
            self._second = floor(now)
            self._counted.clear()
        for entry in entries:
            _, entity, variant = entry.key
            name = hash(entity)
            # One with a variant is seen by those with the right fields alone, and there are none to ask with.
            if variant or name in self._counted:
                continue
            self._counted.add(name)
            if self._is_sampled() and len(self._queue) < self._at_once:
                self._queue.setdefault(entity, _Served(entry, now))
                self._on_due(self)

    async def compared(self) -> list[Verdict]:
        """Ask the upstream, and say what it makes of what was served. Nothing, while it is not to be asked."""
        queue, self._queue = self._queue, {}
        if not self._may_call():
            return []
        standing = {entity: entry for entity in queue if (entry := self._standing(entity)) is not None}
        if not standing:
            return []
        want = Want(list(standing), representations(standing), as_data=True, anew=True, forced=True)
        results = as_data(await self._loader.load(want))
        verdicts = []
        for entity, result in results.items():
            served = queue[entity]
            if isinstance(result, Loaded | Missing):
                verdicts.append(compare(served.entry, result.entry, served.at))
            else:
                verdicts.append(Verdict("failed"))
        return verdicts

    def _standing(self, entity: str) -> Entry | None:
        """What memory has of an entity now, which may be newer than what was served. None when it was invalidated or
        erased since: that says nothing of what was served before, and who was erased is not asked for."""
        entry = self._store.memory.look_at(Key(self.name, entity))
        return None if entry is None or (entry.item is None and not entry.absent) else entry
