"""What is true of handshake-proxy in a pod: how it lives and ends, what it is given, who reaches it."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from config.load import ConfigError, Problem, load
from config.model import Config
from tests.unit.k8s.manifests import LABEL, OPS_PORT, PROXY, Document, Manifests, Workload, bytes_of

PROBES: Final = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
PROGRAM_BYTES: Final = 85 << 20
"""Resident memory of the program without its memory tier, with what it works with, as docs/sizing.md has it."""
CONNECTION_BYTES: Final = 16 << 10
"""What one client connection may take, as docs/sizing.md has it."""
EVENT_BYTES: Final = 16 << 20
"""What bodies of events may take in all, as docs/threat-model.md has it."""


def configuration(manifests: Manifests, workload: Workload, proxy: Document) -> Config:
    """What is in effect in a pod: its file and its environment. Raises ConfigError."""
    variables = frozenset(_environment(manifests, workload, proxy))
    secrets = frozenset(_secret_files(manifests, workload, proxy))
    return _load(config_file(manifests, workload, proxy), variables, secrets)


def _environment(manifests: Manifests, workload: Workload, proxy: Document) -> Iterator[tuple[str, str]]:
    for one in proxy.get("env", []):
        if "value" in one:
            yield one["name"], one["value"]
        elif (key := one["valueFrom"].get("secretKeyRef")) is not None:
            secret = manifests.secret(key["name"], workload.namespace)
            if key["key"] in secret:
                yield one["name"], secret[key["key"]]


def _secret_files(manifests: Manifests, workload: Workload, proxy: Document) -> Iterator[tuple[str, str]]:
    """Path and content of each file that a Secret of the manifests puts into the container."""
    names = {
        volume["name"]: volume["secret"]["secretName"]
        for volume in workload.pod["volumes"]
        if "secret" in volume
    }
    for mount in proxy["volumeMounts"]:
        if mount["name"] in names:
            for key, content in manifests.secret(names[mount["name"]], workload.namespace).items():
                yield f"{mount['mountPath']}/{key}", content


@cache
def _load(text: str, variables: frozenset[tuple[str, str]], secrets: frozenset[tuple[str, str]]) -> Config:
    with tempfile.TemporaryDirectory() as directory:
        said = dict(variables)
        for path, content in secrets:
            here = Path(f"{directory}{path}")
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_text(content)
            text = text.replace(path, str(here))
            said = {name: value.replace(path, str(here)) for name, value in said.items()}
        file = Path(directory, "config.yaml")
        file.write_text(text)
        return load(file, said)


def config_file(manifests: Manifests, workload: Workload, proxy: Document) -> str:
    """The file that the arguments name, by way of its mount and its ConfigMap. Raises ConfigError."""
    path = PurePosixPath(proxy["args"][proxy["args"].index("--config") + 1])
    for mount in proxy["volumeMounts"]:
        if path.parent != PurePosixPath(mount["mountPath"]):
            continue
        for volume in workload.pod["volumes"]:
            if volume["name"] == mount["name"] and "configMap" in volume:
                found = manifests.config_map(volume["configMap"]["name"], workload.namespace) or {}
                if path.name in found.get("data", {}):
                    return str(found["data"][path.name])
    raise ConfigError([Problem(str(path), "no ConfigMap has it")])


def labelled_workloads_have_one_proxy(manifests: Manifests) -> Iterator[str]:
    """The label and the container belong together; monitors find the pods by the label."""
    for workload in manifests.workloads:
        labels = workload.document["metadata"].get("labels", {})
        if len(workload.proxies) != (1 if labels.items() >= LABEL.items() else 0):
            yield f"{workload}: {len(workload.proxies)} proxies"
        if workload.proxies and not workload.labels.items() >= LABEL.items():
            yield f"{workload}: its pods do not have the label"


def configuration_is_in_effect(manifests: Manifests) -> Iterator[str]:
    """The proxy serves, and its configuration loads."""
    for workload, proxy in manifests.proxied:
        if proxy["args"][0] != "serve":
            yield f"{workload}: does not serve"
        try:
            configuration(manifests, workload, proxy)
        except ConfigError as error:
            for problem in error.problems:
                yield f"{workload}: the configuration: {problem}"


def configured(manifests: Manifests) -> Iterator[tuple[Workload, Document, Config]]:
    """Workloads that have the proxy, with its container and the configuration, where that loads."""
    for workload, proxy in manifests.proxied:
        try:
            yield workload, proxy, configuration(manifests, workload, proxy)
        except ConfigError:
            continue  # a finding of its own


def proxy_lives_longer_than_the_application(manifests: Manifests) -> Iterator[str]:
    """Native: by its kind, and without hooks. Else by the order, by postStart and by preStop."""
    for workload, proxy, config in configured(manifests):
        drain = config.limits.drain_timeout
        if proxy in workload.sidecars:
            if "lifecycle" in proxy:
                yield f"{workload}: a hook of a native sidecar runs while the application works"
            if workload.grace <= drain:
                yield f"{workload}: no time to drain"
        elif proxy in workload.plain:
            hooks = proxy.get("lifecycle", {})
            command = hooks.get("postStart", {}).get("exec", {}).get("command", [])
            if proxy is not workload.plain[0] or "handshake-proxy probe" not in " ".join(command):
                yield f"{workload}: the application does not wait for the proxy"
            match hooks.get("preStop", {}).get("exec", {}).get("command"):
                case ["sleep", seconds]:
                    if workload.grace <= int(seconds) + drain:
                        yield f"{workload}: no time to drain after preStop"
                case _:
                    yield f"{workload}: the proxy does not outlive the application"
            if workload.document["kind"] == "Job":
                yield f"{workload}: never ends beside a plain container"
        else:
            yield f"{workload}: the proxy is an init container, which never ends"


def probes_ask_the_ops_listener(manifests: Manifests) -> Iterator[str]:
    """All three, by number; the ops listener is reached from outside the pod."""
    for workload, proxy, config in configured(manifests):
        listen = config.ops.listen
        if (listen.host, listen.port) != ("0.0.0.0", OPS_PORT):
            yield f"{workload}: the ops listener is {listen}"
        for probe, path in PROBES.items():
            if proxy.get(probe, {}).get("httpGet") != {"path": path, "port": OPS_PORT}:
                yield f"{workload}: the {probe} does not ask {path}"


def data_stays_on_loopback(manifests: Manifests) -> Iterator[str]:
    """The data and handshake listeners are for the pod's own containers, and nothing outside mentions them. What is
    declared is what others reach: the ops listener, and that of the webhooks where there is one."""
    for workload, proxy, config in configured(manifests):
        listeners = [upstream.listen for upstream in config.upstreams.values()] + [config.handshake.listen]
        for listen in listeners:
            if not listen.is_loopback:
                yield f"{workload}: {listen} is not loopback"
        declared = sorted(port["containerPort"] for port in proxy.get("ports", []))
        webhooks = config.webhooks.listen
        if declared != sorted([OPS_PORT] if webhooks is None else [OPS_PORT, webhooks.port]):
            yield f"{workload}: the proxy declares the ports {declared}"
        hidden = {listen.port for listen in listeners}
        for service in manifests.of("Service"):
            if any(port.get("targetPort", port["port"]) in hidden for port in service["spec"]["ports"]):
                yield f"Service/{service['metadata']['name']}: leads to a data port of {workload}"


def only_the_scraper_reaches_metrics(manifests: Manifests) -> Iterator[str]:
    """Where a policy selects the pods, some namespace is let in to the ops port, and no rule lets in everybody."""
    for policy in manifests.of("NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        labels = spec["podSelector"].get("matchLabels", {})
        chosen = manifests.selected(labels, policy["metadata"].get("namespace"))
        if "Ingress" not in spec["policyTypes"] or not any(workload.proxies for workload in chosen):
            continue
        rules = [rule for rule in spec.get("ingress", []) if covers(rule, OPS_PORT)]
        if not any(peer.get("namespaceSelector") for rule in rules for peer in rule.get("from", [])):
            yield f"NetworkPolicy/{name}: Prometheus is kept out"
        if not all(rule.get("from") for rule in rules):
            yield f"NetworkPolicy/{name}: everybody reaches {OPS_PORT}"


def covers(rule: Document, port: int) -> bool:
    """Whether a rule of a NetworkPolicy is about the port."""
    ports = rule.get("ports")
    return not ports or any(
        "port" not in one or one["port"] <= port <= one.get("endPort", one["port"]) for one in ports
    )


def what_it_writes_is_bounded(manifests: Manifests) -> Iterator[str]:
    """A read-only root, and two volumes of the pod's own whose bounds the proxy keeps; one where a store is shared."""
    for workload, proxy, config in configured(manifests):
        if proxy["securityContext"].get("readOnlyRootFilesystem") is not True:
            yield f"{workload}: the root file system can be written"
        database = config.store.sqlite_path
        sizes = {
            mount["mountPath"]: bytes_of(volume["emptyDir"].get("sizeLimit", "0Ki"))
            for mount in proxy["volumeMounts"]
            for volume in workload.pod["volumes"]
            if volume["name"] == mount["name"] and "emptyDir" in volume
        }
        if database is None:
            if sizes.keys() - {"/tmp"}:  # noqa: S108 - a mount path
                yield f"{workload}: a volume for a database that is elsewhere"
        elif sizes.get(str(database.parent), 0) < 4 * config.store.max_bytes:
            yield f"{workload}: no room for {database}: it takes four times store.max_bytes"
        if not sizes.get("/tmp"):  # noqa: S108 - a mount path
            yield f"{workload}: no bounded /tmp"


def memory_is_bounded_and_the_processor_is_not(manifests: Manifests) -> Iterator[str]:
    """Room for the memory tier, the program, all connections, and one answer of the largest size in and out."""
    for workload, proxy, config in configured(manifests):
        resources = proxy.get("resources", {})
        limits, requests = resources.get("limits", {}), resources.get("requests", {})
        if limits.keys() != {"memory"} or requests.keys() != {"cpu", "memory"}:
            yield f"{workload}: requests {sorted(requests)}, limits {sorted(limits)}"
            continue
        listeners = len(config.upstreams) + 1  # each has so many connections
        needed = PROGRAM_BYTES + config.memory.max_bytes + 2 * config.limits.cached_response
        if config.webhooks.listen is not None:
            listeners += 1
            needed += EVENT_BYTES
        needed += config.limits.connections * listeners * CONNECTION_BYTES
        if bytes_of(limits["memory"]) < needed:
            yield f"{workload}: the memory limit is below {needed} bytes"
        if bytes_of(requests["memory"]) < PROGRAM_BYTES + config.memory.max_bytes:
            yield f"{workload}: the memory request is below what is used when memory is full"


def the_application_asks_the_proxy(manifests: Manifests) -> Iterator[str]:
    """Each transparent listener is the base URL of something beside it."""
    for workload, _, config in configured(manifests):
        values = {
            variable.get("value")
            for one in workload.plain
            if one["name"] != PROXY
            for variable in one.get("env", [])
        }
        for upstream in config.upstreams.values():
            url = f"http://{upstream.listen}"
            if url not in values:
                yield f"{workload}: nothing has {url} for its base URL"


def kubectl_means_the_application(manifests: Manifests) -> Iterator[str]:
    """`kubectl exec` and `kubectl logs` go to a container that is there and is not the proxy."""
    for workload, _ in manifests.proxied:
        annotations = workload.template["metadata"].get("annotations", {})
        default = annotations.get("kubectl.kubernetes.io/default-container")
        if default not in {one["name"] for one in workload.plain} - {PROXY}:
            yield f"{workload}: the default container is {default}"


RULES = (
    labelled_workloads_have_one_proxy,
    configuration_is_in_effect,
    proxy_lives_longer_than_the_application,
    probes_ask_the_ops_listener,
    data_stays_on_loopback,
    only_the_scraper_reaches_metrics,
    what_it_writes_is_bounded,
    memory_is_bounded_and_the_processor_is_not,
    the_application_asks_the_proxy,
    kubectl_means_the_application,
)
