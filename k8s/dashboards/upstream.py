"""The row about the owners of the entities."""

from collections.abc import Sequence
from typing import Final

from k8s.dashboards.panels import COUNT, IDS, REQUESTS, SECONDS, Graph, Query
from k8s.dashboards.promql import RESOURCE, metric, quantile, rate, total

_LOOKUP_ROUTES = 'route=~".+[.](bulk|single)"'

UPSTREAM: Final[Sequence[Graph]] = (
    Graph(
        "Circuit by upstream",
        "Instances by the state of the circuit to each upstream. Open: calls have failed in a row, and what is not "
        "held fails at once. Ask whoever owns the upstream; do not roll or scale pods.",
        COUNT,
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
        IDS,
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
        COUNT,
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
        REQUESTS,
        (Query(total("upstream, code", rate("upstream_requests_total")), "{{upstream}} {{code}}"),),
        stacked=True,
    ),
    Graph(
        "Upstream errors and retries",
        "Calls without a usable answer, by reason, and calls that were tried again. connect, dns, tls: the network or "
        "its configuration. timeout: it is slow. invalid_answer, implausible_absence: it answers, but nonsense. "
        "circuit_open: not asked.",
        REQUESTS,
        (
            Query(total("upstream, reason", rate("upstream_errors_total")), "{{upstream}} {{reason}}"),
            Query(total("upstream", rate("upstream_retries_total")), "{{upstream}} retries"),
        ),
    ),
    Graph(
        "Upstream latency",
        "Until it had answered: median and p99. Near the upstream's timeout, calls begin to fail.",
        SECONDS,
        tuple(
            Query(
                quantile(q, "upstream, route", "upstream_request_duration_seconds"),
                f"{{{{upstream}}}} {{{{route}}}} p{q * 100:.0f}",
            )
            for q in (0.99, 0.5)
        ),
    ),
)
