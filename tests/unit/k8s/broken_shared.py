"""Ways to break the manifests of replicas that share a store, and the rule that has to notice each."""

import base64

from tests.unit.k8s import rules_sidecar, rules_store
from tests.unit.k8s.broken import Edit, of, proxy
from tests.unit.k8s.manifests import Document
from tests.unit.k8s.rules import Rule


def _egress(documents: list[Document]) -> list[Document]:
    rules: list[Document] = of(documents, "NetworkPolicy")["spec"]["egress"]
    return rules


def _url(old: str, new: str) -> Edit:
    """Changes the URL in the Secret."""

    def edit(documents: list[Document]) -> None:
        data = of(documents, "Secret")["data"]
        url = base64.b64decode(data["url"]).decode()
        assert old in url
        data["url"] = base64.b64encode(url.replace(old, new).encode()).decode()

    return edit


def _in_plain(documents: list[Document]) -> None:
    url = base64.b64decode(of(documents, "Secret")["data"]["url"]).decode()
    proxy(documents)["env"][0] = {"name": "HANDSHAKE_STORE__URL", "value": url}


def _of_a_file(documents: list[Document]) -> None:
    pod = of(documents, "Deployment")["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "data", "emptyDir": {"sizeLimit": "1Gi"}})
    proxy(documents)["volumeMounts"].append({"name": "data", "mountPath": "/data"})


BROKEN_SHARED: list[tuple[str, Rule, Edit]] = [
    (
        "a volume of no use",
        rules_sidecar.what_it_writes_is_bounded,
        _of_a_file,
    ),
    (
        "a Secret of another name",
        rules_sidecar.what_it_writes_is_bounded,
        lambda d: of(d, "Secret")["metadata"].update(name="handshake-proxy-store"),
    ),
    ("no way to the database", rules_store.a_shared_store_is_reached, lambda d: _egress(d).pop()),
    (
        "a way to another port",
        rules_store.a_shared_store_is_reached,
        lambda d: _egress(d)[-1]["ports"][0].update(port=5433),
    ),
    (
        "a way to another namespace",
        rules_store.a_shared_store_is_reached,
        lambda d: _egress(d)[-1]["to"][0].pop("namespaceSelector"),
    ),
    ("a database elsewhere", rules_store.a_shared_store_is_reached, _url(".databases.svc", ".shop.svc")),
    (
        "a second server elsewhere",
        rules_store.a_shared_store_is_reached,
        _url(".databases.svc:5432", ".databases.svc:5432,standby.shop.svc:5432"),
    ),
    (
        "a server that may be any",
        rules_store.a_shared_store_is_known_by_its_certificate,
        _url("verify-full", "require"),
    ),
    (
        "nothing said of certificates",
        rules_store.a_shared_store_is_known_by_its_certificate,
        _url("sslmode=verify-full&", ""),
    ),
    (
        "an authority that is not said",
        rules_store.a_shared_store_is_known_by_its_certificate,
        _url("sslrootcert", "application_name"),
    ),
    (
        "an authority that is not mounted",
        rules_store.a_shared_store_is_known_by_its_certificate,
        lambda d: proxy(d)["volumeMounts"].remove(
            next(one for one in proxy(d)["volumeMounts"] if one["mountPath"] == "/etc/handshake-proxy-store")
        ),
    ),
    (
        "an authority by another name",
        rules_store.a_shared_store_is_known_by_its_certificate,
        _url("/ca.crt", "/root.crt"),
    ),
    ("a URL in plain", rules_store.passwords_stand_in_secrets_alone, _in_plain),
    (
        "a password in an annotation",
        rules_store.passwords_stand_in_secrets_alone,
        lambda d: of(d, "Service")["metadata"].update(annotations={"note": "it is REPLACE-ME"}),
    ),
]
