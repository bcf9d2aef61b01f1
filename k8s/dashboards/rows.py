"""The rows of the dashboard, from top to bottom, with the graphs of each."""

from collections.abc import Mapping, Sequence
from typing import Final

from k8s.dashboards.freshness import FRESHNESS
from k8s.dashboards.panels import Graph
from k8s.dashboards.process import PROCESS
from k8s.dashboards.store import SHARED_STORE, STORE
from k8s.dashboards.traffic import CACHE, OVERVIEW
from k8s.dashboards.upstream import UPSTREAM

ROWS: Final[Mapping[str, Sequence[Graph]]] = {
    "Overview": OVERVIEW,
    "Cache": CACHE,
    "Freshness": FRESHNESS,
    "Upstream": UPSTREAM,
    "Memory and store": STORE,
    "Shared store": SHARED_STORE,
    "Process": PROCESS,
}
