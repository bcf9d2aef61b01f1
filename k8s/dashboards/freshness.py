"""The row about whether what is served is what the owner has: what is told of changes, fetched ahead, and audited."""

from collections.abc import Sequence
from typing import Final

from k8s.dashboards.panels import IDS, REQUESTS, SECONDS, SHARE, Graph, Query
from k8s.dashboards.promql import RESOURCE, quantile, rate, share, total

_COMPARED = 'result!="failed"'
_OUT_OF_DATE = 'result=~"outdated|gone"'

FRESHNESS: Final[Sequence[Graph]] = (
    Graph(
        "Events of the owner",
        "Messages to the webhook listener; nothing while webhooks are off. unchanged, repeated: late or sent twice, as "
        "it may be. refused: see the sender's secret and clock. invalid: the sender's mistake. limited: raise "
        "webhooks.max_rate. failed: see store errors.",
        REQUESTS,
        (Query(total("outcome", rate("webhook_events_total")), "{{outcome}}"),),
        stacked=True,
    ),
    Graph(
        "Refreshes",
        "Copies that were fetched again before anybody asked; nothing while refresh.enabled is false. Mostly "
        "unchanged: the ttl may be longer. failed: see the upstream's errors.",
        IDS,
        (Query(total("resource, result", rate("refreshes_total", RESOURCE)), "{{resource}} {{result}}"),),
        stacked=True,
    ),
    Graph(
        "Served out of date",
        "Of the copies that were compared, those that were not what the upstream had; nothing while audit.sample_ratio "
        "is 0. Above some per cent for long: see whether events arrive; else a shorter ttl, or the refresher.",
        SHARE,
        (
            Query(
                share(
                    rate("audits_total", RESOURCE, _OUT_OF_DATE),
                    rate("audits_total", RESOURCE, _COMPARED),
                    "resource",
                ),
                "{{resource}}",
            ),
        ),
    ),
    Graph(
        "For how long it had been out of date, p90",
        "Of those copies. at_most: since the upstream gave it out. at_least: since it was changed, where the owner's "
        "version is a time. Users saw the old one for so long; webhooks make it short.",
        SECONDS,
        (
            Query(
                quantile(0.9, "resource, bound", "audit_outdated_seconds", RESOURCE), "{{resource}} {{bound}}"
            ),
        ),
    ),
)
