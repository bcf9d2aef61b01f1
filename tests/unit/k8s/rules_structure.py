"""What any manifest must get right and a schema does not see."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tests.unit.k8s.manifests import OPS_PORT, Document, Manifests, Workload

_LONGEST_PORT_NAME = 15


def names_are_unique(manifests: Manifests) -> Iterator[str]:
    """Containers and volumes of a pod, mount paths and variables of a container."""
    for workload in manifests.workloads:
        yield from _twice(f"{workload}: container", (one["name"] for one in workload.containers))
        yield from _twice(f"{workload}: volume", (one["name"] for one in workload.pod.get("volumes", [])))
        for one in workload.containers:
            where = f"{workload}: {one['name']}"
            yield from _twice(f"{where}: mountPath", (at["mountPath"] for at in one.get("volumeMounts", [])))
            yield from _twice(f"{where}: env", (variable["name"] for variable in one.get("env", [])))


def variables_have_one_source(manifests: Manifests) -> Iterator[str]:
    """The API server rejects a value beside a `valueFrom`, which is what a patch of the one makes of the other."""
    for workload in manifests.workloads:
        for one in workload.containers:
            for variable in one.get("env", []):
                if {"value", "valueFrom"} <= variable.keys():
                    yield f"{workload}: {one['name']}: {variable['name']} has a value and a valueFrom"


def containers_have_images(manifests: Manifests) -> Iterator[str]:
    """The API server rejects them without: `image: Required value`."""
    for workload in manifests.workloads:
        for one in workload.containers:
            if not one.get("image"):
                yield f"{workload}: {one['name']} has no image"


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{what} {name} is there {times} times"


def ports_are_known_by_what_everybody_sees(manifests: Manifests) -> Iterator[str]:
    """Short names, and for sidecars none: Services and policies do not look among init containers."""
    for workload in manifests.workloads:
        for one in workload.plain:
            for port in one.get("ports", []):
                if len(port.get("name", "")) > _LONGEST_PORT_NAME:
                    yield f"{workload}: {one['name']}: the port name {port['name']} is too long"
        for one in workload.sidecars:
            if any("name" in port for port in one.get("ports", [])):
                yield f"{workload}: {one['name']}: a sidecar's port has a name"


def probes_are_where_they_may_be(manifests: Manifests) -> Iterator[str]:
    """The API server rejects them on init containers that are no sidecars."""
    kept = {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle"}
    for workload in manifests.workloads:
        for one in workload.init_containers:
            for name in sorted(kept & one.keys()):
                yield f"{workload}: {one['name']}: an init container has a {name}"


def mounts_and_volumes_match(manifests: Manifests) -> Iterator[str]:
    """Each mount has its volume, each volume its mount, and each is a directory as a whole."""
    for workload in manifests.workloads:
        volumes = {volume["name"] for volume in workload.pod.get("volumes", [])}
        mounts = [mount for one in workload.containers for mount in one.get("volumeMounts", [])]
        mounted = {mount["name"] for mount in mounts}
        for name in sorted(mounted - volumes):
            yield f"{workload}: {name} is mounted, and is no volume"
        for name in sorted(volumes - mounted):
            yield f"{workload}: the volume {name} is mounted nowhere"
        for mount in mounts:
            if mount.keys() & {"subPath", "subPathExpr"}:
                yield f"{workload}: {mount['name']} is mounted by subPath, which never sees a change"


def references_exist(manifests: Manifests) -> Iterator[str]:
    """ConfigMaps and the service account are among the documents. Secrets come from elsewhere."""
    accounts = {document["metadata"]["name"] for document in manifests.of("ServiceAccount")}
    for workload in manifests.workloads:
        for name in _config_maps(workload):
            if manifests.config_map(name, workload.namespace) is None:
                yield f"{workload}: there is no ConfigMap {name}"
        account = workload.pod.get("serviceAccountName", "default")
        if account not in {*accounts, "default"}:
            yield f"{workload}: there is no ServiceAccount {account}"


def _config_maps(workload: Workload) -> Iterator[str]:
    for volume in workload.pod.get("volumes", []):
        if "configMap" in volume:
            yield volume["configMap"]["name"]
    for one in workload.containers:
        for source in one.get("envFrom", []):
            if "configMapRef" in source:
                yield source["configMapRef"]["name"]
        for variable in one.get("env", []):
            if "configMapKeyRef" in variable.get("valueFrom", {}):
                yield variable["valueFrom"]["configMapKeyRef"]["name"]


def selectors_select(manifests: Manifests) -> Iterator[str]:
    """A workload selects its own pods; whatever else selects pods selects some of these."""
    for workload in manifests.workloads:
        selector = workload.document["spec"].get("selector", {}).get("matchLabels", {})
        if not selector.items() <= workload.labels.items():
            yield f"{workload}: the selector does not select its pods"
    for document in manifests.of("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        if not _selected(manifests, document):
            yield f"{document['kind']}/{document['metadata']['name']} selects no pods"


def _selected(manifests: Manifests, document: Document) -> list[Workload]:
    spec = document["spec"]
    match document["kind"]:
        case "Service":
            labels = spec.get("selector", {})
        case "NetworkPolicy":
            labels = spec["podSelector"].get("matchLabels", {})
        case _:
            labels = spec["selector"].get("matchLabels", {})
    return manifests.selected(labels, document["metadata"].get("namespace"))


def ports_asked_for_are_declared(manifests: Manifests) -> Iterator[str]:
    """What Services and monitors go to is a number that a container of the selected pods declares. Metrics of a sidecar
    are for monitors alone."""
    for service in manifests.of("Service"):
        wanted = [port.get("targetPort", port["port"]) for port in service["spec"]["ports"]]
        for workload in _selected(manifests, service):
            declared = _declared(workload.plain) | _declared(workload.sidecars) - {OPS_PORT}
            for port in wanted:
                if port not in declared:
                    yield f"Service/{service['metadata']['name']}: no container of {workload} has port {port}"
    for monitor in manifests.of("PodMonitor"):
        wanted = [endpoint.get("portNumber") for endpoint in monitor["spec"]["podMetricsEndpoints"]]
        for workload in _selected(manifests, monitor):
            declared = _declared(workload.containers)
            for port in wanted:
                if port not in declared:
                    yield f"PodMonitor/{monitor['metadata']['name']}: no container of {workload} has port {port}"


def _declared(containers: list[Document]) -> set[int]:
    return {port["containerPort"] for one in containers for port in one.get("ports", [])}


RULES = (
    names_are_unique,
    variables_have_one_source,
    containers_have_images,
    ports_are_known_by_what_everybody_sees,
    probes_are_where_they_may_be,
    mounts_and_volumes_match,
    references_exist,
    selectors_select,
    ports_asked_for_are_declared,
)
