"""Ways to break the manifests of replicas that are told what has changed, and the rule that has to notice each."""

import base64
from typing import Any

from tests.unit.k8s import rules_sidecar, rules_structure, rules_webhooks
from tests.unit.k8s.broken import Edit, of, proxy, volume
from tests.unit.k8s.manifests import Document
from tests.unit.k8s.rules import Rule

SERVICE = "attendance-webhooks"
VOLUME = "handshake-proxy-webhooks"


def service(documents: list[Document]) -> Any:
    """The Service of the webhooks."""
    return next(one for one in documents if (one["kind"], one["metadata"]["name"]) == ("Service", SERVICE))


def secret(documents: list[Document]) -> Any:
    """The Secret that has the secrets."""
    return next(one for one in documents if (one["kind"], one["metadata"]["name"]) == ("Secret", VOLUME))


def variable(documents: list[Document], name: str) -> Any:
    """A variable of the proxy."""
    return next(one for one in proxy(documents)["env"] if one["name"] == name)


def _ingress(documents: list[Document]) -> Any:
    return of(documents, "NetworkPolicy")["spec"]["ingress"]


def _owners(documents: list[Document]) -> Any:
    return next(rule for rule in _ingress(documents) if rule["ports"][0]["port"] == 8090)


def _secrets(content: str) -> Edit:
    """Puts another file into the Secret."""
    return lambda documents: secret(documents)["data"].update(
        {"webhook-secrets": base64.b64encode(content.encode()).decode()}
    )


def _of_a_config_map(documents: list[Document]) -> None:
    (file,) = secret(documents)["data"].items()
    data = {file[0]: base64.b64decode(file[1]).decode()}
    named = volume(documents, VOLUME)
    del named["secret"]
    named["configMap"] = {"name": VOLUME}
    documents.append({**secret(documents), "kind": "ConfigMap", "data": data})


def _alone(documents: list[Document]) -> None:
    found = variable(documents, "HANDSHAKE_STORE__URL")
    del found["valueFrom"]
    found["value"] = "sqlite:////data/handshake.db"


BROKEN_WEBHOOKS: list[tuple[str, Rule, Edit]] = [
    ("no secret", rules_sidecar.configuration_is_in_effect, _secrets("# none\n")),
    ("no secret's form", rules_sidecar.configuration_is_in_effect, _secrets("REPLACE-ME\n")),
    (
        "a Secret that is not there",
        rules_sidecar.configuration_is_in_effect,
        lambda d: d.remove(secret(d)),
    ),
    ("secrets in a ConfigMap", rules_sidecar.configuration_is_in_effect, _of_a_config_map),
    (
        "a port that is not declared",
        rules_sidecar.data_stays_on_loopback,
        lambda d: proxy(d)["ports"].remove({"containerPort": 8090}),
    ),
    (
        "a declared port without a listener",
        rules_sidecar.data_stays_on_loopback,
        lambda d: proxy(d)["env"].remove(variable(d, "HANDSHAKE_WEBHOOKS__LISTEN")),
    ),
    (
        "a Service for metrics",
        rules_structure.ports_asked_for_are_declared,
        lambda d: service(d)["spec"]["ports"][0].update(targetPort=9464),
    ),
    (
        "a Service by a sidecar's name",
        rules_structure.ports_asked_for_are_declared,
        lambda d: service(d)["spec"]["ports"][0].update(targetPort="webhooks"),
    ),
    (
        "no room for bodies of events",
        rules_sidecar.memory_is_bounded_and_the_processor_is_not,
        lambda d: proxy(d)["resources"]["limits"].update(memory="224Mi"),
    ),
    (
        "webhooks on loopback",
        rules_webhooks.the_owner_reaches_the_webhooks,
        lambda d: variable(d, "HANDSHAKE_WEBHOOKS__LISTEN").update(value="127.0.0.1:8090"),
    ),
    ("no Service", rules_webhooks.the_owner_reaches_the_webhooks, lambda d: d.remove(service(d))),
    (
        "a Service of other pods",
        rules_webhooks.the_owner_reaches_the_webhooks,
        lambda d: service(d)["spec"]["selector"].update({"app.kubernetes.io/name": "main"}),
    ),
    (
        "a Service of another port",
        rules_webhooks.the_owner_reaches_the_webhooks,
        lambda d: service(d)["spec"]["ports"][0].update(targetPort=3000),
    ),
    (
        "a Service for the whole world",
        rules_webhooks.the_owner_reaches_the_webhooks,
        lambda d: service(d)["spec"].update(type="LoadBalancer"),
    ),
    (
        "the owner kept out",
        rules_webhooks.the_owner_reaches_the_webhooks,
        lambda d: _ingress(d).remove(_owners(d)),
    ),
    (
        "the owner let in elsewhere",
        rules_webhooks.the_owner_reaches_the_webhooks,
        lambda d: _owners(d)["ports"][0].update(port=8091),
    ),
    (
        "webhooks for everybody",
        rules_webhooks.nobody_else_reaches_the_webhooks,
        lambda d: _owners(d).pop("from"),
    ),
    (
        "webhooks for all namespaces",
        rules_webhooks.nobody_else_reaches_the_webhooks,
        lambda d: _owners(d)["from"].append({"namespaceSelector": {}}),
    ),
    (
        "webhooks among all ports",
        rules_webhooks.nobody_else_reaches_the_webhooks,
        lambda d: _ingress(d).append({}),
    ),
    (
        "a store for each replica",
        rules_webhooks.an_event_reaches_every_replica,
        _alone,
    ),
]
