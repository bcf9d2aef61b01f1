"""The pod of the attendance example, run for real: the application, its sidecar, and no network but loopback."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.image.base import PROJECT, base_name
from tests.image.engine import Engine, assert_without_rights, status_of
from tests.needed import tool

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]
EXAMPLE = PROJECT / "k8s" / "examples" / "attendance"
APPLICATION = "localhost/attendance:stand-in"
SCRIPT = "/application.py"
UPSTREAM = "https://main.example.org"
PORT = 3999
USERS_BULK = "/main/api/v3/users/bulk"
HANDSHAKE = "http://127.0.0.1:8081"
# What podman does not know, or does by means that a container here lacks.
LEFT_OUT = ("restartPolicy", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "ports")


class Pod:
    """The running pod, as `kubectl exec` would see it."""

    def __init__(self, engine: Engine, manifest: dict[str, Any]) -> None:
        self.engine = engine
        self.name = manifest["metadata"]["name"]
        self.containers = {container["name"]: container for container in manifest["spec"]["containers"]}
        self.proxy, self.application = self.containers

    def full_name(self, container: str) -> str:
        return f"{self.name}-{container}"

    def execute(self, container: str, *command: str) -> str:
        return self.engine.podman("exec", self.full_name(container), *command)

    def ask(self, url: str, document: object = None) -> Any:
        """A call by the application: the body of what it got, and `Cache-Status`."""
        body = [] if document is None else [json.dumps(document)]
        return json.loads(self.execute(self.application, "python", SCRIPT, "ask", url, *body))

    def base_url(self) -> str:
        """The one setting of the application, as it has it."""
        return self.execute(self.application, "printenv", "MAIN_SERVICE_URL").strip()

    def calls(self) -> int:
        """How often the user and business service was asked."""
        calls = self.ask(f"http://127.0.0.1:{PORT}")["body"]["calls"]
        assert isinstance(calls, int)
        return calls


def playable(rendered: str, image: str) -> list[dict[str, Any]]:
    """Of the rendered example what podman can play: the pod and its configuration, with images that are here."""
    documents = list(yaml.safe_load_all(rendered))
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    spec = template["spec"]
    # Sidecars come first, as they would; podman 4.3 would wait for their end as init containers.
    spec["containers"] = [*spec.pop("initContainers"), *spec["containers"]]
    for container, here in zip(spec["containers"], (image, APPLICATION), strict=True):
        container["image"] = here
        for name in LEFT_OUT:
            container.pop(name, None)
    metadata = {**template["metadata"], "name": deployment["metadata"]["name"]}
    configured = [document for document in documents if document["kind"] == "ConfigMap"]
    (settings,) = (document["data"] for document in configured)
    (name,) = (name for name, value in settings.items() if UPSTREAM in value)
    settings[name] = settings[name].replace(UPSTREAM, f"http://127.0.0.1:{PORT}")
    return [*configured, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]


@pytest.fixture(scope="module")
def manifests(engine: Engine, image: str) -> list[dict[str, Any]]:
    engine.commit(
        base_name(),
        APPLICATION,
        {Path(__file__).with_name("application.py"): SCRIPT},
        *("--entrypoint", json.dumps(["python", SCRIPT]), "--cmd", f"serve {PORT}"),
    )
    kubectl = tool("kubectl")
    return playable(engine.run(kubectl, "kustomize", str(EXAMPLE)), image)


@pytest.fixture
def pod(engine: Engine, manifests: list[dict[str, Any]], tmp_path: Path) -> Iterator[Pod]:
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    try:
        engine.podman("kube", "play", "--network=none", str(file))
        yield Pod(engine, manifests[-1])
    finally:
        engine.forget()
        engine.podman("volume", "rm", "--all", "--force")


def test_the_application_has_its_user_and_a_login_through_the_sidecar(pod: Pod) -> None:
    assert pod.calls() == 0
    url = pod.base_url() + USERS_BULK
    first = pod.ask(url, {"userIds": ["u1"]})
    assert first["body"] == {"users": [{"id": "u1", "name": "The name of u1"}], "count": 1}
    assert first["cache"] == "handshake-proxy; fwd=uri-miss; stored"
    second = pod.ask(url, {"userIds": ["u1"]})
    assert second["body"] == first["body"]
    assert second["cache"].startswith("handshake-proxy; hit")
    login = {"userId": "u1", "businessId": "b1"}
    assert pod.ask(f"{HANDSHAKE}/v1/login", login)["body"]["source"] == {"user": "hit", "business": "miss"}
    assert pod.ask(f"{HANDSHAKE}/v1/login", login)["body"]["source"] == {"user": "hit", "business": "hit"}
    assert pod.calls() == 2


def test_a_sidecar_that_starts_again_still_has_the_user(pod: Pod) -> None:
    pod.calls()  # wait for the user and business service
    url = pod.base_url() + USERS_BULK
    pod.ask(url, {"userIds": ["u1"]})
    pod.engine.podman("restart", "--time=25", pod.full_name(pod.proxy))
    assert pod.ask(url, {"userIds": ["u1"]})["cache"].startswith("handshake-proxy; hit")
    assert pod.calls() == 1


def test_both_run_with_the_rights_that_the_manifest_gives_them(pod: Pod) -> None:
    for name, container in pod.containers.items():
        security = container["securityContext"]
        assert security["runAsUser"] == security["runAsGroup"]
        assert_without_rights(status_of(pod.execute(name, "cat", "/proc/1/status")), security["runAsUser"])
        assert security["readOnlyRootFilesystem"] is True
        with pytest.raises(AssertionError, match="Read-only file system"):
            pod.execute(name, "touch", "/x")
        interfaces = pod.execute(name, "ls", "/sys/class/net").split()
        assert interfaces == ["lo"]


def test_the_sidecar_ends_with_0(pod: Pod) -> None:
    pod.ask(f"{HANDSHAKE}/openapi.json")  # it is up
    pod.execute(pod.proxy, "handshake-proxy", "probe")
    pod.engine.podman("stop", "--time=25", pod.full_name(pod.proxy))
    code = pod.engine.podman("inspect", "--format={{.State.ExitCode}}", pod.full_name(pod.proxy))
    assert code.strip() == "0"
