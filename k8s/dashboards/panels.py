"""The two kinds of panel, with everything that is the same for all of them."""

from dataclasses import dataclass, field
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

SECONDS, SHARE, BYTES = "s", "percentunit", "bytes"
REQUESTS, IDS, COUNT = "reqps", "cps", "short"
"""Units, by Grafana's names."""

INSTANCE: Final = "{{pod}} {{instance}}"
"""The legend of what each instance has for itself."""

_STAT_WIDTH, _STAT_HEIGHT = 3, 4  # eight in a row
_GRAPH_WIDTH, _GRAPH_HEIGHT = 8, 8  # three in a row


@dataclass(frozen=True)
class Query:
    """One query of a panel. `legend` names a series by its labels."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    """Whether the points of single requests are drawn, with a way to their traces."""

    def build(self, ref: str) -> prometheus.Dataquery:
        """The SDK's query."""
        query = prometheus.Dataquery().expr(self.expr).ref_id(ref).datasource(DATASOURCE).range()
        query = query.legend_format(self.legend or "__auto")
        return query.exemplar(exemplar=True) if self.exemplars else query


@dataclass(frozen=True)
class Graph:
    """A graph over time. `description` says what it shows, and what to do when it looks bad."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    stacked: bool = False
    top: float | None = None
    """The upper end of the axis, where there is a natural one."""

    def build(self) -> timeseries.Panel:
        """The SDK's panel."""
        legend = common.VizLegendOptions()
        legend = legend.show_legend(show_legend=True).display_mode(LegendDisplayMode.LIST)
        panel = (
            timeseries.Panel()
            .title(self.title)
            .description(self.description)
            .datasource(DATASOURCE)
            .height(_GRAPH_HEIGHT)
            .span(_GRAPH_WIDTH)
            .unit(self.unit)
            .min(0)
            .fill_opacity(30 if self.stacked else 5)
            .show_points(VisibilityMode.NEVER)
            .legend(legend.placement(LegendPlacement.BOTTOM).calcs([]))
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        )
        if self.top is not None:
            panel = panel.max(self.top)
        if self.stacked:
            panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        return panel.targets([query.build(_ref(number)) for number, query in enumerate(self.queries)])


@dataclass(frozen=True)
class Stat:
    """One number of now, in colour. `steps` are the colours from a value on; `words` stand for values."""

    title: str
    description: str
    unit: str
    query: Query
    steps: tuple[tuple[float | None, str], ...] = ((None, "blue"),)
    words: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Text and colour, by value."""
    by_name: bool = False
    """Whether the number says nothing, and the series' name is what counts."""

    def build(self) -> stat.Panel:
        """The SDK's panel."""
        thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE)
        thresholds = thresholds.steps([Threshold(value, color) for value, color in self.steps])
        panel = (
            stat.Panel()
            .title(self.title)
            .description(self.description)
            .datasource(DATASOURCE)
            .height(_STAT_HEIGHT)
            .span(_STAT_WIDTH)
            .unit(self.unit)
            .thresholds(thresholds)
            .color_mode(BigValueColorMode.BACKGROUND)
            .graph_mode(BigValueGraphMode.NONE if self.words or self.by_name else BigValueGraphMode.AREA)
            .text_mode(BigValueTextMode.NAME if self.by_name else BigValueTextMode.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        )
        if self.words:
            options = {
                value: ValueMappingResult(text=text, color=color, index=index)
                for index, (value, (text, color)) in enumerate(self.words.items())
            }
            panel = panel.mappings([ValueMap(options)])
        return panel.targets([self.query.build("A")])


def _ref(number: int) -> str:
    return chr(ord("A") + number)
