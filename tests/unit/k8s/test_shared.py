"""The example of replicas that share a store: it differs from the attendance example in what that takes, and in nothing
else. And the page's section about it, followed to the letter."""

import base64
import copy
import subprocess
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from tests.needed import tool
from tests.unit.k8s.broken import of, proxy, volume
from tests.unit.k8s.manifests import SHARED, Document, Manifests
from tests.unit.k8s.page import Application, blocks
from tests.unit.k8s.rules import findings
from tests.unit.k8s.rules_sidecar import configuration
from tests.unit.k8s.rules_store import a_shared_store_is_reached

BLOCK: Final = "kustomization.yaml, with a shared store"
CONTAINER: Final = "spec/template/spec/initContainers/handshake-proxy"
VOLUMES: Final = "spec/template/spec/volumes"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    """Each value with where it stands: items of a list by their mountPath or name, if they have one."""
    match value:
        case dict():
            below = list(value.items())
        case list():
            below = [
                (one.get("mountPath", one.get("name", at)) if isinstance(one, dict) else at, one)
                for at, one in enumerate(value)
            ]
        case _:
            yield path, value
            return
    for name, one in below:
        yield from _leaves(one, f"{path}/{name}" if path else str(name))


def _url(documents: list[Document]) -> str:
    manifests = Manifests(documents)
    ((workload, container),) = manifests.proxied
    return configuration(manifests, workload, container).store.url


def _secret_key(documents: list[Document]) -> Any:
    (variable,) = (one for one in proxy(documents)["env"] if one["name"] == "HANDSHAKE_STORE__URL")
    return variable["valueFrom"]["secretKeyRef"]


def _authority(documents: list[Document]) -> str:
    return str(volume(documents, "handshake-proxy-store-ca")["configMap"]["name"])


def _by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def test_a_secret_and_a_certificate_are_added_and_two_documents_differ(
    example: list[Document], shared: list[Document]
) -> None:
    was, now = _by_name(example), _by_name(shared)
    assert now.keys() - was.keys() == {
        ("Secret", _secret_key(shared)["name"]),
        ("ConfigMap", _authority(shared)),
    }
    assert {kind for kind, name in was if was[kind, name] != now[kind, name]} == {
        "Deployment",
        "NetworkPolicy",
    }


def test_the_deployment_has_three_replicas_whose_store_is_elsewhere(
    example: list[Document], shared: list[Document]
) -> None:
    was, now = (dict(_leaves(of(documents, "Deployment"))) for documents in (example, shared))
    assert was.keys() - now.keys() == {
        f"{CONTAINER}/env/HANDSHAKE_STORE__URL/value",
        f"{CONTAINER}/volumeMounts//data/mountPath",
        f"{CONTAINER}/volumeMounts//data/name",
        f"{VOLUMES}/handshake-proxy-data/emptyDir/sizeLimit",
        f"{VOLUMES}/handshake-proxy-data/name",
    }
    (mount, source) = ("/etc/handshake-proxy-store", "handshake-proxy-store-ca")
    assert {path: value for path, value in now.items() if was.get(path) != value} == {
        "spec/replicas": 3,
        f"{CONTAINER}/env/HANDSHAKE_STORE__URL/valueFrom/secretKeyRef/name": _secret_key(shared)["name"],
        f"{CONTAINER}/env/HANDSHAKE_STORE__URL/valueFrom/secretKeyRef/key": "url",
        f"{CONTAINER}/env/HANDSHAKE_RESOURCES__BUSINESS__STORAGE/name": "HANDSHAKE_RESOURCES__BUSINESS__STORAGE",
        f"{CONTAINER}/env/HANDSHAKE_RESOURCES__BUSINESS__STORAGE/value": "database",
        f"{CONTAINER}/volumeMounts/{mount}/mountPath": mount,
        f"{CONTAINER}/volumeMounts/{mount}/name": source,
        f"{CONTAINER}/volumeMounts/{mount}/readOnly": True,
        f"{VOLUMES}/{source}/name": source,
        f"{VOLUMES}/{source}/configMap/name": _authority(shared),
    }


def test_the_pods_are_let_out_to_the_database_and_to_nothing_more(
    example: list[Document], shared: list[Document]
) -> None:
    was, now = (copy.deepcopy(of(documents, "NetworkPolicy")) for documents in (example, shared))
    rule = now["spec"]["egress"].pop()
    assert was == now
    assert rule == {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "databases"}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "postgresql"}},
            }
        ],
        "ports": [{"protocol": "TCP", "port": 5432}],
    }


def test_the_url_is_the_secret_s_and_stands_nowhere_else(shared: list[Document]) -> None:
    url = urlsplit(_url(shared))
    assert url.scheme == "postgresql"
    assert url.password == "REPLACE-ME"  # nobody's: the repository has no password
    secret = of(shared, "Secret")
    assert Manifests(shared).secret(secret["metadata"]["name"], "attendance") == {"url": url.geturl()}
    rest = yaml.safe_dump_all([one for one in shared if one is not secret], width=10_000)
    for part in (url.geturl(), url.netloc, url.password, base64.b64encode(url.geturl().encode()).decode()):
        assert part not in rest


def test_nothing_of_sqlite_is_left(shared: list[Document]) -> None:
    assert "sqlite" not in yaml.safe_dump_all(shared).lower()
    assert "/data" not in [mount["mountPath"] for mount in proxy(shared)["volumeMounts"]]


@pytest.fixture
def adopted(adopted: Application) -> Application:
    """The page's section followed, in the directory of who has followed the first one."""
    adopted.share()
    return adopted


def test_the_page_brings_together_what_the_example_does() -> None:
    example = yaml.safe_load((SHARED / "kustomization.yaml").read_text())
    assert {key: example[key] for key in blocks()[BLOCK]} == blocks()[BLOCK]
    assert example.keys() - blocks()[BLOCK].keys() == {"apiVersion", "kind", "namespace", "resources"}


def test_following_the_page_gives_pods_that_keep_the_rules(
    adopted: Application, shared: list[Document]
) -> None:
    documents = adopted.rendered()
    assert findings(documents) == []
    assert of(documents, "Deployment")["spec"]["replicas"] == 3
    assert _url(documents) == _url(shared)


def test_a_policy_that_limits_egress_has_the_rule_of_the_page(adopted: Application) -> None:
    adopted.add("networkpolicy.yaml")
    documents = adopted.rendered()
    assert list(a_shared_store_is_reached(Manifests(documents))) == []
    of(documents, "NetworkPolicy")["spec"]["egress"].pop()
    assert list(a_shared_store_is_reached(Manifests(documents))) != []


def test_another_password_makes_new_pods(adopted: Application) -> None:
    before = adopted.rendered()
    file = adopted.directory / "store.env"
    file.write_text(file.read_text().replace("REPLACE-ME", "another"))
    after = adopted.rendered()
    assert _secret_key(before)["name"] != _secret_key(after)["name"]
    assert of(before, "Deployment")["spec"]["template"] != of(after, "Deployment")["spec"]["template"]


def test_a_secret_from_elsewhere(adopted: Application) -> None:
    adopted.edit("kustomization.yaml", lambda kustomization: kustomization.pop("secretGenerator"))
    documents = adopted.rendered()
    assert _secret_key(documents) == {"name": "handshake-proxy-store", "key": "url"}
    command = "create secret generic handshake-proxy-store --from-env-file=store.env --dry-run=client -o yaml"
    made = subprocess.run(
        [tool("kubectl"), *command.split()],
        cwd=adopted.directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert findings([*documents, yaml.safe_load(made.stdout)]) == []
