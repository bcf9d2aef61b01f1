"""The example manifest: what a schema can't see, and that its configuration is one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import load, not_yet

MANIFEST = Path(__file__).parents[2] / "k8s" / "sidecar.yaml"
DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"
OPS_PORT = 9464


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def template(documents: dict[str, Any]) -> Any:
    return documents["Deployment"]["spec"]["template"]


@pytest.fixture(scope="module")
def pod(template: Any) -> Any:
    return template["spec"]


@pytest.fixture(scope="module")
def proxy(pod: Any) -> Any:
    (container,) = pod["initContainers"]
    return container


@pytest.fixture(scope="module")
def application(pod: Any) -> Any:
    (container,) = pod["containers"]
    return container


@pytest.fixture
def config_file(documents: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(documents["ConfigMap"]["data"]["config.yaml"])
    return file


def _environment_of_image() -> dict[str, str]:
    return dict(re.findall(r"\b(HANDSHAKE_\w+)=(\S+)", DOCKERFILE.read_text()))


def _mebibytes(quantity: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert match is not None
    return int(match[1]) * (1 if match[2] == "Mi" else 1024)


def test_the_proxy_is_a_native_sidecar(proxy: Any) -> None:
    assert proxy["name"] == "handshake-proxy"
    assert proxy["restartPolicy"] == "Always"
    # It would run when the pod begins to end, while the application still works.
    assert "lifecycle" not in proxy


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")],
)
def test_probes_ask_the_ops_listener_by_number_and_without_a_host(proxy: Any, probe: str, path: str) -> None:
    assert proxy[probe]["httpGet"] == {"path": path, "port": OPS_PORT}


def test_ports_are_numbers_without_names_and_data_ports_are_not_listed(proxy: Any, application: Any) -> None:
    assert proxy["ports"] == [{"containerPort": OPS_PORT}]
    assert all(port.keys() == {"containerPort"} for port in application["ports"])


def test_pod_security_is_restricted(pod: Any, proxy: Any, application: Any) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    for container in (proxy, application):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["runAsUser"] > 0
    assert (proxy["securityContext"]["runAsUser"], proxy["securityContext"]["runAsGroup"]) == (65532, 65532)
    assert proxy["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_manifest_and_the_image_agree_on_the_user() -> None:
    assert "\nUSER 65532:65532\n" in DOCKERFILE.read_text()


def test_what_the_proxy_writes_is_on_bounded_volumes_of_the_pod(pod: Any, proxy: Any) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in proxy["volumeMounts"]}
    for path in ("/data", "/tmp"):  # noqa: S108 - a mount path
        assert _mebibytes(volumes[mounts[path]["name"]]["emptyDir"]["sizeLimit"]) > 0
    assert {mount["name"] for mount in proxy["volumeMounts"]} == volumes.keys()


def test_the_data_volume_is_four_times_the_bound_of_the_store(pod: Any, config_file: Path) -> None:
    config = load(config_file, _environment_of_image())
    (data,) = (volume for volume in pod["volumes"] if volume["name"] == "handshake-proxy-data")
    assert _mebibytes(data["emptyDir"]["sizeLimit"]) * 2**20 == 4 * config.store.max_bytes


def test_the_configuration_is_mounted_as_a_whole_directory(
    documents: dict[str, Any], pod: Any, proxy: Any
) -> None:
    (mount,) = (mount for mount in proxy["volumeMounts"] if mount["name"] == "handshake-proxy-config")
    assert "subPath" not in mount
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "handshake-proxy-config")
    assert volume["configMap"] == {"name": documents["ConfigMap"]["metadata"]["name"]}
    (name,) = documents["ConfigMap"]["data"]
    assert proxy["args"] == ["serve", "--config", f"{mount['mountPath']}/{name}"]


def test_the_configuration_loads_and_is_in_effect_as_a_whole(config_file: Path) -> None:
    config = load(config_file, _environment_of_image())
    assert set(config.resources) == {"user", "business"}
    assert config.upstreams["main"].listen.is_loopback
    assert (config.ops.listen.host, config.ops.listen.port) == ("0.0.0.0", OPS_PORT)
    assert config.store.url == "sqlite:////data/handshake.db"
    assert not_yet(config) == []


def test_the_configuration_says_the_same_without_the_environment_of_the_image(config_file: Path) -> None:
    assert load(config_file, {}) == load(config_file, _environment_of_image())


def test_the_application_goes_to_the_proxy(template: Any, application: Any, config_file: Path) -> None:
    listen = load(config_file, {}).upstreams["main"].listen
    assert f"http://{listen.host}:{listen.port}" in [variable["value"] for variable in application["env"]]
    assert (
        template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == application["name"]
    )


def test_memory_is_bounded_and_the_processor_is_not(proxy: Any, config_file: Path) -> None:
    resources = proxy["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert resources["limits"].keys() == {"memory"}
    config = load(config_file, {})
    assert _mebibytes(resources["limits"]["memory"]) * 2**20 > 2 * config.memory.max_bytes


def test_there_is_time_for_the_drain(pod: Any, config_file: Path) -> None:
    assert pod["terminationGracePeriodSeconds"] > load(config_file, {}).limits.drain_timeout


def test_the_selector_selects_the_pods(documents: dict[str, Any], template: Any) -> None:
    selected = documents["Deployment"]["spec"]["selector"]["matchLabels"]
    assert selected.items() <= template["metadata"]["labels"].items()
