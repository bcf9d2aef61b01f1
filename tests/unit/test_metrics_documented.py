"""The table of metrics in docs/operations.md is the registry, no more and no less."""

import re
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from proxy.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PREFIX = "handshake_proxy_"


class Row(NamedTuple):
    """One metric, as the table says it."""

    name: str
    kind: str
    labels: tuple[str, ...]


def _documented() -> list[Row]:
    section = PAGE.read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|(.*?)\|", section, re.MULTILINE)
    return [Row(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]


def _registered() -> list[Row]:
    rows = []
    for metric in Metrics(is_shared=True).registry._collector_to_names:
        assert isinstance(metric, MetricWrapperBase)
        suffix = "_total" if isinstance(metric, Counter) else ""
        rows.append(
            Row(
                metric._name.removeprefix(PREFIX) + suffix,
                type(metric).__name__.lower(),
                tuple(metric._labelnames),
            )
        )
        assert metric._name.startswith(PREFIX)
    return rows


def test_every_metric_is_documented_and_every_documented_one_is_there() -> None:
    assert sorted(_documented()) == sorted(_registered())


def test_every_metric_explains_itself() -> None:
    assert all(family.documentation.endswith(".") for family in Metrics(is_shared=True).registry.collect())
