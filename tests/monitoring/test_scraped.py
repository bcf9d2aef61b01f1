"""A real Prometheus scrapes the real proxy under load: every panel, rule and runbook has something to say.

Healthy alerts return nothing, so comparisons are made to return 0 or 1 (`bool`), and an hour ago is now; what is left
of each expression has to have data, and each series that it names, with its matchers, too.
"""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.process import serving
from tests.monitoring.load import under_load
from tests.monitoring.prometheus import PACKAGE, PATIENCE, scraping
from tests.needed import tool
from tests.postgres.server import Database

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
RULES = ROOT / "k8s" / "alerts" / "handshake-proxy.rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
DASHBOARD = ROOT / "k8s" / "dashboards" / "handshake-proxy.json"
WITHIN = 30.0

_VARIABLES = {"$__rate_interval": "5s", "$job": ".*", "$namespace": ".*", "$pod": ".*", "$resource": ".*"}
_SELECTOR = re.compile(r"\b(?:(?:\w+:)?handshake_proxy_\w+(?::\w+)?|up\b)(?:\{[^}]*\})?")


def panel_queries() -> dict[str, str]:
    """Every query of the dashboard, by panel and reference."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = {}
    for panel in panels:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            queries[f"panel {panel['title']} {target['refId']}"] = expression
    return queries


def rule_queries() -> dict[str, str]:
    """Every rule's expression with its comparisons made to say 0 or 1, and every selector in it."""
    rules: list[Any] = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    queries = {}
    for rule in rules:
        name, expression = rule.get("alert") or rule["record"], rule["expr"].replace(" offset 1h", "")
        queries[f"rule {name}"] = re.sub(r"(?<=\s)(==|>=|<=|>|<)(?=\s)", r"\1 bool", expression)
        for selector in _SELECTOR.findall(expression):
            queries[f"selector {selector}"] = f"last_over_time({selector}[1m])"
    return queries


def runbook_queries() -> dict[str, str]:
    """Every query of the runbooks about a metric of ours."""
    blocks = re.findall(r"```promql\n(.*?)```", RUNBOOKS.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if "handshake_proxy_" in line]
    return {f"runbook {line}": line for line in lines}


def test_all_queries_are_looked_at() -> None:
    titles = [
        panel["title"] for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"
    ]
    assert {
        title for title in titles if not any(f"panel {title} " in name for name in panel_queries())
    } == set()
    assert not any("$_" in query or '"$' in query.replace('"$1"', "") for query in panel_queries().values())
    assert 'selector handshake_proxy_evictions_total{reason="size"}' in rule_queries()
    assert "selector up" in rule_queries()
    assert len(runbook_queries()) > 10


@pytest.mark.slow
async def test_every_panel_and_every_rule_has_data(tmp_path: Path, database: Database) -> None:
    promtool = tool("promtool", PACKAGE)
    (tmp_path / "shared").mkdir()
    async with (
        under_load(tmp_path) as proxy,
        # It is not asked anything: a change log is read all the same.
        serving("http://127.0.0.1:9", tmp_path / "shared", HANDSHAKE_STORE__URL=database.url) as shared,
    ):
        targets = [proxy.addresses["ops"], shared.addresses["ops"]]
        async with scraping(targets, tmp_path, RULES) as prometheus:
            queries = panel_queries() | rule_queries() | runbook_queries()
            assert await prometheus.lacking(queries, seconds=WITHIN) == {}
            found = (await prometheus.get("targets"))["activeTargets"]
            assert [target["health"] for target in found] == ["up", "up"]
            groups = (await prometheus.get("rules"))["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
            # A store of one's own has no log, and gives no alarm about it.
            for name in ("change_log_lag_seconds", "change_log_listening"):
                (alone,) = await prometheus.instances_without(f"handshake_proxy_{name}")
                assert alone == proxy.addresses["ops"]
        async with proxy.client("ops") as ops:
            exposition = (await ops.get("/metrics")).body
    checked = await asyncio.to_thread(
        subprocess.run,
        [promtool, "check", "metrics"],
        input=exposition,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (checked.returncode, checked.stderr.decode()) == (0, "")
