"""The rows about what the application asks and how it is answered: overview, cache."""

from collections.abc import Sequence
from typing import Final

from k8s.dashboards.panels import COUNT, IDS, REQUESTS, SECONDS, SHARE, Graph, Query
from k8s.dashboards.promql import (
    CACHED,
    COPIES,
    REFUSED,
    RESOURCE,
    USED,
    metric,
    quantile,
    rate,
    share,
    total,
)

OVERVIEW: Final[Sequence[Graph]] = (
    Graph(
        "Requests by cache result",
        "Hit, stale and negative cost the upstream nothing; miss and partial wait for it; bypass and none are passed "
        "on. A new colour that grows is where to look.",
        REQUESTS,
        (Query(total("cache", rate("requests_total", USED)), "{{cache}}"),),
        stacked=True,
    ),
    Graph(
        "Errors by route and code",
        "Failures of the proxy's own, and the upstream's that were passed on. 503: no copy, and the upstream fails or "
        "the circuit is open. 502, 504: the upstream. 500: the database, see the store row. 401, 403: the upstream "
        "refuses the proxy's credential. 429: it asks for mercy. ensure-batch 200: some of its ids failed.",
        REQUESTS,
        (
            Query(total("route, code", rate("requests_total", 'code=~"5.."')), "{{route}} {{code}}"),
            Query(total("route, code", rate("requests_total", *REFUSED)), "{{route}} {{code}}"),
        ),
    ),
    Graph(
        "Latency by cache result",
        "Median and p99 of all but what is passed through. Misses follow the upstream's latency. Slow hits: see event "
        "loop lag and store latency. With tracing on, the points lead to traces.",
        SECONDS,
        (
            Query(
                quantile(0.99, "cache", "request_duration_seconds", CACHED), "{{cache}} p99", exemplars=True
            ),
            Query(quantile(0.5, "cache", "request_duration_seconds", CACHED), "{{cache}} p50"),
        ),
    ),
)

CACHE: Final[Sequence[Graph]] = (
    Graph(
        "Hit ratio by resource",
        "Compare with yesterday. It falls after a rollout, for new pods start empty, and recovers as they fill. If it "
        "stays low, see why misses were misses.",
        SHARE,
        (
            Query(
                share(rate("entities_total", RESOURCE, COPIES), rate("entities_total", RESOURCE), "resource"),
                "{{resource}}",
            ),
        ),
        top=1,
    ),
    Graph(
        "Ids by how each was answered",
        "Stale: from a copy past its freshness, while it is fetched again or while the upstream fails. Error: what the "
        "application felt.",
        IDS,
        (Query(total("resource, result", rate("entities_total", RESOURCE)), "{{resource}} {{result}}"),),
        stacked=True,
    ),
    Graph(
        "Why misses were misses",
        "never_seen: new people, or a new pod. expired: raise ttl or stale_while_revalidate. evicted: raise "
        "memory.max_bytes. invalidated: writes of the application. bypass_credential: see sharing. bypass_shape, "
        "bypass_query: the application asks in a way that can't be cached.",
        IDS,
        (Query(total("resource, reason", rate("misses_total", RESOURCE)), "{{resource}} {{reason}}"),),
        stacked=True,
    ),
    Graph(
        "Age when served",
        "Of the oldest entity in an answer. Beyond ttl it is stale: as long as the upstream works that passes with "
        "the next request. It grows through an outage, up to stale_if_error.",
        SECONDS,
        tuple(
            Query(quantile(q, "resource", "entity_age_seconds", RESOURCE), f"{{{{resource}}}} p{q * 100:.0f}")
            for q in (0.99, 0.5)
        ),
    ),
    Graph(
        "Entities held, and stale ones of them",
        "Stale ones are served while they are fetched again, and through an outage. All of them stale, and the circuit "
        "closed: the upstream gives no usable answers, see its errors.",
        COUNT,
        (
            Query(total("resource", metric("stored_entities", RESOURCE)), "{{resource}} held"),
            Query(total("resource", metric("stale_entities", RESOURCE)), "{{resource}} stale"),
        ),
    ),
    Graph(
        "Look-ups by tier",
        "Memory first, then the database. Many hits of the database: more memory.max_bytes would make them faster. "
        "Errors: see the store row.",
        IDS,
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
        IDS,
        (Query(total("resource, reason", rate("evictions_total", RESOURCE)), "{{resource}} {{reason}}"),),
    ),
    Graph(
        "Invalidations",
        "Copies that were dropped: a write on a single path (method), or an erasure. Many more than the application "
        "writes: something writes in a loop.",
        IDS,
        (Query(total("resource, source", rate("invalidations_total", RESOURCE)), "{{resource}} {{source}}"),),
    ),
    Graph(
        "Coalesced ids",
        "Ids that joined a fetch under way instead of making another one: herds that the upstream did not see.",
        IDS,
        (Query(total("resource", rate("coalesced_ids_total", RESOURCE)), "{{resource}}"),),
    ),
)
