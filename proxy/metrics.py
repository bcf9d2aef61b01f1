"""Everything that Prometheus sees, in one place; the rest of the program calls methods here.

Label sets are closed: configured names and fixed words, never a path or an id. To add a metric, add it here, call it
where the thing happens, and add its row to the table in docs/operations.md (a test compares the two).
"""

from collections import Counter as Counts
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from proxy import __version__
from proxy.core.auditing import AuditResult, Verdict
from proxy.core.circuit import State
from proxy.tallies import Spread, Tally, add

Cache = Literal["hit", "stale", "miss", "revalidated", "negative", "partial", "bypass", "none", "error"]
EntityResult = Literal["hit", "stale", "negative", "miss", "error"]
RefreshResult = Literal["changed", "unchanged", "absent", "failed"]

_PREFIX = "handshake_proxy"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
# From what a hit costs to beyond the application's own time-out of 5 s.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# From just fetched to the end of the default stale_if_error.
_AGES = (1, 10, 60, 600, 3600, 21600, 86400, 604800, 2592000, 7776000)

K = TypeVar("K")


class Sample(NamedTuple):
    """One number, its name without the prefix; of a histogram each bucket is one, cumulative, with the label `le`."""

    name: str
    labels: Mapping[str, str]
    value: float


class Metrics:
    """The metrics of one process, in a registry of its own; `is_shared`: with those of a store that replicas share."""

    def __init__(self, *, is_shared: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = self._counter("requests", "Requests answered.", "route", "method", "code", "cache")
        self._duration = self._histogram("request_duration_seconds", "Time to answer.", "route", "cache")
        self._requests_took: dict[tuple[str, str, int, str], Spread] = {}
        self._counters: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._entities = self._counter(
            "entities", "Ids asked for, by how each was answered.", "resource", "result"
        )
        self._misses = self._counter("misses", "Why ids had to be fetched.", "resource", "reason")
        self._age = self._histogram(
            "entity_age_seconds", "Age of the oldest entity in an answer.", "resource", buckets=_AGES
        )
        self._served_ages: dict[str, Spread] = {}
        self._answered: Counts[tuple[str, EntityResult]] = Counts()
        self._looked_up: Counts[tuple[str, str, str]] = Counts()
        self._tallies: dict[tuple[str, str, int, str], Tally] = {}
        self._lookups = self._counter("lookups", "Look-ups of ids by tier.", "resource", "tier", "result")
        self._upstream = self._counter("upstream_requests", "Upstream answers.", "upstream", "route", "code")
        self._upstream_duration = self._histogram(
            "upstream_request_duration_seconds", "Time until an upstream had answered.", "upstream", "route"
        )
        self._upstreams_took: dict[tuple[str, str, int], Spread] = {}
        self._upstream_errors = self._counter(
            "upstream_errors", "Upstream calls without a usable answer.", "upstream", "reason"
        )
        self._upstream_retries = self._counter(
            "upstream_retries", "Upstream calls that were tried again.", "upstream"
        )
        self._circuit = self._gauge(
            "upstream_circuit_state", "1 for the state of the circuit breaker.", "upstream", "state"
        )
        self._upstream_ids = self._counter("upstream_ids", "Ids asked of upstreams.", "resource")
        self._coalesced = self._counter("coalesced_ids", "Ids that joined a fetch under way.", "resource")
        self._stored = self._gauge("stored_entities", "Entities held, in the most durable tier.", "resource")
        self._stale = self._gauge("stale_entities", "Entities held past their freshness.", "resource")
        self._memory = self._gauge("memory_bytes", "Bytes accounted to the memory tier.")
        self._memory_max = self._gauge("memory_max_bytes", "Bound of the memory tier.")
        self._store_bytes = self._gauge("store_bytes", "Bytes of the database's files.")
        self._store_max = self._gauge("store_max_bytes", "Bound of the database.")
        self._evictions = self._counter(
            "evictions", "Entities dropped to keep a bound.", "resource", "reason"
        )
        self._invalidations = self._counter("invalidations", "Entities invalidated.", "resource", "source")
        self._webhook_events = self._counter("webhook_events", "Events sent here.", "type", "outcome")
        self._invalidation_lag = self._gauge(
            "invalidation_lag_seconds", "How long the oldest invalidation has waited to be durable."
        )
        self._log_lag: Gauge | None = None
        self._log_heard: Gauge | None = None
        if is_shared:
            self._log_lag = self._gauge(
                "change_log_lag_seconds", "How long it is not known what other replicas have changed."
            )
            self._log_heard = self._gauge(
                "change_log_listening", "1 while this replica is told of what others change, as they do."
            )
        self._store_seconds = self._histogram(
            "store_operation_seconds", "Time of database calls.", "operation"
        )
        self._stores_took: dict[str, Spread] = {}
        self._store_errors = self._counter("store_errors", "Database calls that failed.", "operation")
        self._set_aside = self._zeroed(
            self._counter(
                "store_set_aside", "Database files that were unusable and are not used any more.", "reason"
            ),
            "corrupt newer migration",
        )
        self._lost = self._zeroed(
            self._counter("store_lost", "Databases given up while the proxy ran.", "reason"),
            "corrupt deleted log server taken unusable",
        )
        self._degraded = self._gauge("store_degraded", "1 while the proxy works without its database.")
        self._audits = self._counter(
            "audits", "Copies served that were compared with the upstream's.", "resource", "result"
        )
        self._outdated = self._histogram(
            "audit_outdated_seconds",
            "How long copies had been out of date when they were served, within two bounds.",
            "resource",
            "bound",
            buckets=_AGES,
        )
        self._refreshes = self._counter(
            "refreshes", "Copies that the refresher has fetched again.", "resource", "result"
        )
        self._about_the_process()

    def _about_the_process(self) -> None:
        self._ready = self._gauge("ready", "1 while the instance is ready.")
        self._draining = self._gauge("draining", "1 while the instance drains.")
        self._lag = self._gauge("event_loop_lag_seconds", "How late the event loop woke at the last look.")
        self._tasks = self._gauge("tasks", "Tasks of the event loop that have not ended.")
        self._build = self._gauge("build_info", "1, with the program's version.", "version")
        self._build.labels(__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=_PREFIX, registry=self.registry)

    @staticmethod
    def _zeroed(counter: Counter, values: str) -> Counter:
        """The same, that says 0 for each of these values of its label until the thing happens."""
        for value in values.split():
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, namespace=_PREFIX, registry=self.registry, buckets=buckets)

    # The label sets are closed, so that there are few children; to have the library look for one takes it a lock.

    def _one(self, counter: Counter, *labels: str) -> Counter:
        found = self._counters.get((counter, labels))
        if found is None:
            found = self._counters[counter, labels] = counter.labels(*labels)
        return found

    def request(
        self,
        route: str,
        method: str,
        code: int,
        cache: Cache,
        seconds: float,
        exemplar: dict[str, str] | None = None,
    ) -> None:
        """A request was answered; `exemplar` says which trace tells more of it."""
        known = method if method in _METHODS else "other"
        if exemplar is not None:
            self._one(self._requests, route, known, str(code), cache).inc()
            self._duration.labels(route, cache).observe(seconds, exemplar)
            return
        _observe(self._requests_took, (route, known, code, cache), seconds)

    def entities(self, resource: str, counts: Mapping[EntityResult, int]) -> None:
        """How the ids of one request were answered. Plain numbers count, as in `looked_up`."""
        for result, count in counts.items():
            self._answered[resource, result] += count

    def tally(self, route: str, method: str, code: int, resource: str) -> Tally:
        """Where hits of that route are counted that memory has answered: as requests, look-ups and entities."""
        labels = (route, method if method in _METHODS else "other", code, resource)
        return self._tallies.setdefault(labels, Tally(_SECONDS, _AGES))

    def missed(self, resource: str, reason: str, count: int = 1) -> None:
        """Ids could not be answered from the cache."""
        self._one(self._misses, resource, reason).inc(count)

    def served_age(self, resource: str, seconds: float) -> None:
        """The age of the oldest entity in an answer."""
        _observe(self._served_ages, resource, seconds, _AGES)

    def looked_up(self, resource: str, tier: str, result: str) -> None:
        """An id was looked up in a tier. A plain number counts: a bulk of hits does little else than this."""
        self._looked_up[resource, tier, result] += 1

    def read_ahead(self, resource: str, ids: int) -> None:
        """So many ids that are about to be counted as found in memory (`Tally`) had to be read from the database."""
        self._looked_up[resource, "memory", "miss"] += ids
        self._looked_up[resource, "memory", "hit"] -= ids

    def upstream_answered(self, upstream: str, route: str, code: int, seconds: float) -> None:
        """An upstream's response had arrived."""
        _observe(self._upstreams_took, (upstream, route, code), seconds)

    def upstream_failed(self, upstream: str, reason: str) -> None:
        """An upstream call had no usable answer."""
        self._upstream_errors.labels(upstream, reason).inc()

    def upstream_retried(self, upstream: str) -> None:
        """An upstream call is tried again."""
        self._upstream_retries.labels(upstream).inc()

    def circuit(self, upstream: str, state: State) -> None:
        """The state of an upstream's circuit, as of this scrape."""
        for each in get_args(State):
            self._circuit.labels(upstream, each).set(each == state)

    def upstream_asked(self, resource: str, ids: int) -> None:
        """Ids were asked of an upstream."""
        self._one(self._upstream_ids, resource).inc(ids)

    def coalesced(self, resource: str, ids: int) -> None:
        """Ids joined a fetch that was under way."""
        self._coalesced.labels(resource).inc(ids)

    def evicted(self, resource: str, reason: str) -> None:
        """An entity was dropped to keep a bound."""
        self._evictions.labels(resource, reason).inc()

    def invalidated(self, resource: str, source: str) -> None:
        """An entity was invalidated."""
        self._invalidations.labels(resource, source).inc()

    def audits(self, resource: str) -> None:
        """Copies of the resource are compared: 0 is a number of those that were out of date."""
        for result in get_args(AuditResult):
            self._one(self._audits, resource, result)

    def audited(self, resource: str, verdict: Verdict) -> None:
        """A copy that was served was compared with the upstream's."""
        self._one(self._audits, resource, verdict.result).inc()
        if verdict.at_least is not None:
            self._outdated.labels(resource, "at_least").observe(verdict.at_least)
        if verdict.at_most is not None:
            self._outdated.labels(resource, "at_most").observe(verdict.at_most)

    def refreshes(self, resource: str) -> None:
        """The resource is refreshed: 0 is a number of those that had changed."""
        for result in get_args(RefreshResult):
            self._one(self._refreshes, resource, result)

    def refreshed(self, resource: str, counts: Mapping[RefreshResult, int]) -> None:
        """Copies were fetched again before anybody asked for it."""
        for result, count in counts.items():
            self._one(self._refreshes, resource, result).inc(count)

    def webhook_event(self, kind: str, outcome: str) -> None:
        """An event was sent here; `kind` is `<resource>.updated`, `<resource>.deleted` or `other`."""
        self._one(self._webhook_events, kind, outcome).inc()

    def store_operation(self, operation: str, seconds: float, _ok: bool) -> None:  # noqa: FBT001 - a hook's shape
        """A database call has ended; who called it counts its failure."""
        _observe(self._stores_took, operation, seconds)

    def store_failed(self, operation: str) -> None:
        """A database call has failed, or a write was given up."""
        self._store_errors.labels(operation).inc()

    def store_set_aside(self, reason: str) -> None:
        """A database file could not be used, and a new one was begun in its place."""
        self._set_aside.labels(reason).inc()

    def store_lost(self, reason: str) -> None:
        """The database in use was given up."""
        self._lost.labels(reason).inc()

    def store_sizes(
        self,
        *,
        entities: Mapping[str, int],
        stale: Mapping[str, int],
        invalidation_lag: float,
        memory: int,
        memory_max: int,
        store: int,
        store_max: int,
        degraded: bool,
    ) -> None:
        """Sizes, as of this scrape."""
        for resource, count in entities.items():
            self._stored.labels(resource).set(count)
        for resource, count in stale.items():
            self._stale.labels(resource).set(count)
        self._invalidation_lag.set(invalidation_lag)
        self._memory.set(memory)
        self._memory_max.set(memory_max)
        self._store_bytes.set(store)
        self._store_max.set(store_max)
        self._degraded.set(degraded)

    def change_log(self, *, lag: float, listening: bool) -> None:
        """What is known of other replicas' changes, as of this scrape."""
        if self._log_lag is not None and self._log_heard is not None:
            self._log_lag.set(lag)
            self._log_heard.set(listening)

    def lifecycle(self, *, ready: bool, draining: bool) -> None:
        """The state of the instance, as of this scrape."""
        self._ready.set(ready)
        self._draining.set(draining)

    def tasks(self, count: int) -> None:
        """How many tasks have not ended, as of this scrape."""
        self._tasks.set(count)

    def loop_lag(self, seconds: float) -> None:
        """How late the event loop was."""
        self._lag.set(seconds)

    def snapshot(self) -> list[Sample]:
        """Every sample as it stands; gauges are those of the last scrape, or of whoever set them since."""
        self._count()
        return [
            Sample(sample.name.removeprefix(f"{_PREFIX}_"), sample.labels, sample.value)
            for family in self.registry.collect()
            for sample in family.samples
        ]

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that the scraper accepts, and its content type."""
        self._count()
        try:
            return self._encoded(accept)
        except (TypeError, ValueError):  # the library compares a version that is none
            return self._encoded("")

    def _count(self) -> None:
        for (route, method, code, resource), tally in self._tallies.items():
            if tally.requests:
                self._looked_up[resource, "memory", "hit"] += tally.ids
                self._answered[resource, "hit"] += tally.ids
                self._requests.labels(route, method, str(code), "hit").inc(tally.requests)
                add(self._duration.labels(route, "hit"), tally.took, tally.seconds)
                add(self._age.labels(resource), tally.ages, tally.age)
                tally.clear()
        for (route, method, code, cache), spread in self._requests_took.items():
            observed = spread.move_to(self._duration.labels(route, cache))
            self._requests.labels(route, method, str(code), cache).inc(observed)
        for (upstream, route, code), spread in self._upstreams_took.items():
            observed = spread.move_to(self._upstream_duration.labels(upstream, route))
            self._upstream.labels(upstream, route, str(code)).inc(observed)
        for operation, spread in self._stores_took.items():
            spread.move_to(self._store_seconds.labels(operation))
        for resource, spread in self._served_ages.items():
            spread.move_to(self._age.labels(resource))
        for labels, count in self._looked_up.items():
            self._lookups.labels(*labels).inc(count)
        self._looked_up.clear()
        for (resource, result), count in self._answered.items():
            self._entities.labels(resource, result).inc(count)
        self._answered.clear()

    def _encoded(self, accept: str) -> tuple[bytes, str]:
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type


def _observe(spreads: dict[K, Spread], labels: K, value: float, bounds: tuple[float, ...] = _SECONDS) -> None:
    spread = spreads.get(labels)
    if spread is None:
        spread = spreads[labels] = Spread(bounds)
    spread.observe(value)
