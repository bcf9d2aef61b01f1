"""The rules: what promtool says, what the operator reads, and a runbook for each alert."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.alerts.build import RUNBOOKS, pointed
from k8s.dashboards.promql import CACHED, FAILED, REFUSED, USED
from proxy.web.handshake.router import OTHER as NO_CALL
from proxy.web.inspector.pages import ROUTE as PAGE
from proxy.web.inspector.snapshot import ROUTE as FEED
from tests.monitoring.prometheus import PACKAGE
from tests.needed import tool

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "k8s" / "alerts"
RULES = ALERTS / "handshake-proxy.rules.yaml"
TESTS = sorted(ALERTS.glob("*.test.yaml"))


@pytest.fixture(scope="module")
def groups() -> Any:
    return yaml.safe_load(RULES.read_text())["groups"]


@pytest.fixture(scope="module")
def alerts(groups: Any) -> dict[str, Any]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.fixture(scope="module")
def records(groups: Any) -> dict[str, str]:
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def promtool(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [tool("promtool", PACKAGE), *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_alerts_fire_when_they_must_and_are_silent_when_they_must_not(file: Path) -> None:
    code, said = promtool("test", "rules", file)
    assert code == 0, said


def test_each_alert_is_seen_silent_and_firing(alerts: dict[str, Any]) -> None:
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for file in TESTS:
        for scenario in yaml.safe_load(file.read_text())["tests"]:
            for case in scenario["alert_rule_test"]:
                seen[bool(case.get("exp_alerts"))].add(case["alertname"])
    assert seen == {True: alerts.keys(), False: alerts.keys()}


def test_each_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(alerts: dict[str, Any]) -> None:
    for name, alert in alerts.items():
        assert re.fullmatch(r"HandshakeProxy([A-Z][a-z]+)+", name)
        assert alert["for"]
        assert alert["labels"].keys() == {"severity"}
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS}#{name.lower()}"


def test_each_alert_has_its_runbook_and_each_runbook_its_alert(alerts: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "runbooks.md").read_text()
    sections = dict(
        re.findall(r"^## (HandshakeProxy\w+)\n\n(.+?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    )
    assert sections.keys() == alerts.keys()
    for name, text in sections.items():
        assert text.startswith(f"*{alerts[name]['labels']['severity']}.*"), name
        assert re.search(r"\bDo\s+not\b|\bnot\s+during\s+an\s+upstream\s+outage\b", text), name


def test_the_windows_of_the_burn_differ_in_nothing_else(records: dict[str, str]) -> None:
    prefix = "namespace_job:handshake_proxy_request_failures:"
    for kind, windows in {
        "ratio_rate": {"5m", "30m", "1h", "2h", "6h", "1d", "3d"},
        "increase": {"1h", "1d"},
    }.items():
        found = {name.removeprefix(prefix + kind): name for name in records if name.startswith(prefix + kind)}
        assert found.keys() == windows
        assert len({records[name].replace(f"[{window}]", "[w]") for window, name in found.items()}) == 1


def test_every_recorded_series_is_used(alerts: dict[str, Any], records: dict[str, str]) -> None:
    used = " ".join([*(alert["expr"] for alert in alerts.values()), *records.values()])
    assert [name for name in records if not re.search(rf"(?<![\w:]){name}(?![\w:])", used)] == []


def test_the_application_s_requests_are_told_from_others_by_the_same_words_everywhere(
    alerts: dict[str, Any], records: dict[str, str]
) -> None:
    expressions = " ".join([*(alert["expr"] for alert in alerts.values()), *records.values()])
    failed, refused = ",".join(FAILED), ",".join(REFUSED)
    selectors = set(re.findall(r"handshake_proxy_requests_total\b(?:{([^}]*)})?", expressions))
    assert selectors == {CACHED, USED, failed, refused}
    page = (ROOT / "docs" / "runbooks.md").read_text()
    burn, _, traffic = page.partition("## HandshakeProxyNoTraffic")
    assert set(re.findall(r"handshake_proxy_requests_total{([^}]*)}", burn)) == {failed, refused}
    assert re.findall(r"handshake_proxy_requests_total{([^}]*)}", traffic) == [USED]


@pytest.mark.parametrize("route", [FEED, PAGE, NO_CALL, "openapi"])
def test_who_looks_is_not_the_application(route: str) -> None:
    for selector in (USED, CACHED):
        excluded = re.fullmatch(r'route!~"(.+)"', selector)
        assert excluded
        assert re.fullmatch(excluded[1], route)
        assert not re.fullmatch(excluded[1], "inspector.bulk")  # a resource may have that name


def test_no_rule_mixes_applications_or_namespaces(groups: Any) -> None:
    for rule in (rule for group in groups for rule in group["rules"]):
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]):
            assert {"namespace", "job"} <= set(labels.split(", ")), rule


def test_the_operators_rule_has_the_same_groups(groups: Any) -> None:
    # That the operator reads it so is tested with the other manifests.
    file = ROOT / "k8s" / "components" / "prometheusrule" / "prometheusrule.yaml"
    assert yaml.safe_load(file.read_text())["spec"] == {"groups": groups}


def test_the_way_to_the_runbooks_is_changed_in_one_place() -> None:
    elsewhere = RULES.read_text().replace(RUNBOOKS, "https://wiki.example.net/old.md")
    assert pointed(elsewhere) == RULES.read_text()
