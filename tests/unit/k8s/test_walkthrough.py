"""docs/kubernetes.md, followed to the letter by an application that knows nothing of the proxy."""

import os
import shlex
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.needed import tool
from tests.unit.k8s.manifests import PROXY, Document, Manifests, Workload
from tests.unit.k8s.page import UPGRADE, Application, blocks, commands, scripts
from tests.unit.k8s.rules import findings
from tests.unit.k8s.rules_sidecar import (
    configuration_is_in_effect,
    the_application_asks_the_proxy,
)
from tests.unit.k8s.rules_structure import containers_have_images


def _of(documents: list[Document], kind: str) -> Any:
    (document,) = (one for one in documents if one["kind"] == kind)
    return document


def _pod(documents: list[Document]) -> Document:
    return Workload(_of(documents, "Deployment")).pod


def _proxy(documents: list[Document]) -> Document:
    ((_, proxy),) = Manifests(documents).proxied
    return proxy


def test_the_page_is_followed_as_a_whole() -> None:
    assert set(blocks()) == {
        "deployment.yaml",
        "config.yaml",
        "use-proxy.yaml",
        "kustomization.yaml",
        "config.yaml, with other ports",
        "ports.yaml",
        "larger.yaml",
        "config.yaml, two upstreams",
        "secret.yaml",
        "config.yaml, with a credential",
        "kustomization.yaml, with a shared store",
        "kustomization.yaml, with webhooks",
        "kustomization.yaml, with monitoring",
        "use-proxy.yaml, on a cluster before 1.29",
    }
    # What needs no cluster is what `Application` does.
    assert [line for line in commands() if line.startswith(("cp ", "kubectl kustomize"))] == [
        "cp -r handshake-proxy/k8s/components handshake-proxy-components",
        "kubectl kustomize .",
        "cp handshake-proxy/k8s/examples/postgres/{shared-store.yaml,store-egress.yaml,store.env,ca.crt} .",
        "cp handshake-proxy/k8s/examples/webhooks/webhook* .",
    ]


def test_adopting_it_gives_a_pod_that_keeps_the_rules(adopted: Application) -> None:
    documents = adopted.rendered()
    assert findings(documents) == []
    (image,) = blocks()["kustomization.yaml"]["images"]
    assert _proxy(documents)["image"] == f"{image['newName']}:{image['newTag']}"


@pytest.mark.parametrize("component", ["sidecar", "sidecar-legacy"])
def test_a_setting_that_came_from_elsewhere_is_replaced(application: Application, component: str) -> None:
    def from_a_secret(deployment: Document) -> None:
        (variable,) = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        del variable["value"]
        variable["valueFrom"] = {"secretKeyRef": {"name": "attendance", "key": "url"}}

    application.edit("deployment.yaml", from_a_secret)
    application.adopt()
    if component == "sidecar-legacy":
        application.list_component("sidecar-legacy", instead_of="sidecar")
        application.write("use-proxy.yaml", blocks()["use-proxy.yaml, on a cluster before 1.29"])
    assert findings(application.rendered()) == []


def test_the_proxy_comes_before_the_init_containers_that_the_application_has(
    application: Application,
) -> None:
    def migrate_first(deployment: Document) -> None:
        pod = deployment["spec"]["template"]["spec"]
        security = pod["containers"][0]["securityContext"]
        pod["initContainers"] = [{"name": "migrate", "image": "migrate:1", "securityContext": security}]

    application.edit("deployment.yaml", migrate_first)
    application.adopt()
    documents = application.rendered()
    assert findings(documents) == []
    assert [one["name"] for one in _pod(documents)["initContainers"]] == [PROXY, "migrate"]


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


def _label_in_the_kustomization(application: Application) -> None:
    application.edit("deployment.yaml", lambda deployment: deployment["metadata"].pop("labels"))
    application.merge("kustomization.yaml", {"labels": [{"pairs": {"handshake-proxy/sidecar": "enabled"}}]})


def _component_not_listed(application: Application) -> None:
    application.edit("kustomization.yaml", lambda kustomization: kustomization.pop("components"))


def _cron_job(application: Application) -> None:
    def change(document: Document) -> None:
        template = {"template": document["spec"]["template"]}
        document.update(apiVersion="batch/v1", kind="CronJob", spec={"jobTemplate": {"spec": template}})

    for name in ("deployment.yaml", "use-proxy.yaml"):
        application.edit(name, change)


@pytest.mark.parametrize("slip", [_label_in_the_kustomization, _component_not_listed, _cron_job])
def test_nobody_is_pointed_to_a_proxy_that_is_not_there(
    adopted: Application, slip: Callable[[Application], None]
) -> None:
    slip(adopted)
    (finding,) = containers_have_images(Manifests(adopted.rendered()))
    assert PROXY in finding


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


def test_other_ports(adopted: Application) -> None:
    before = adopted.rendered()
    adopted.write("config.yaml", blocks()["config.yaml, with other ports"])
    ((rule, finding),) = findings(adopted.rendered())
    assert rule is the_application_asks_the_proxy
    assert "http://127.0.0.1:18080" in finding
    use_proxy = adopted.directory / "use-proxy.yaml"
    use_proxy.write_text(use_proxy.read_text().replace("8080", "18080"))
    assert findings(adopted.rendered()) == []

    adopted.write("ports.yaml", blocks()["ports.yaml"])
    adopted.merge("kustomization.yaml", {"patches": [{"path": "ports.yaml"}]})
    moved = _proxy(adopted.rendered())
    # The number is changed wherever it was, and nothing else is.
    assert moved == yaml.safe_load(yaml.safe_dump(_proxy(before)).replace("9464", "19464"))


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


def test_a_policy_that_denies_everything_lets_prometheus_in(adopted: Application) -> None:
    metadata = {"name": "attendance", "labels": {"handshake-proxy/sidecar": "enabled"}}
    spec = {"podSelector": {}, "policyTypes": ["Ingress"]}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    }
    adopted.merge("kustomization.yaml", {"resources": ["networkpolicy.yaml"]})
    adopted.list_component("networkpolicy")
    for denying in (spec, {**spec, "ingress": []}):
        adopted.write("networkpolicy.yaml", {**policy, "spec": denying})
        documents = adopted.rendered()
        assert findings(documents) == []
        (rule,) = _of(documents, "NetworkPolicy")["spec"]["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": 9464}]


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
    # The patch for the native sidecar is refused, not half right.
    assert list(containers_have_images(Manifests(adopted.rendered())))
    adopted.write("use-proxy.yaml", blocks()["use-proxy.yaml, on a cluster before 1.29"])
    assert findings(adopted.rendered()) == []


@pytest.fixture
def restoring(adopted: Application) -> Application:
    """With what docs/upgrade.md adds to bring a back-up into new pods."""
    shown = blocks(UPGRADE)
    adopted.write("restore.yaml", shown["restore.yaml"])
    adopted.merge("kustomization.yaml", shown["kustomization.yaml, with a restore"])
    return adopted


def test_a_restore_comes_before_the_proxy_with_its_image_and_its_store(restoring: Application) -> None:
    documents = restoring.rendered()
    assert findings(documents) == []
    assert kubernetes_validate.validate(_of(documents, "Deployment"), "1.33", strict=True) == "1.33"
    restore, proxy = _pod(documents)["initContainers"]
    assert (restore["name"], proxy["name"]) == ("restore", PROXY)
    for key in ("image", "securityContext", "resources", "volumeMounts"):
        assert restore[key] == proxy[key]
    assert all(variable in proxy["env"] for variable in restore["env"])


def test_a_restore_on_an_older_cluster(restoring: Application) -> None:
    restoring.list_component("sidecar-legacy", instead_of="sidecar")
    restoring.write("use-proxy.yaml", blocks()["use-proxy.yaml, on a cluster before 1.29"])
    documents = restoring.rendered()
    assert findings(documents) == []
    assert [one["name"] for one in _pod(documents)["initContainers"]] == ["restore"]


def test_a_restore_waits_for_the_back_up_and_is_done_with_it(tmp_path: Path) -> None:
    (restore,) = blocks(UPGRADE)["restore.yaml"]["spec"]["template"]["spec"]["initContainers"]
    (data, config) = (tmp_path / "data", tmp_path / "config.yaml")
    data.mkdir()
    config.write_text(yaml.safe_dump(blocks()["config.yaml"]))

    def here(text: str) -> str:
        return text.replace("/etc/handshake-proxy/config.yaml", str(config)).replace("/data/", f"{data}/")

    environment = {
        **{one["name"]: here(one["value"]) for one in restore["env"]},
        "PATH": os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])),
    }
    (script,) = (text for text in scripts(UPGRADE) if "-c restore" in text)
    command = shlex.split(here(script))
    assert command[:5] == ["kubectl", "exec", "-i", "POD", "-c"]
    assert command[-2:] == ["<", "backup.jsonl"]
    wait = [*restore["command"], *map(here, restore["args"])]
    with subprocess.Popen(wait, env=environment) as waiting:
        try:
            done = subprocess.run(
                command[command.index("--") + 1 : -2],
                env=environment,
                input='{"resource": "user", "externalId": "u1"}\n',
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert "imported 1 rows" in done.stderr
            assert waiting.wait(timeout=10) == 0
        finally:
            waiting.kill()
    assert (data / "handshake.db").exists()
    # Started again with the same volume, it asks for nothing.
    assert subprocess.run(wait, env=environment, timeout=10, check=False).returncode == 0
