"""What the Inspector shows, as one document: the metrics as they stand, the configuration, recent invalidations."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from config.model import Config
from proxy.invalidations import Invalidation
from proxy.metrics import Sample
from proxy.web.handshake.shape import EntityShape
from proxy.web.inspector.pages import ROUTE as PAGE_ROUTE
from store.times import rfc3339

ROUTE = "inspector"
"""The route of the call."""

# Who looks is not to see himself.
_OWN = frozenset({ROUTE, PAGE_ROUTE})
_FAILED = 500


class Samples:
    """Samples by metric, to be added up."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_name[sample.name].append(sample)

    def of(self, name: str, **labels: str) -> list[Sample]:
        """The samples of a metric that have these labels."""
        return [sample for sample in self._by_name[name] if labels.items() <= sample.labels.items()]

    def split(self, label: str) -> dict[str, "Samples"]:
        """Those that have this label, by its value: one pass, where `of` would take one for each value."""
        found: dict[str, list[Sample]] = defaultdict(list)
        for samples in self._by_name.values():
            for sample in samples:
                if label in sample.labels:
                    found[sample.labels[label]].append(sample)
        return {value: Samples(samples) for value, samples in sorted(found.items())}

    def total(self, name: str, **labels: str) -> float:
        """Their sum."""
        return sum(sample.value for sample in self.of(name, **labels))

    def count(self, name: str, **labels: str) -> int:
        """Their sum, of what is counted."""
        return int(self.total(name, **labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, int]:
        """Their sum for each value of a label; what is 0 is left out."""
        counts: Counter[str] = Counter()
        for sample in self.of(name, **labels):
            counts[sample.labels[label]] += int(sample.value)
        return {value: count for value, count in sorted(counts.items()) if count}

    def buckets(self, name: str, **labels: str) -> tuple[list[float], list[int]]:
        """Upper bounds of a histogram in seconds, and how many fell below each but not below the one before; the last
        count is of what is above them all."""
        cumulative: Counter[float] = Counter()
        for sample in self.of(f"{name}_bucket", **labels):
            cumulative[float(sample.labels["le"])] += int(sample.value)
        bounds = sorted(cumulative)
        counts = [cumulative[bound] for bound in bounds]
        return bounds[:-1], [count - before for count, before in zip(counts, [0, *counts], strict=False)]


class Instance(Struct, frozen=True):
    """What of the process does not change while it runs."""

    config: Config
    shapes: Sequence[EntityShape]
    version: str
    scope: str
    """How far an erasure reaches: `replica` or `shared`."""
    started_at: float
    """Epoch seconds."""


def snapshot(
    instance: Instance, samples: Samples, invalidations: Iterable[Invalidation], *, now: float
) -> dict[str, object]:
    """The document; `now` in epoch seconds. All that it counts is since the start of the process."""
    bounds, _ = samples.buckets("request_duration_seconds")
    return {
        "version": instance.version,
        "state": _state(samples),
        "scope": instance.scope,
        "startedAt": rfc3339(instance.started_at),
        "time": rfc3339(now),
        "eventLoopLag": samples.total("event_loop_lag_seconds"),
        "resources": [_resource(shape, samples) for shape in instance.shapes],
        "latencyBounds": bounds,
        "routes": _routes(instance.shapes, samples, len(bounds)),
        "upstreams": [_upstream(name, samples) for name in instance.config.upstreams],
        "memory": {"bytes": samples.count("memory_bytes"), "maxBytes": samples.count("memory_max_bytes")},
        "store": {
            "bytes": samples.count("store_bytes"),
            "maxBytes": samples.count("store_max_bytes"),
            "degraded": samples.total("store_degraded") > 0,
            "errors": samples.by("operation", "store_errors_total"),
            "invalidationLag": samples.total("invalidation_lag_seconds"),
        },
        "invalidations": [
            {"time": rfc3339(each.at), "resource": each.resource, "source": each.source, "ref": each.ref}
            for each in invalidations
        ],
    }


def _state(samples: Samples) -> str:
    if samples.total("draining"):
        return "draining"
    return "ready" if samples.total("ready") else "starting"


def _resource(shape: EntityShape, samples: Samples) -> dict[str, object]:
    freshness = shape.config.freshness
    resource = shape.name
    return {
        "name": resource,
        "plural": shape.plural,
        "idMember": shape.id_member,
        "storage": shape.config.storage,
        "freshness": {
            "ttl": freshness.ttl,
            "staleWhileRevalidate": freshness.stale_while_revalidate,
            "staleIfError": freshness.stale_if_error,
        },
        "entities": samples.by("result", "entities_total", resource=resource),
        "misses": samples.by("reason", "misses_total", resource=resource),
        "stored": samples.count("stored_entities", resource=resource),
        "stale": samples.count("stale_entities", resource=resource),
        "evictions": samples.by("reason", "evictions_total", resource=resource),
        "invalidations": samples.by("source", "invalidations_total", resource=resource),
        "upstreamIds": samples.count("upstream_ids_total", resource=resource),
        "coalescedIds": samples.count("coalesced_ids_total", resource=resource),
    }


def _routes(shapes: Sequence[EntityShape], samples: Samples, bounds: int) -> list[dict[str, object]]:
    """Each route that was asked for, with its answers by what the cache had to do with them."""
    owners = {shape.plural: shape.name for shape in shapes} | {shape.name: shape.name for shape in shapes}
    return [
        {
            "route": route,
            "resource": owners.get(route.partition(".")[0]),
            "failed": sum(
                count for code, count in own.by("code", "requests_total").items() if int(code) >= _FAILED
            ),
            "results": [_result(cache, of_cache, bounds) for cache, of_cache in own.split("cache").items()],
        }
        for route, own in samples.split("route").items()
        if own.of("requests_total") and route not in _OWN
    ]


def _result(cache: str, samples: Samples, bounds: int) -> dict[str, object]:
    name = "request_duration_seconds"
    _, buckets = samples.buckets(name)
    return {
        "cache": cache,
        "count": samples.count("requests_total"),
        "seconds": samples.total(f"{name}_sum"),
        "buckets": buckets or [0] * (bounds + 1),
    }


def _upstream(name: str, samples: Samples) -> dict[str, object]:
    states: Mapping[str, int] = samples.by("state", "upstream_circuit_state", upstream=name)
    duration = "upstream_request_duration_seconds"
    return {
        "name": name,
        "circuit": next(iter(states), "closed"),
        "requests": samples.by("code", "upstream_requests_total", upstream=name),
        "errors": samples.by("reason", "upstream_errors_total", upstream=name),
        "retries": samples.count("upstream_retries_total", upstream=name),
        "count": samples.count(f"{duration}_count", upstream=name),
        "seconds": samples.total(f"{duration}_sum", upstream=name),
    }
