"""The row about the process itself."""

from collections.abc import Sequence
from typing import Final

from k8s.dashboards.panels import COUNT, INSTANCE, SECONDS, Graph, Query
from k8s.dashboards.promql import metric, total

PROCESS: Final[Sequence[Graph]] = (
    Graph(
        "Event loop lag",
        "How late the loop woke. Above some milliseconds for long: the process is short of processor. Remove a CPU "
        "limit, or share the load among more pods (not during an upstream outage).",
        SECONDS,
        (Query(metric("event_loop_lag_seconds"), INSTANCE),),
    ),
    Graph(
        "Tasks",
        "Of the event loop: some ten, one for each connection of the application, and those of fetches under way. "
        "Growing for hours while the requests do not: a leak, tell the maintainers.",
        COUNT,
        (Query(metric("tasks"), INSTANCE),),
    ),
    Graph(
        "Instances",
        "Ready and draining ones. Draining for longer than limits.drain_timeout: the process does not come to its end.",
        COUNT,
        (
            Query(total("", metric("ready")), "ready"),
            Query(total("", metric("draining")), "draining"),
        ),
        stacked=True,
    ),
    Graph(
        "Versions",
        "Instances by version.",
        COUNT,
        (Query(f"count by (version) ({metric('build_info')})", "{{version}}"),),
        stacked=True,
    ),
)
