"""The dashboard: the committed JSON is what the code makes, and Grafana's own SDK reads it without loss."""

import json
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from k8s import generate
from tests.unit.k8s.manifests import render

DASHBOARDS = Path(__file__).parents[2] / "k8s" / "dashboards"
FILE = DASHBOARDS / "handshake-proxy.json"
# kubectl keeps what was applied in an annotation, of which there may be so much.
MOST_BYTES = 262_144
WIDTH = 24


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def panels(document: Any) -> Any:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def test_generated_files_are_what_they_are_made_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert (generate.main(["--check"]), capsys.readouterr().err) == (0, "")


def test_the_sdk_reads_it_and_writes_the_same(document: Any) -> None:
    register_default_plugins()
    read = Dashboard.from_json(document)
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == document


def test_it_is_a_config_map_that_grafana_picks_up_and_kubectl_can_apply() -> None:
    (rendered,) = render(DASHBOARDS)
    assert rendered["kind"] == "ConfigMap"
    assert rendered["metadata"]["name"] == "handshake-proxy-dashboard"
    assert rendered["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert rendered["data"] == {FILE.name: FILE.read_text()}
    assert len(json.dumps(rendered)) < MOST_BYTES


def test_panels_say_what_they_show_in_which_unit_and_what_to_do(panels: Any) -> None:
    for panel in panels:
        assert len(panel["description"]) > 15, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["title"] for panel in panels}) == len(panels)


def test_panels_lie_side_by_side_within_the_grid(document: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < WIDTH
        assert not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


def test_every_query_is_narrowed_by_every_variable(document: Any, panels: Any) -> None:
    variables = [variable["name"] for variable in document["templating"]["list"]]
    assert variables == ["datasource", "namespace", "job", "pod", "resource"]
    for panel in panels:
        for target in panel["targets"]:
            selectors = target["expr"].count("handshake_proxy_")
            assert selectors >= 1
            for variable in ("job", "namespace", "pod"):
                assert target["expr"].count(f'{variable}=~"${variable}"') == selectors, panel["title"]


def test_latency_shows_exemplars(panels: Any) -> None:
    shown = [panel["title"] for panel in panels if any(target.get("exemplar") for target in panel["targets"])]
    assert shown == ["Latency by cache result"]
