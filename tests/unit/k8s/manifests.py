"""Rendered manifests: how the tests get them, and how the rules find their way in them."""

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.needed import tool

Document = dict[str, Any]

REPOSITORY: Final = Path(__file__).parents[3]
K8S: Final = REPOSITORY / "k8s"
EXAMPLE: Final = K8S / "examples" / "attendance"
SHARED: Final = K8S / "examples" / "postgres"
"""The same application with replicas that share a store."""
WEBHOOKS: Final = K8S / "examples" / "webhooks"
"""The same replicas, told by the owner what has changed."""

PROXY: Final = "handshake-proxy"
LABEL: Final = {"handshake-proxy/sidecar": "enabled"}
OPS_PORT: Final = 9464

_WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"})


def render(directory: Path) -> list[Document]:
    """What `kubectl kustomize` makes of a directory; its complaint is the error."""
    done = subprocess.run(
        [tool("kubectl"), "kustomize", str(directory)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode or done.stderr:  # it warns of deprecated fields there
        raise ValueError(done.stderr)
    return list(yaml.safe_load_all(done.stdout))


def bytes_of(quantity: str) -> int:
    """A Kubernetes quantity of memory or disk, in bytes; only the binary units are used here."""
    return int(quantity[:-2]) << {"Ki": 10, "Mi": 20, "Gi": 30}[quantity[-2:]]


@dataclass(frozen=True)
class Workload:
    """Something that makes pods of a template."""

    document: Document

    def __str__(self) -> str:
        return f"{self.document['kind']}/{self.document['metadata']['name']}"

    @property
    def namespace(self) -> str | None:
        """Its namespace, if it is said."""
        namespace: str | None = self.document["metadata"].get("namespace")
        return namespace

    @property
    def template(self) -> Document:
        """The pods that it makes."""
        spec: Document = self.document["spec"]
        template: Document = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
        return template

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        return self.template["metadata"].get("labels") or {}

    @property
    def pod(self) -> Document:
        """The spec of its pods."""
        spec: Document = self.template["spec"]
        return spec

    @property
    def init_containers(self) -> list[Document]:
        """Init containers that run to their end: sidecars are not among them."""
        return [one for one in self.pod.get("initContainers", []) if one.get("restartPolicy") != "Always"]

    @property
    def sidecars(self) -> list[Document]:
        """Native sidecars."""
        return [one for one in self.pod.get("initContainers", []) if one.get("restartPolicy") == "Always"]

    @property
    def plain(self) -> list[Document]:
        """The containers that are no init containers."""
        return list(self.pod["containers"])

    @property
    def containers(self) -> list[Document]:
        """All of them."""
        return [*self.pod.get("initContainers", []), *self.plain]

    @property
    def proxies(self) -> list[Document]:
        """The containers that are handshake-proxy."""
        return [container for container in self.containers if container["name"] == PROXY]

    @property
    def grace(self) -> int:
        """Seconds between being told to end and being killed."""
        return int(self.pod.get("terminationGracePeriodSeconds", 30))


@dataclass(frozen=True)
class Manifests:
    """What one kustomization renders to."""

    documents: list[Document]

    def of(self, *kinds: str) -> Iterator[Document]:
        """The documents of these kinds."""
        return (document for document in self.documents if document["kind"] in kinds)

    @property
    def workloads(self) -> list[Workload]:
        """All that makes pods."""
        return [Workload(document) for document in self.of(*_WORKLOADS)]

    @property
    def proxied(self) -> list[tuple[Workload, Document]]:
        """Workloads that have the proxy, with its container."""
        return [(workload, proxy) for workload in self.workloads for proxy in workload.proxies]

    def selected(self, selector: dict[str, str], namespace: str | None) -> list[Workload]:
        """The workloads whose pods have these labels."""
        return [
            workload
            for workload in self.workloads
            if workload.namespace == namespace and selector.items() <= workload.labels.items()
        ]

    def config_map(self, name: str, namespace: str | None) -> Document | None:
        """The ConfigMap of this name."""
        return self._named("ConfigMap", name, namespace)

    def secret(self, name: str, namespace: str | None) -> dict[str, str]:
        """What the Secret of this name has; nothing where it comes from elsewhere."""
        found = self._named("Secret", name, namespace) or {}
        return {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}

    def _named(self, kind: str, name: str, namespace: str | None) -> Document | None:
        for document in self.of(kind):
            if (document["metadata"]["name"], document["metadata"].get("namespace")) == (name, namespace):
                return document
        return None
