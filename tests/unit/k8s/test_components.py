"""The sidecar components in kustomizations of other shapes than the example's."""

import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.needed import tool
from tests.unit.k8s.manifests import EXAMPLE, K8S, PROXY, Document, Manifests, render
from tests.unit.k8s.rules_sidecar import configuration_is_in_effect, labelled_workloads_have_one_proxy

LABELS = {"labels": {"handshake-proxy/sidecar": "enabled"}}
POD = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {
        "restartPolicy": "Never",
        "initContainers": [{"name": "first", "image": "first:1"}],
        "containers": [{"name": "main", "image": "main:1"}],
    },
}


def _write(directory: Path, name: str, content: Document) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(yaml.safe_dump(content))


def _kustomization(directory: Path, component: str, **more: object) -> None:
    shutil.copytree(K8S / "components" / component, directory / "component")
    shutil.copy(EXAMPLE / "config.yaml", directory)
    generator = {"name": PROXY, "files": ["config.yaml"]}
    content = {"components": ["component"], "configMapGenerator": [generator], **more}
    _write(directory, "kustomization.yaml", content)


def _job(component: str, directory: Path) -> tuple[Any, Manifests]:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job", **LABELS},
        "spec": {"template": POD},
    }
    _write(directory, "job.yaml", job)
    _kustomization(directory, component, resources=["job.yaml"])
    documents = render(directory)
    (rendered,) = (document for document in documents if document["kind"] == "Job")
    return rendered, Manifests(documents)


def test_a_job_has_the_sidecar_before_its_other_init_containers(tmp_path: Path) -> None:
    job, manifests = _job("sidecar", tmp_path)
    names = [container["name"] for container in job["spec"]["template"]["spec"]["initContainers"]]
    assert names == [PROXY, "first"]
    assert kubernetes_validate.validate(job, "1.33", strict=True) == "1.33"
    assert list(configuration_is_in_effect(manifests)) == []


def test_a_job_has_no_plain_proxy_which_would_keep_it_from_ending(tmp_path: Path) -> None:
    _, manifests = _job("sidecar-legacy", tmp_path)
    assert manifests.proxied == []


@pytest.mark.parametrize("component", ["sidecar", "sidecar-legacy"])
def test_an_overlay_adds_it_to_what_is_labelled_in_a_base(tmp_path: Path, component: str) -> None:
    def workload(kind: str, name: str, **more: object) -> Document:
        spec = {"selector": {"matchLabels": {"app": "a"}}, "template": POD}
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, **more}, "spec": spec}

    base = tmp_path / "base"
    _write(base, "one.yaml", workload("Deployment", "one", **LABELS))
    _write(base, "two.yaml", workload("StatefulSet", "two", **LABELS))
    _write(base, "three.yaml", workload("Deployment", "three"))
    _write(base, "four.yaml", workload("DaemonSet", "four", **LABELS))
    resources = ["one.yaml", "two.yaml", "three.yaml", "four.yaml"]
    _write(base, "kustomization.yaml", {"resources": resources})
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    _kustomization(overlay, component, resources=["../base"], namePrefix="test-", namespace="test")

    manifests = Manifests(render(overlay))
    assert {str(workload) for workload, _ in manifests.proxied} == {
        "Deployment/test-one",
        "StatefulSet/test-two",
        "DaemonSet/test-four",
    }
    assert list(labelled_workloads_have_one_proxy(manifests)) == []
    assert list(configuration_is_in_effect(manifests)) == []


def test_the_two_components_differ_only_in_what_makes_a_sidecar() -> None:
    native, plain = (
        yaml.safe_load((K8S / "components" / name / "sidecar.yaml").read_text())
        for name in ("sidecar", "sidecar-legacy")
    )
    (one,) = native["spec"]["template"]["spec"].pop("initContainers")
    (other,) = plain["spec"]["template"]["spec"].pop("containers")
    assert one.pop("restartPolicy") == "Always"
    assert other.pop("lifecycle").keys() == {"postStart", "preStop"}
    assert other["env"].pop() == {"name": "HANDSHAKE_LIMITS__DRAIN_TIMEOUT", "value": "10s"}
    assert one == other
    assert native == plain


@contextmanager
def _slow_to_start(answers: list[int]) -> Iterator[int]:
    """Something that is asked whether it lives, and gives these answers; the port. It takes out what it gave."""

    class Livez(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Livez) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_post_start_of_the_plain_container_waits_until_the_proxy_lives() -> None:
    patch = yaml.safe_load((K8S / "components" / "sidecar-legacy" / "sidecar.yaml").read_text())
    (proxy,) = patch["spec"]["template"]["spec"]["containers"]
    command = proxy["lifecycle"]["postStart"]["exec"]["command"]
    answers = [503, 503, 200, 200]
    with _slow_to_start(answers) as port:
        path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
        environment = {**os.environ, "PATH": path, "HANDSHAKE_OPS__LISTEN": f"127.0.0.1:{port}"}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=50, check=False)
    assert (done.returncode, answers) == (0, [200])


CONTROLLERS = {
    ("ReplicaSet", "attendance-7d9f8c6b54"): "attendance",
    ("ReplicaSet", "attendance-web-7d9f8c6b54"): "attendance-web",
    ("StatefulSet", "attendance-web"): "attendance-web",
    ("DaemonSet", "attendance-web"): "attendance-web",
    ("Job", "attendance-import"): "attendance-import",
}
"""Kinds and names of what has made a pod, and the workload's name."""


def test_each_workload_is_a_job_of_its_own_for_prometheus(example: list[Document], tmp_path: Path) -> None:
    (monitor,) = (document for document in example if document["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    # As the operator writes it down, and pods as Prometheus discovers them.
    relabelings = [
        {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in one.items()}
        for one in endpoint["relabelings"]
    ]
    prefix = "__meta_kubernetes_pod_controller_"
    pods = [
        {"targets": [f"{kind}-{name}:9464"], "labels": {f"{prefix}kind": kind, f"{prefix}name": name}}
        for kind, name in CONTROLLERS
    ]
    scrape = {"job_name": "monitor", "static_configs": pods, "relabel_configs": relabelings}
    _write(tmp_path, "prometheus.yaml", {"scrape_configs": [scrape]})
    promtool = tool("promtool", "install Debian's prometheus")
    # It waits for all of the time for more to be discovered.
    command = [promtool, "check", "service-discovery", "--timeout=1s", "prometheus.yaml", "monitor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    found = {one["labels"]["instance"]: one["labels"]["job"] for one in json.loads(done.stdout)}
    assert found == {f"{kind}-{name}:9464": job for (kind, name), job in CONTROLLERS.items()}
