"""What is true where replicas share a store: they reach it, know that it is it, and tell nobody the password."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from config.model import Config
from tests.unit.k8s.manifests import Document, Manifests, Workload
from tests.unit.k8s.rules_sidecar import configured, covers

_PORT = 5432
"""PostgreSQL's, where the URL names none."""


def _urls(config: Config) -> list[str]:
    """Those of PostgreSQL."""
    urls = (config.store.url, config.store.listen_url)
    return [url for url in urls if url is not None and url.startswith("postgresql:")]


def _shared(manifests: Manifests) -> Iterator[tuple[Workload, Document, str]]:
    for workload, proxy, config in configured(manifests):
        for url in _urls(config):
            yield workload, proxy, url


def _hosts(url: str) -> Iterator[tuple[str, int]]:
    """Host and port of each of the servers that are tried in turn."""
    for server in urlsplit(url).netloc.rpartition("@")[2].split(","):
        host, _, port = server.partition(":")
        yield host, int(port or _PORT)


def a_shared_store_is_reached(manifests: Manifests) -> Iterator[str]:
    """Where policies limit the egress of the pods, one of their rules leads to each server."""
    for workload, _, url in _shared(manifests):
        policies = [
            policy["spec"]
            for policy in manifests.of("NetworkPolicy")
            if "Egress" in policy["spec"]["policyTypes"] and _selects(manifests, policy, workload)
        ]
        rules = [rule for policy in policies for rule in policy.get("egress", [])]
        for host, port in _hosts(url):
            if policies and not any(_leads(rule, workload.namespace, host, port) for rule in rules):
                yield f"{workload}: no policy lets it out to {host}:{port}"


def _selects(manifests: Manifests, policy: Document, workload: Workload) -> bool:
    labels = policy["spec"]["podSelector"].get("matchLabels", {})
    return workload in manifests.selected(labels, policy["metadata"].get("namespace"))


def _leads(rule: Document, own: str | None, host: str, port: int) -> bool:
    """Whether the rule leads to the namespace of a Service, or to any host at all."""
    if not covers(rule, port):
        return False
    _, _, rest = host.partition(".")
    namespace = {"kubernetes.io/metadata.name": rest.partition(".")[0] or own}
    return not rule.get("to") or any(
        peer.get("namespaceSelector", {}).get("matchLabels", {"kubernetes.io/metadata.name": own})
        == namespace
        for peer in rule["to"]
    )


def a_shared_store_is_known_by_its_certificate(manifests: Manifests) -> Iterator[str]:
    """Else whoever is in the way reads the password and all entities. The authority's certificate is mounted."""
    for workload, proxy, url in _shared(manifests):
        said = parse_qs(urlsplit(url).query)
        if said.get("sslmode") != ["verify-full"]:
            yield f"{workload}: the store may be anybody"
        (file,) = map(PurePosixPath, said.get("sslrootcert", ["nothing"]))
        if file.name not in _files(manifests, workload, proxy, file.parent):
            yield f"{workload}: {file} is not mounted"


def _files(
    manifests: Manifests, workload: Workload, proxy: Document, directory: PurePosixPath
) -> Iterator[str]:
    """Names of the files that a ConfigMap puts there."""
    for mount in proxy["volumeMounts"]:
        for volume in workload.pod["volumes"]:
            if (mount["name"], mount["mountPath"]) == (
                volume["name"],
                str(directory),
            ) and "configMap" in volume:
                found = manifests.config_map(volume["configMap"]["name"], workload.namespace) or {}
                yield from found.get("data", {})


def passwords_stand_in_secrets_alone(manifests: Manifests) -> Iterator[str]:
    """ConfigMaps, variables and annotations are read by many who may not read Secrets."""
    for workload, _, url in _shared(manifests):
        quoted = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
        for document in manifests.documents:
            text = yaml.safe_dump(document, width=10_000)
            if document["kind"] != "Secret" and any(one and one in text for one in (quoted, unquote(quoted))):
                yield f"{workload}: {document['kind']}/{document['metadata']['name']} tells the store's password"


RULES = (
    a_shared_store_is_reached,
    a_shared_store_is_known_by_its_certificate,
    passwords_stand_in_secrets_alone,
)
