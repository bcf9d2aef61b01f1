"""The example of replicas that are told what has changed: it differs from the one of replicas that share a store in
what that takes, and in nothing else. And the page's section about it, followed to the letter."""

import base64
import copy
from typing import Any

import pytest
import yaml

from tests.unit.k8s.broken import of, proxy
from tests.unit.k8s.broken_webhooks import SERVICE, VOLUME, secret
from tests.unit.k8s.conftest import SECRET
from tests.unit.k8s.manifests import WEBHOOKS, Document, Manifests, render
from tests.unit.k8s.page import Application, blocks
from tests.unit.k8s.rules import findings
from tests.unit.k8s.rules_sidecar import configuration_is_in_effect
from tests.unit.k8s.rules_webhooks import an_event_reaches_every_replica, the_owner_reaches_the_webhooks

ANOTHER = f"whsec_{base64.b64encode(b'a' * 32).decode()}"
BLOCK = "kustomization.yaml, with webhooks"
DIRECTORY = "/etc/handshake-proxy-webhooks"
SETTINGS = {
    "HANDSHAKE_WEBHOOKS__LISTEN": "0.0.0.0:8090",
    "HANDSHAKE_WEBHOOKS__SECRET_FILE": f"{DIRECTORY}/webhook-secrets",
}


def _by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def _without(items: list[Any], key: str, *values: object) -> list[Any]:
    return [one for one in items if one.get(key) not in values]


def test_a_secret_and_a_service_are_added_and_two_documents_differ(
    shared: list[Document], webhooks: list[Document]
) -> None:
    was, now = _by_name(shared), _by_name(webhooks)
    assert now.keys() - was.keys() == {("Secret", VOLUME), ("Service", SERVICE)}
    assert {kind for kind, name in was if was[kind, name] != now[kind, name]} == {
        "Deployment",
        "NetworkPolicy",
    }


def test_the_proxy_has_one_listener_more_and_the_file_of_its_secrets(
    shared: list[Document], webhooks: list[Document]
) -> None:
    was, now = copy.deepcopy(of(shared, "Deployment")), copy.deepcopy(of(webhooks, "Deployment"))
    container, pod = proxy([now]), now["spec"]["template"]["spec"]
    assert {one["name"]: one.get("value") for one in container["env"]}.items() >= SETTINGS.items()
    assert {"containerPort": 8090} in container["ports"]
    mount = {"name": VOLUME, "mountPath": DIRECTORY, "readOnly": True}
    assert mount in container["volumeMounts"]
    assert {"name": VOLUME, "secret": {"secretName": VOLUME}} in pod["volumes"]

    container["env"] = _without(container["env"], "name", *SETTINGS)
    container["ports"] = _without(container["ports"], "containerPort", 8090)
    container["volumeMounts"] = _without(container["volumeMounts"], "name", VOLUME)
    pod["volumes"] = _without(pod["volumes"], "name", VOLUME)
    assert now == was


def test_the_pods_let_the_owner_in_and_nobody_more(shared: list[Document], webhooks: list[Document]) -> None:
    was, now = (copy.deepcopy(of(documents, "NetworkPolicy")) for documents in (shared, webhooks))
    rule = now["spec"]["ingress"].pop()
    assert was == now
    assert rule == {
        "from": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "main"}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "main"}},
            }
        ],
        "ports": [{"protocol": "TCP", "port": 8090}],
    }


def test_as_it_is_in_the_repository_it_has_no_secret_and_does_not_start() -> None:
    ((rule, finding),) = findings(render(WEBHOOKS))
    assert rule is configuration_is_in_effect
    assert finding.endswith("has no secret, only comments")


@pytest.fixture
def told(adopted: Application) -> Application:
    """The page's sections about a shared store and about webhooks followed, with a secret of the reader's own."""
    adopted.share()
    adopted.take_events()
    write_secrets(adopted, SECRET)
    return adopted


def write_secrets(application: Application, *secrets: str) -> None:
    (application.directory / "webhook-secrets").write_text("".join(f"{one}\n" for one in secrets))


def test_the_page_brings_together_what_the_example_does() -> None:
    example = yaml.safe_load((WEBHOOKS / "kustomization.yaml").read_text())
    example["resources"].remove("../postgres")
    assert {key: example[key] for key in blocks()[BLOCK]} == blocks()[BLOCK]
    assert example.keys() - blocks()[BLOCK].keys() == {"apiVersion", "kind", "namespace"}


def test_following_the_page_gives_pods_that_keep_the_rules(
    told: Application, webhooks: list[Document]
) -> None:
    documents = told.rendered()
    assert findings(documents) == []
    for key in ("env", "ports", "volumeMounts"):
        (was, now) = (proxy(rendered)[key] for rendered in (webhooks, documents))
        assert _without(now, "name", "HANDSHAKE_STORE__URL") == _without(was, "name", "HANDSHAKE_STORE__URL")


def test_a_policy_that_limits_who_reaches_the_pods_has_the_rule_of_the_page(told: Application) -> None:
    told.add("networkpolicy.yaml")
    documents = told.rendered()
    assert list(the_owner_reaches_the_webhooks(Manifests(documents))) == []
    of(documents, "NetworkPolicy")["spec"]["ingress"].pop()
    assert list(the_owner_reaches_the_webhooks(Manifests(documents))) != []


def test_a_secret_is_replaced_without_new_pods(told: Application) -> None:
    before = told.rendered()
    write_secrets(told, SECRET, ANOTHER)
    after = told.rendered()
    assert secret(before)["data"] != secret(after)["data"]
    assert of(before, "Deployment") == of(after, "Deployment")


def test_without_a_shared_store_there_may_be_one_replica(adopted: Application) -> None:
    adopted.take_events()
    write_secrets(adopted, SECRET)
    ((rule, _),) = findings(adopted.rendered())
    assert rule is an_event_reaches_every_replica
    adopted.merge("kustomization.yaml", {"replicas": [{"name": "attendance", "count": 1}]})
    assert findings(adopted.rendered()) == []
