"""docs/kubernetes.md, followed to the letter by an application that knows nothing of the proxy."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needed import tool
from tests.unit.k8s.manifests import Document, Manifests
from tests.unit.k8s.page import Application, blocks, commands
from tests.unit.k8s.rules import findings
from tests.unit.k8s.rules_sidecar import (
    configuration_is_in_effect,
    proxy_lives_longer_than_the_application,
    the_application_asks_the_proxy,
)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application.without_proxy(tmp_path)


@pytest.fixture
def adopted(application: Application) -> Application:
    application.adopt()
    return application


def _of(documents: list[Document], kind: str) -> Any:
    (document,) = (one for one in documents if one["kind"] == kind)
    return document


def _proxy(documents: list[Document]) -> Document:
    ((_, proxy),) = Manifests(documents).proxied
    return proxy


def test_the_page_is_followed_as_a_whole() -> None:
    assert set(blocks()) == {
        "deployment.yaml",
        "config.yaml",
        "use-proxy.yaml",
        "kustomization.yaml",
        "larger.yaml",
        "config.yaml, two upstreams",
        "secret.yaml",
        "config.yaml, with a credential",
        "kustomization.yaml, with monitoring",
        "use-proxy.yaml, on a cluster before 1.29",
    }
    # What needs no cluster is what `Application` does.
    assert [line for line in commands() if line.startswith(("cp ", "kubectl kustomize"))] == [
        "cp -r handshake-proxy/k8s/components handshake-proxy-components",
        "kubectl kustomize .",
    ]


def test_adopting_it_gives_a_pod_that_keeps_the_rules(adopted: Application) -> None:
    documents = adopted.rendered()
    assert findings(documents) == []
    (image,) = blocks()["kustomization.yaml"]["images"]
    assert _proxy(documents)["image"] == f"{image['newName']}:{image['newTag']}"


def test_rolling_back_in_steps_leads_to_where_it_was(application: Application) -> None:
    before = application.rendered()
    kustomization = (application.directory / "kustomization.yaml").read_text()
    deployment = (application.directory / "deployment.yaml").read_text()
    application.adopt()

    adopted = yaml.safe_load((application.directory / "kustomization.yaml").read_text())
    application.write("kustomization.yaml", adopted | {"patches": []})
    idle = application.rendered()
    assert {rule for rule, _ in findings(idle)} == {the_application_asks_the_proxy}
    was = _of(before, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert _of(idle, "Deployment")["spec"]["template"]["spec"]["containers"] == was

    (application.directory / "kustomization.yaml").write_text(kustomization)
    (application.directory / "deployment.yaml").write_text(deployment)
    assert application.rendered() == before


def test_rolling_back_in_a_minute_gives_the_application_what_it_had(
    application: Application, tmp_path: Path
) -> None:
    was = _of(application.rendered(), "Deployment")["spec"]["template"]["spec"]
    application.adopt()
    adopted = _of(application.rendered(), "Deployment")
    application.write("adopted.yaml", adopted)
    (quick,) = (line for line in commands() if line.startswith("kubectl set env"))
    local = quick.replace("deployment/attendance", "--local -f adopted.yaml -o yaml")
    done = subprocess.run(
        [tool("kubectl"), *local.split()[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    pod = yaml.safe_load(done.stdout)["spec"]["template"]["spec"]
    assert pod["containers"][0]["env"] == was["containers"][0]["env"]
    # And nothing beside it: the proxy keeps its own.
    assert pod["initContainers"][0]["env"] == adopted["spec"]["template"]["spec"]["initContainers"][0]["env"]


def test_a_label_that_the_kustomization_adds_comes_too_late(application: Application) -> None:
    deployment = yaml.safe_load((application.directory / "deployment.yaml").read_text())
    application.adopt()
    application.write("deployment.yaml", deployment)
    application.merge("kustomization.yaml", {"labels": [{"pairs": {"handshake-proxy/sidecar": "enabled"}}]})
    assert Manifests(application.rendered()).proxied == []


def test_an_edit_of_the_configuration_makes_new_pods(adopted: Application) -> None:
    before = adopted.rendered()
    adopted.merge("config.yaml", {"log": {"level": "debug"}})
    after = adopted.rendered()
    assert _of(before, "ConfigMap")["metadata"]["name"] != _of(after, "ConfigMap")["metadata"]["name"]
    assert _of(before, "Deployment")["spec"]["template"] != _of(after, "Deployment")["spec"]["template"]
    assert findings(after) == []


def test_a_larger_store(adopted: Application) -> None:
    adopted.merge("config.yaml", {"store": {"max_bytes": "512MiB"}})
    assert findings(adopted.rendered()) != []
    adopted.write("larger.yaml", blocks()["larger.yaml"])
    adopted.merge("kustomization.yaml", {"patches": [{"path": "larger.yaml"}]})
    assert findings(adopted.rendered()) == []


def test_two_upstreams(adopted: Application) -> None:
    adopted.write("config.yaml", blocks()["config.yaml, two upstreams"])
    documents = adopted.rendered()
    ((rule, finding),) = findings(documents)
    assert rule is the_application_asks_the_proxy
    assert "http://127.0.0.1:8082" in finding
    _of(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"].append(
        {"name": "BUSINESS_SERVICE_URL", "value": "http://127.0.0.1:8082"}
    )
    assert findings(documents) == []


def test_a_credential(adopted: Application) -> None:
    adopted.write("config.yaml", blocks()["config.yaml, with a credential"])
    adopted.write("secret.yaml", blocks()["secret.yaml"])
    adopted.merge("kustomization.yaml", {"patches": [{"path": "secret.yaml"}]})
    documents = adopted.rendered()
    # All is well, but that the file is not on this machine.
    ((rule, finding),) = findings(documents)
    assert rule is configuration_is_in_effect
    (path,) = (word for word in finding.replace(": ", " ").split() if word.startswith("/"))
    mounts = [mount["mountPath"] for mount in _proxy(documents)["volumeMounts"]]
    assert str(Path(path).parent) in mounts
    assert "/etc/handshake-proxy" in mounts


def test_monitoring(adopted: Application) -> None:
    adopted.list_component("podmonitor")
    adopted.list_component("prometheusrule")
    adopted.merge("kustomization.yaml", blocks()["kustomization.yaml, with monitoring"])
    documents = adopted.rendered()
    assert findings(documents) == []
    for kind in ("PodMonitor", "PrometheusRule"):
        assert _of(documents, kind)["metadata"]["labels"]["release"] == "prometheus"


def test_a_labelled_policy_lets_prometheus_in_and_nobody_else(adopted: Application) -> None:
    adopted.add("networkpolicy.yaml")
    before = adopted.rendered()
    adopted.list_component("networkpolicy")
    assert adopted.rendered() == before
    adopted.merge("networkpolicy.yaml", {"metadata": {"labels": {"handshake-proxy/sidecar": "enabled"}}})
    (was, now) = (_of(documents, "NetworkPolicy")["spec"] for documents in (before, adopted.rendered()))
    assert now["ingress"][:-1] == was["ingress"]
    assert now["ingress"][-1] == {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "ports": [{"protocol": "TCP", "port": 9464}],
    }
    assert now | {"ingress": []} == was | {"ingress": []}


def test_an_older_cluster(adopted: Application) -> None:
    adopted.list_component("sidecar-legacy", instead_of="sidecar")
    rules = [rule for rule, _ in findings(adopted.rendered())]
    assert rules == [proxy_lives_longer_than_the_application]  # a patch moves what it names to the front
    adopted.write("use-proxy.yaml", blocks()["use-proxy.yaml, on a cluster before 1.29"])
    assert findings(adopted.rendered()) == []
