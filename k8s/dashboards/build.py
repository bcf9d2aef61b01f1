"""The dashboard as Grafana's JSON. `make dashboards` writes it."""

import json
from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from k8s.dashboards.panels import DATASOURCE
from k8s.dashboards.rows import ROWS
from k8s.dashboards.stats import STATS

UID: Final = "handshake-proxy"
_ALL: Final = VariableOption(selected=True, text="All", value="$__all")


def build(runbooks: str) -> Dashboard:
    """The dashboard, with a link to the runbooks."""
    made = (
        dashboard.Dashboard("handshake-proxy")
        .uid(UID)
        .description("The sidecar cache between the attendance service and the user and business service.")
        .tags(["handshake-proxy"])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Runbooks")
            .type(DashboardLinkType.LINK)
            .url(runbooks)
            .target_blank(target_blank=True)
        )
        .annotation(_alerts())
    )
    for variable in _variables():
        made = made.with_variable(variable)
    number = 0
    for number, stat in enumerate(STATS, start=1):
        made = made.with_panel(stat.build().id(number))
    for title, graphs in ROWS.items():
        number += 1
        made = made.with_row(dashboard.Row(title).id(number))
        for graph in graphs:
            number += 1
            made = made.with_panel(graph.build().id(number))
    return made.build()


def render(runbooks: str) -> str:
    """The JSON text."""
    return json.dumps(build(runbooks), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _variables() -> Iterator[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    selected = ""
    for name in ("namespace", "job", "pod"):
        yield _variable(name, f"label_values(handshake_proxy_build_info{{{selected}}}, {name})")
        selected += f'{"," if selected else ""}{name}=~"${name}"'
    yield _variable("resource", f"label_values(handshake_proxy_stored_entities{{{selected}}}, resource)")


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(_ALL)
    )


def _alerts() -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(DATASOURCE)
        .enable(enable=True)
        .icon_color("red")
        .expr('ALERTS{alertname=~"HandshakeProxy.+",alertstate="firing",job=~"$job",namespace=~"$namespace"}')
    )
