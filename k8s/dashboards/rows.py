"""What is on the dashboard: the numbers on top, then a row each for overview, cache, upstream, store and process."""

from collections.abc import Mapping, Sequence
from typing import Final

from k8s.dashboards.panels import Graph, Query, Stat
from k8s.dashboards.promql import (
    CACHED,
    REFUSED,
    RESOURCE,
    USED,
    failures,
    metric,
    quantile,
    rate,
    share,
    total,
)

_SECONDS, _SHARE, _BYTES = "s", "percentunit", "bytes"
_REQUESTS, _IDS, _COUNT = "reqps", "cps", "short"
_INSTANCE = "{{pod}} {{instance}}"
_COPIES = 'result=~"hit|stale|negative"'
_CLOSED = 'state="closed"'
_LOOKUP_ROUTES = 'route=~".+[.](bulk|single)"'

STATS: Final[Sequence[Stat]] = (
    Stat(
        "Hit ratio",
        "Ids answered from what is held: fresh, stale, or known to be absent. How high it can be depends on what the "
        "application keeps itself: compare it with yesterday. If it fell, look at why misses were misses.",
        _SHARE,
        Query(share(rate("entities_total", RESOURCE, _COPIES), rate("entities_total", RESOURCE))),
    ),
    Stat(
        "Latency, p99",
        "Of all but what is passed through. The application gives up after 5 s. If it is high, see by which cache "
        "result: misses wait for the upstream, hits for nothing but the processor and the database.",
        _SECONDS,
        Query(quantile(0.99, "", "request_duration_seconds", CACHED)),
        steps=((None, "green"), (1, "orange"), (4, "red")),
    ),
    Stat(
        "Error ratio",
        "Look-ups and calls of the handshake API that failed: the application takes each for 'not found'. The "
        "objective is 0.1 %. If it is red, see the errors by route and code, and the circuit.",
        _SHARE,
        Query(share(failures(), rate("requests_total", CACHED))),
        steps=((None, "green"), (0.001, "orange"), (0.0144, "red")),
    ),
    Stat(
        "Requests",
        "All that the application asks, passed through or not, the Inspector left out. None at all: it is not using "
        "the proxy; check its base URL.",
        _REQUESTS,
        Query(total("", rate("requests_total", USED))),
    ),
    Stat(
        "Circuit",
        "Whether any instance has the circuit to an upstream open. Copies are served meanwhile. Do not roll or scale "
        "pods: a new pod starts with an empty store. Half open after a quiet time says nothing.",
        _COUNT,
        Query(f"1 - min({metric('upstream_circuit_state', _CLOSED)})"),
        words={"0": ("closed", "green"), "1": ("not closed", "red")},
    ),
    Stat(
        "Store",
        "Whether any instance works without its database. Answers go on from memory, but a restart loses them, and "
        "the handshake API has no ids of users to show. The log says why.",
        _COUNT,
        Query(f"max({metric('store_degraded')})"),
        words={"0": ("works", "green"), "1": ("degraded", "red")},
    ),
    Stat(
        "Instances ready",
        "Fewer than there should be: see which pod is not ready, and its log. No probe looks at the upstream.",
        _COUNT,
        Query(total("", metric("ready"))),
        steps=((None, "red"), (1, "green")),
    ),
    Stat(
        "Version",
        "Two of them during a rollout; two for long: it is stuck.",
        _COUNT,
        Query(f"count by (version) ({metric('build_info')})", "{{version}}"),
        by_name=True,
    ),
)

_OVERVIEW = (
    Graph(
        "Requests by cache result",
        "Hit, stale and negative cost the upstream nothing; miss and partial wait for it; bypass and none are passed "
        "on. A new colour that grows is where to look.",
        _REQUESTS,
        (Query(total("cache", rate("requests_total", USED)), "{{cache}}"),),
        stacked=True,
    ),
    Graph(
        "Errors by route and code",
        "Failures of the proxy's own, and the upstream's that were passed on. 503: no copy, and the upstream fails or "
        "the circuit is open. 502, 504: the upstream. 500: the database, see the store row. 401, 403: the upstream "
        "refuses the proxy's credential. 429: it asks for mercy. ensure-batch 200: some of its ids failed.",
        _REQUESTS,
        (
            Query(total("route, code", rate("requests_total", 'code=~"5.."')), "{{route}} {{code}}"),
            Query(total("route, code", rate("requests_total", *REFUSED)), "{{route}} {{code}}"),
        ),
    ),
    Graph(
        "Latency by cache result",
        "Median and p99 of all but what is passed through. Misses follow the upstream's latency. Slow hits: see event "
        "loop lag and store latency. With tracing on, the points lead to traces.",
        _SECONDS,
        (
            Query(
                quantile(0.99, "cache", "request_duration_seconds", CACHED), "{{cache}} p99", exemplars=True
            ),
            Query(quantile(0.5, "cache", "request_duration_seconds", CACHED), "{{cache}} p50"),
        ),
    ),
)

_CACHE = (
    Graph(
        "Hit ratio by resource",
        "Compare with yesterday. It falls after a rollout, for new pods start empty, and recovers as they fill. If it "
        "stays low, see why misses were misses.",
        _SHARE,
        (
            Query(
                share(
                    rate("entities_total", RESOURCE, _COPIES), rate("entities_total", RESOURCE), "resource"
                ),
                "{{resource}}",
            ),
        ),
        top=1,
    ),
    Graph(
        "Ids by how each was answered",
        "Stale: from a copy past its freshness, while it is fetched again or while the upstream fails. Error: what the "
        "application felt.",
        _IDS,
        (Query(total("resource, result", rate("entities_total", RESOURCE)), "{{resource}} {{result}}"),),
        stacked=True,
    ),
    Graph(
        "Why misses were misses",
        "never_seen: new people, or a new pod. expired: raise ttl or stale_while_revalidate. evicted: raise "
        "memory.max_bytes. invalidated: writes of the application. bypass_credential: see sharing. bypass_shape, "
        "bypass_query: the application asks in a way that can't be cached.",
        _IDS,
        (Query(total("resource, reason", rate("misses_total", RESOURCE)), "{{resource}} {{reason}}"),),
        stacked=True,
    ),
    Graph(
        "Age when served",
        "Of the oldest entity in an answer. Beyond ttl it is stale: as long as the upstream works that passes with "
        "the next request. It grows through an outage, up to stale_if_error.",
        _SECONDS,
        tuple(
            Query(quantile(q, "resource", "entity_age_seconds", RESOURCE), f"{{{{resource}}}} p{q * 100:.0f}")
            for q in (0.99, 0.5)
        ),
    ),
    Graph(
        "Entities held, and stale ones of them",
        "Stale ones are served while they are fetched again, and through an outage. All of them stale, and the circuit "
        "closed: the upstream gives no usable answers, see its errors.",
        _COUNT,
        (
            Query(total("resource", metric("stored_entities", RESOURCE)), "{{resource}} held"),
            Query(total("resource", metric("stale_entities", RESOURCE)), "{{resource}} stale"),
        ),
    ),
    Graph(
        "Look-ups by tier",
        "Memory first, then the database. Many hits of the database: more memory.max_bytes would make them faster. "
        "Errors: see the store row.",
        _IDS,
        (
            Query(
                total("resource, tier, result", rate("lookups_total", RESOURCE)),
                "{{resource}} {{tier}} {{result}}",
            ),
        ),
    ),
    Graph(
        "Evictions from memory",
        "A full memory is normal. By size and followed by misses with the reason evicted: raise memory.max_bytes. "
        "expired: of no further use.",
        _IDS,
        (Query(total("resource, reason", rate("evictions_total", RESOURCE)), "{{resource}} {{reason}}"),),
    ),
    Graph(
        "Invalidations",
        "Copies that were dropped: a write on a single path (method), or an erasure. Many more than the application "
        "writes: something writes in a loop.",
        _IDS,
        (Query(total("resource, source", rate("invalidations_total", RESOURCE)), "{{resource}} {{source}}"),),
    ),
    Graph(
        "Coalesced ids",
        "Ids that joined a fetch under way instead of making another one: herds that the upstream did not see.",
        _IDS,
        (Query(total("resource", rate("coalesced_ids_total", RESOURCE)), "{{resource}}"),),
    ),
)

_UPSTREAM = (
    Graph(
        "Circuit by upstream",
        "Instances by the state of the circuit to each upstream. Open: calls have failed in a row, and what is not "
        "held fails at once. Ask whoever owns the upstream; do not roll or scale pods.",
        _COUNT,
        (
            Query(
                total("upstream, state", metric("upstream_circuit_state")),
                "{{upstream}} {{state}}",
            ),
        ),
        stacked=True,
    ),
    Graph(
        "Ids that the upstream was not asked for",
        "Ids the application asked for, ids the upstream was asked for, and the difference, which is what the proxy is "
        "there for. Below 0 for a moment: copies are fetched again behind answers.",
        _IDS,
        (
            Query(
                total("resource", rate("entities_total", RESOURCE)), "{{resource}} asked by the application"
            ),
            Query(
                total("resource", rate("upstream_ids_total", RESOURCE)), "{{resource}} asked of the upstream"
            ),
            Query(
                f"{total('resource', rate('entities_total', RESOURCE))} - "
                f"{total('resource', rate('upstream_ids_total', RESOURCE))}",
                "{{resource}} avoided",
            ),
        ),
    ),
    Graph(
        "Ids per upstream call",
        "About 1 with much traffic: the application loops over single ids instead of asking in bulk; the proxy gathers "
        "only what comes at the same time. Below 1: requests that bypass the cache count as calls. It rises while "
        "calls fail, for those have no answer to count.",
        _COUNT,
        (
            Query(
                f"{total('resource', rate('upstream_ids_total', RESOURCE))} / "
                + total(
                    "resource",
                    f"label_replace({rate('upstream_requests_total', _LOOKUP_ROUTES)}, "
                    '"resource", "$1", "route", "(.+)[.](?:bulk|single)")',
                ),
                "{{resource}}",
            ),
        ),
    ),
    Graph(
        "Upstream answers",
        "By code. 401, 403: the credential of the proxy, or none where one is needed. 429: it asks for mercy, and is "
        "left alone. 5xx: it is ill.",
        _REQUESTS,
        (Query(total("upstream, code", rate("upstream_requests_total")), "{{upstream}} {{code}}"),),
        stacked=True,
    ),
    Graph(
        "Upstream errors and retries",
        "Calls without a usable answer, by reason, and calls that were tried again. connect, dns, tls: the network or "
        "its configuration. timeout: it is slow. invalid_answer, implausible_absence: it answers, but nonsense. "
        "circuit_open: not asked.",
        _REQUESTS,
        (
            Query(total("upstream, reason", rate("upstream_errors_total")), "{{upstream}} {{reason}}"),
            Query(total("upstream", rate("upstream_retries_total")), "{{upstream}} retries"),
        ),
    ),
    Graph(
        "Upstream latency",
        "Until it had answered: median and p99. Near the upstream's timeout, calls begin to fail.",
        _SECONDS,
        tuple(
            Query(
                quantile(q, "upstream, route", "upstream_request_duration_seconds"),
                f"{{{{upstream}}}} {{{{route}}}} p{q * 100:.0f}",
            )
            for q in (0.99, 0.5)
        ),
    ),
)

_STORE = (
    Graph(
        "Memory against its bound",
        "Full is normal: see evictions for whether it is too small. The program itself comes on top.",
        _BYTES,
        (
            Query(metric("memory_bytes"), _INSTANCE),
            Query(f"max({metric('memory_max_bytes')})", "memory.max_bytes"),
        ),
    ),
    Graph(
        "Database against its bound",
        "At nine tenths what was synced longest ago makes room, down to eight. If it moves between the two, raise "
        "store.max_bytes, and the volume with it.",
        _BYTES,
        (
            Query(metric("store_bytes"), _INSTANCE),
            Query(f"max({metric('store_max_bytes')})", "store.max_bytes"),
        ),
    ),
    Graph(
        "Store latency, p99",
        "Time of database calls. A transparent answer waits for get alone, a new id of the handshake API for its "
        "commit too. Slow: the volume, or somebody who reads the database for long.",
        _SECONDS,
        (
            Query(
                quantile(0.99, "operation", "store_operation_seconds"),
                "{{operation}}",
            ),
        ),
    ),
    Graph(
        "Store errors",
        "Database calls that failed; queue_full: writes that were not kept. Look for store_failed in the log: disk "
        "full, a lock, read-only.",
        _REQUESTS,
        (Query(total("operation", rate("store_errors_total")), "{{operation}}"),),
    ),
    Graph(
        "Degraded instances",
        "Instances that work without their database, or whose database failed when it was last asked. Do not restart "
        "them while the upstream is down: memory is all they have.",
        _COUNT,
        (Query(metric("store_degraded"), _INSTANCE),),
    ),
    Graph(
        "Databases given up and set aside",
        "Since each process started. Given up: opened again at once. Set aside: begun anew with what memory held; the "
        "unusable one stays beside it for seven days. The log says why (store_lost, store_set_aside): a volume that "
        "fails, or somebody who moves files.",
        _COUNT,
        (
            Query(total("reason", metric("store_lost_total")), "given up: {{reason}}"),
            Query(total("reason", metric("store_set_aside_total")), "set aside: {{reason}}"),
        ),
    ),
    Graph(
        "Invalidation lag",
        "How long the oldest invalidation has waited to be durable. It is in force; a restart would undo it. Growing: "
        "the database does not take writes, see store errors.",
        _SECONDS,
        (Query(metric("invalidation_lag_seconds"), _INSTANCE),),
    ),
)

_PROCESS = (
    Graph(
        "Event loop lag",
        "How late the loop woke. Above some milliseconds for long: the process is short of processor. Remove a CPU "
        "limit, or share the load among more pods (not during an upstream outage).",
        _SECONDS,
        (Query(metric("event_loop_lag_seconds"), _INSTANCE),),
    ),
    Graph(
        "Tasks",
        "Of the event loop: some ten, one for each connection of the application, and those of fetches under way. "
        "Growing for hours while the requests do not: a leak, tell the maintainers.",
        _COUNT,
        (Query(metric("tasks"), _INSTANCE),),
    ),
    Graph(
        "Instances",
        "Ready and draining ones. Draining for longer than limits.drain_timeout: the process does not come to its end.",
        _COUNT,
        (
            Query(total("", metric("ready")), "ready"),
            Query(total("", metric("draining")), "draining"),
        ),
        stacked=True,
    ),
    Graph(
        "Versions",
        "Instances by version.",
        _COUNT,
        (Query(f"count by (version) ({metric('build_info')})", "{{version}}"),),
        stacked=True,
    ),
)

ROWS: Final[Mapping[str, Sequence[Graph]]] = {
    "Overview": _OVERVIEW,
    "Cache": _CACHE,
    "Upstream": _UPSTREAM,
    "Memory and store": _STORE,
    "Process": _PROCESS,
}
