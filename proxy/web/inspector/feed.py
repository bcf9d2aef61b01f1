"""The call that feeds the page: how things stand, in one document."""

from collections.abc import Awaitable, Callable, Iterable

from msgspec.structs import replace

from proxy.invalidations import Invalidation, Invalidations
from proxy.metrics import Sample
from proxy.web.handshake.call import Call, Operation, members
from proxy.web.handshake.said import Asked, Said
from proxy.web.handshake.shape import EXAMPLE_TIME, Schema, to_json
from proxy.web.inspector.snapshot import ROUTE, Instance, Samples, snapshot
from store.times import epoch

Measured = Callable[[], Awaitable[Iterable[Sample]]]

_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}


def feed(
    instance: Instance, measured: Measured, invalidations: Invalidations, clock: Callable[[], float]
) -> Call:
    """The call. `measured` gives every sample as of now, `clock` epoch seconds."""

    async def answer(asked: Asked) -> Said:
        asked.parameters()
        samples = Samples(await measured())
        return Said(to_json(snapshot(instance, samples, invalidations.recent(), now=clock())))

    operation = Operation(
        "Say how things stand, as the page at `/` shows it: counted since the start, and without entity data",
        gives=_schema(),
        gives_example=_example(instance),
    )
    return Call(ROUTE, "GET", "/v1/inspector", answer, operation)


def _schema() -> Schema:
    return members(
        {
            "version": _TEXT,
            "state": {"type": "string", "enum": ["starting", "ready", "draining"]},
            "scope": {
                "type": "string",
                "enum": ["replica", "shared"],
                "description": "How far an erasure reaches.",
            },
            "startedAt": _TIME,
            "time": _TIME,
            "eventLoopLag": _SECONDS,
            "resources": _listed(_resource()),
            "latencyBounds": {
                **_listed(_SECONDS),
                "description": "Upper bounds of the buckets in `routes`, in seconds.",
            },
            "routes": _listed(_route()),
            "upstreams": _listed(_upstream()),
            "memory": members({"bytes": _COUNT, "maxBytes": _COUNT}),
            "store": members(
                {
                    "bytes": _COUNT,
                    "maxBytes": _COUNT,
                    "degraded": {"type": "boolean"},
                    "errors": _counts("operation"),
                    "invalidationLag": _SECONDS,
                }
            ),
            "invalidations": {
                **_listed(members({"time": _TIME, "resource": _TEXT, "source": _TEXT, "ref": _TEXT})),
                "description": "The last 50, the newest first. `ref` names the entity as the log does.",
            },
        }
    )


def _resource() -> Schema:
    limits = ("ttl", "staleWhileRevalidate", "staleIfError")
    return members(
        {
            "name": _TEXT,
            "plural": {**_TEXT, "description": "As in the paths of its calls."},
            "idMember": {**_TEXT, "description": "What its external id is called in bodies."},
            "storage": {"type": "string", "enum": ["database", "memory"]},
            "freshness": members(dict.fromkeys(limits, _SECONDS)),
            "entities": _counts("result"),
            "misses": _counts("reason"),
            "stored": _COUNT,
            "stale": _COUNT,
            "evictions": _counts("reason"),
            "invalidations": _counts("source"),
            "upstreamIds": _COUNT,
            "coalescedIds": _COUNT,
        }
    )


def _route() -> Schema:
    return members(
        {
            "route": _TEXT,
            "resource": {
                "type": ["string", "null"],
                "description": "Null where it is about none, or several.",
            },
            "failed": {**_COUNT, "description": "Answers of 500 and above."},
            "results": _listed(
                members(
                    {
                        "cache": _TEXT,
                        "count": _COUNT,
                        "seconds": _SECONDS,
                        "buckets": {
                            **_listed(_COUNT),
                            "description": "Answers within each bound and not within the one before it; "
                            "the last number is of those above them all.",
                        },
                    }
                )
            ),
        }
    )


def _upstream() -> Schema:
    return members(
        {
            "name": _TEXT,
            "circuit": {"type": "string", "enum": ["closed", "open", "half_open"]},
            "requests": _counts("status"),
            "errors": _counts("reason"),
            "retries": _COUNT,
            "count": _COUNT,
            "seconds": {**_SECONDS, "description": "The sum over `count` answers."},
        }
    )


def _listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _counts(label: str) -> Schema:
    return {"type": "object", "additionalProperties": _COUNT, "description": f"Counts by {label}."}


def _example(instance: Instance) -> dict[str, object]:
    """What it says of a little traffic."""
    at = epoch(EXAMPLE_TIME)
    instance = replace(instance, started_at=at)
    if not instance.shapes:
        return snapshot(instance, Samples([]), [], now=at)
    shape = instance.shapes[0]
    resource, upstream, route = shape.name, shape.config.upstream, f"{shape.plural}.ensure"
    answered = {"route": route, "cache": "hit"}
    duration = "request_duration_seconds"
    samples = [
        Sample("ready", {}, 1),
        Sample("entities_total", {"resource": resource, "result": "hit"}, 3),
        Sample("entities_total", {"resource": resource, "result": "miss"}, 1),
        Sample("misses_total", {"resource": resource, "reason": "never_seen"}, 1),
        Sample("stored_entities", {"resource": resource}, 1),
        Sample("upstream_ids_total", {"resource": resource}, 1),
        Sample("requests_total", {**answered, "method": "POST", "code": "200"}, 3),
        Sample(f"{duration}_bucket", {**answered, "le": "0.001"}, 2),
        Sample(f"{duration}_bucket", {**answered, "le": "0.01"}, 3),
        Sample(f"{duration}_bucket", {**answered, "le": "+Inf"}, 3),
        Sample(f"{duration}_sum", answered, 0.0042),
        Sample("upstream_circuit_state", {"upstream": upstream, "state": "closed"}, 1),
        Sample("upstream_requests_total", {"upstream": upstream, "code": "200"}, 1),
        Sample("memory_bytes", {}, 1024),
        Sample("memory_max_bytes", {}, instance.config.memory.max_bytes),
        Sample("store_bytes", {}, 65536),
        Sample("store_max_bytes", {}, instance.config.store.max_bytes),
    ]
    invalidations = [Invalidation(at, resource, "erasure", "0f6c2ad9b1e7")]
    return snapshot(instance, Samples(samples), invalidations, now=at + 60)
