"""The Pod Security Standard `restricted`, control by control, after the standard's own page; and a little more."""

from collections.abc import Iterator
from typing import Any

from tests.unit.k8s.manifests import Document, Manifests

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}


def pods_share_nothing_with_the_node(manifests: Manifests) -> Iterator[str]:
    """Host namespaces, host paths, host ports, hosts of probes, kernel settings."""
    for workload in manifests.workloads:
        yield from (f"{workload}: {found}" for found in _of_the_node(workload.pod))
        for one in workload.containers:
            where = f"{workload}: {one['name']}"
            if any(port.get("hostPort") for port in one.get("ports", [])):
                yield f"{where}: hostPort"
            for name, handler in _handlers(one):
                if handler.get("httpGet", {}).get("host") or handler.get("tcpSocket", {}).get("host"):
                    yield f"{where}: {name} has a host"


def _of_the_node(pod: Document) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes", []):
        kinds = volume.keys() - {"name"}
        if not kinds <= _VOLUMES:
            yield f"the volume {volume['name']} is a {', '.join(sorted(kinds))}"
    for sysctl in pod.get("securityContext", {}).get("sysctls", []):
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"


def _handlers(container: Document) -> Iterator[tuple[str, Document]]:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            yield name, container[name]
    yield from container.get("lifecycle", {}).items()


def containers_have_no_privileges(manifests: Manifests) -> Iterator[str]:
    """Not root, no capabilities, no way to get any, the runtime's seccomp profile."""
    for workload in manifests.workloads:
        pod = workload.pod.get("securityContext", {})
        yield from (f"{workload}: {found}" for found in _either(pod))
        for one in workload.containers:
            security = one.get("securityContext", {})
            where = f"{workload}: {one['name']}"
            yield from (f"{where}: {found}" for found in (*_either(security), *_own(security)))
            # What a container does not say, the pod says for it.
            if security.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
                yield f"{where}: may run as root"
            profile = security.get("seccompProfile", pod.get("seccompProfile", {}))
            if profile.get("type") not in {"RuntimeDefault", "Localhost"}:
                yield f"{where}: no seccomp profile"


def _either(security: Document) -> Iterator[str]:
    """What pods and containers may say."""
    if security.get("runAsUser") == 0:
        yield "runs as root"
    selinux: dict[str, Any] = security.get("seLinuxOptions", {})
    if selinux.get("type", "") not in _SELINUX_TYPES or selinux.keys() & {"user", "role"}:
        yield "SELinux options of its own"
    if security.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "AppArmor is off"
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield "a Windows host process"


def _own(security: Document) -> Iterator[str]:
    """What only containers may say."""
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "keeps capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may escalate its privileges"
    if security.get("privileged"):
        yield "is privileged"
    if security.get("procMount", "Default") != "Default":
        yield "an unmasked /proc"


def namespaces_enforce_it(manifests: Manifests) -> Iterator[str]:
    """The namespaces that are made here refuse what is less than restricted."""
    for namespace in manifests.of("Namespace"):
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"Namespace/{namespace['metadata']['name']} does not enforce restricted"


def pods_have_no_token(manifests: Manifests) -> Iterator[str]:
    """Nobody here speaks to the API server."""
    for workload in manifests.workloads:
        if workload.pod.get("automountServiceAccountToken") is not False:
            yield f"{workload}: the token of its service account is mounted"


RULES = (
    pods_share_nothing_with_the_node,
    containers_have_no_privileges,
    namespaces_enforce_it,
    pods_have_no_token,
)
