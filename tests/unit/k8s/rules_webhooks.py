"""What is true where the proxy takes events of the owner: they arrive from there and from nowhere else, and reach every
replica. That its secrets are in a Secret is seen by whether the configuration is in effect."""

from collections.abc import Iterator

from config.address import Address
from config.model import Config
from tests.unit.k8s.manifests import Document, Manifests, Workload
from tests.unit.k8s.rules_sidecar import configured, covers


def _listening(manifests: Manifests) -> Iterator[tuple[Workload, Config, Address]]:
    for workload, _, config in configured(manifests):
        if config.webhooks.listen is not None:
            yield workload, config, config.webhooks.listen


def the_owner_reaches_the_webhooks(manifests: Manifests) -> Iterator[str]:
    """By a Service of the cluster's own, for the listener has no TLS; where policies limit who reaches the pods, one of
    their rules lets somebody in."""
    for workload, _, listen in _listening(manifests):
        if listen.is_loopback:
            yield f"{workload}: nobody reaches {listen}"
        services = [
            service
            for service in manifests.of("Service")
            if workload
            in manifests.selected(service["spec"].get("selector", {}), service["metadata"].get("namespace"))
            and any(port.get("targetPort", port["port"]) == listen.port for port in service["spec"]["ports"])
        ]
        if not services:
            yield f"{workload}: no Service leads to the webhooks"
        for service in services:
            if service["spec"].get("type", "ClusterIP") != "ClusterIP":
                yield f"Service/{service['metadata']['name']}: events without TLS leave the cluster's network"
        policies = _policies(manifests, workload)
        if policies and not any(
            covers(rule, listen.port) for policy in policies for rule in policy["spec"].get("ingress", [])
        ):
            yield f"{workload}: no policy lets the owner in to {listen.port}"


def nobody_else_reaches_the_webhooks(manifests: Manifests) -> Iterator[str]:
    """Each rule about the port names peers, and not those of all namespaces."""
    for workload, _, listen in _listening(manifests):
        for policy in _policies(manifests, workload):
            rules = [rule for rule in policy["spec"].get("ingress", []) if covers(rule, listen.port)]
            if any(_is_for_all(rule) for rule in rules):
                yield f"NetworkPolicy/{policy['metadata']['name']}: everybody reaches {listen.port}"


def _is_for_all(rule: Document) -> bool:
    peers = rule.get("from", [])
    return not peers or any(
        peer.get("namespaceSelector") == {} and not peer.get("podSelector") for peer in peers
    )


def _policies(manifests: Manifests, workload: Workload) -> list[Document]:
    """Those that limit who reaches the pods."""
    return [
        policy
        for policy in manifests.of("NetworkPolicy")
        if "Ingress" in policy["spec"]["policyTypes"]
        and workload
        in manifests.selected(
            policy["spec"]["podSelector"].get("matchLabels", {}), policy["metadata"].get("namespace")
        )
    ]


def an_event_reaches_every_replica(manifests: Manifests) -> Iterator[str]:
    """A Service gives it to one of them, so several have to share their store."""
    for workload, config, _ in _listening(manifests):
        replicas = workload.document["spec"].get("replicas", 1)
        if not config.store.is_shared and (replicas > 1 or workload.document["kind"] == "DaemonSet"):
            yield f"{workload}: replicas with a store of their own each, and only one of them hears of an event"


RULES = (
    the_owner_reaches_the_webhooks,
    nobody_else_reaches_the_webhooks,
    an_event_reaches_every_replica,
)
