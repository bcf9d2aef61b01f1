"""The numbers on top of the dashboard."""

from collections.abc import Sequence
from typing import Final

from k8s.dashboards.panels import COUNT, REQUESTS, SECONDS, SHARE, Query, Stat
from k8s.dashboards.promql import (
    CACHED,
    COPIES,
    RESOURCE,
    USED,
    failures,
    metric,
    quantile,
    rate,
    share,
    total,
)

_CLOSED = 'state="closed"'

STATS: Final[Sequence[Stat]] = (
    Stat(
        "Hit ratio",
        "Ids answered from what is held: fresh, stale, or known to be absent. How high it can be depends on what the "
        "application keeps itself: compare it with yesterday. If it fell, look at why misses were misses.",
        SHARE,
        Query(share(rate("entities_total", RESOURCE, COPIES), rate("entities_total", RESOURCE))),
    ),
    Stat(
        "Latency, p99",
        "Of all but what is passed through. The application gives up after 5 s. If it is high, see by which cache "
        "result: misses wait for the upstream, hits for nothing but the processor and the database.",
        SECONDS,
        Query(quantile(0.99, "", "request_duration_seconds", CACHED)),
        steps=((None, "green"), (1, "orange"), (4, "red")),
    ),
    Stat(
        "Error ratio",
        "Look-ups and calls of the handshake API that failed: the application takes each for 'not found'. The "
        "objective is 0.1 %. If it is red, see the errors by route and code, and the circuit.",
        SHARE,
        Query(share(failures(), rate("requests_total", CACHED))),
        steps=((None, "green"), (0.001, "orange"), (0.0144, "red")),
    ),
    Stat(
        "Requests",
        "All that the application asks, passed through or not, the Inspector left out. None at all: it is not using "
        "the proxy; check its base URL.",
        REQUESTS,
        Query(total("", rate("requests_total", USED))),
    ),
    Stat(
        "Circuit",
        "Whether any instance has the circuit to an upstream open. Copies are served meanwhile. Do not roll or scale "
        "pods: a new pod starts with an empty store. Half open after a quiet time says nothing.",
        COUNT,
        Query(f"1 - min({metric('upstream_circuit_state', _CLOSED)})"),
        words={"0": ("closed", "green"), "1": ("not closed", "red")},
    ),
    Stat(
        "Store",
        "Whether any instance works without its database. Answers go on from memory, but a restart loses them, and "
        "the handshake API has no ids of users to show. The log says why.",
        COUNT,
        Query(f"max({metric('store_degraded')})"),
        words={"0": ("works", "green"), "1": ("degraded", "red")},
    ),
    Stat(
        "Instances ready",
        "Fewer than there should be: see which pod is not ready, and its log. No probe looks at the upstream.",
        COUNT,
        Query(total("", metric("ready"))),
        steps=((None, "red"), (1, "green")),
    ),
    Stat(
        "Version",
        "Two of them during a rollout; two for long: it is stuck.",
        COUNT,
        Query(f"count by (version) ({metric('build_info')})", "{{version}}"),
        by_name=True,
    ),
)
