"""The document of the Inspector: sums of samples, of what is configured, without entity data."""

import json
from typing import Any

import jsonschema_rs

from config.load import load
from proxy.invalidations import Invalidation, Invalidations
from proxy.log import Refs
from proxy.metrics import Metrics, Sample
from proxy.web.handshake.said import Asked
from proxy.web.inspector.feed import feed
from proxy.web.inspector.snapshot import Instance, Samples, snapshot
from tests.unit.web.faces import NOW, shape

CONFIG = load(None, {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://127.0.0.1:1"})
INSTANCE = Instance(CONFIG, [shape("user"), shape("business")], "1.2.3", "replica", NOW)


def shown(metrics: Metrics, *invalidations: Invalidation) -> Any:
    return json.loads(json.dumps(snapshot(INSTANCE, Samples(metrics.snapshot()), invalidations, now=NOW + 5)))


def test_of_a_process_that_has_done_nothing() -> None:
    document = shown(Metrics())
    assert (document["version"], document["state"], document["scope"]) == ("1.2.3", "starting", "replica")
    assert [resource["name"] for resource in document["resources"]] == ["user", "business"]
    assert document["resources"][0]["entities"] == {}
    assert document["resources"][0]["freshness"]["ttl"] == 86400
    assert (document["routes"], document["invalidations"]) == ([], [])
    assert [(one["name"], one["circuit"]) for one in document["upstreams"]] == [("main", "closed")]


def test_requests_by_route_and_result_with_the_resource_that_they_are_about() -> None:
    metrics = Metrics()
    for seconds in (0.0002, 0.0002, 0.004, 20.0):
        metrics.request("user.bulk", "POST", 200, "hit", seconds)
    metrics.request("users.ensure", "POST", 503, "error", 0.001)
    metrics.request("login", "POST", 200, "miss", 0.001)
    document = shown(metrics)
    bounds = document["latencyBounds"]
    routes = {each["route"]: each for each in document["routes"]}
    assert {name: each["resource"] for name, each in routes.items()} == {
        "user.bulk": "user", "users.ensure": "user", "login": None,
    }  # fmt: skip
    assert {name: each["failed"] for name, each in routes.items()} == {
        "user.bulk": 0, "users.ensure": 1, "login": 0,
    }  # fmt: skip
    (hits,) = routes["user.bulk"]["results"]
    assert (hits["cache"], hits["count"], round(hits["seconds"], 4)) == ("hit", 4, 20.0044)
    assert len(hits["buckets"]) == len(bounds) + 1
    assert {at: count for at, count in enumerate(hits["buckets"]) if count} == {
        bounds.index(0.00025): 2, bounds.index(0.005): 1, len(bounds): 1,
    }  # fmt: skip


def test_who_looks_does_not_see_himself() -> None:
    metrics = Metrics()
    metrics.request("inspector", "GET", 200, "none", 0.001)
    metrics.request("inspector.page", "GET", 200, "none", 0.001)
    assert shown(metrics)["routes"] == []


def test_counts_gauges_and_states() -> None:
    metrics = Metrics()
    metrics.entities("user", {"hit": 3, "miss": 1})
    metrics.missed("user", "never_seen")
    metrics.evicted("business", "size")
    metrics.upstream_asked("user", 7)
    metrics.upstream_answered("main", "user.bulk", 200, 0.5)
    metrics.upstream_failed("main", "timeout")
    metrics.circuit("main", "half_open")
    metrics.lifecycle(ready=True, draining=False)
    metrics.store_failed("get")
    metrics.store_sizes(
        entities={"user": 10}, stale={"user": 4}, invalidation_lag=1.5, memory=5, memory_max=50, store=6, store_max=60,
        degraded=True,
    )  # fmt: skip
    document = shown(metrics, Invalidation(NOW, "user", "method", "0123456789ab"))
    user, business = document["resources"]
    assert (user["entities"], user["misses"]) == ({"hit": 3, "miss": 1}, {"never_seen": 1})
    assert (user["stored"], user["stale"], user["upstreamIds"]) == (10, 4, 7)
    assert business["evictions"] == {"size": 1}
    assert document["state"] == "ready"
    (main,) = document["upstreams"]
    assert (main["circuit"], main["requests"], main["errors"]) == ("half_open", {"200": 1}, {"timeout": 1})
    assert (main["count"], main["seconds"]) == (1, 0.5)
    assert document["memory"] == {"bytes": 5, "maxBytes": 50}
    assert document["store"] == {
        "bytes": 6, "maxBytes": 60, "degraded": True, "errors": {"get": 1}, "invalidationLag": 1.5,
    }  # fmt: skip
    assert document["invalidations"] == [
        {"time": document["startedAt"], "resource": "user", "source": "method", "ref": "0123456789ab"}
    ]
    metrics.lifecycle(ready=False, draining=True)
    assert shown(metrics)["state"] == "draining"


def test_a_snapshot_takes_nothing_from_a_scrape() -> None:
    metrics = Metrics()
    metrics.entities("user", {"hit": 3})
    assert shown(metrics) == shown(metrics)
    metrics.entities("user", {"hit": 2})
    assert shown(metrics)["resources"][0]["entities"] == {"hit": 5}
    assert b'entities_total{resource="user",result="hit"} 5.0' in metrics.render("")[0]


async def test_what_the_call_gives_is_of_its_schema() -> None:
    metrics = Metrics()
    metrics.request("user.bulk", "POST", 200, "hit", 0.001)
    invalidations = Invalidations(metrics, Refs(b"key"), clock=lambda: NOW)

    async def measured() -> list[Sample]:
        return metrics.snapshot()

    for shapes in ([shape("user")], []):
        instance = Instance(CONFIG, shapes, "1.2.3", "replica", NOW)
        call = feed(instance, measured, invalidations, lambda: NOW)
        schema = jsonschema_rs.Draft202012Validator(call.operation.gives or {}, validate_formats=True)
        schema.validate(json.loads((await call.answer(Asked())).body))
        schema.validate(call.operation.gives_example)
