"""Ways to break the example's manifests, and the rule that has to notice each."""

import copy
from collections.abc import Callable
from typing import Any

from tests.unit.k8s import rules_security, rules_sidecar, rules_structure
from tests.unit.k8s.manifests import Document
from tests.unit.k8s.rules import Rule

Edit = Callable[[list[Document]], object]


def of(documents: list[Document], kind: str) -> Any:
    return next(document for document in documents if document["kind"] == kind)


def _template(documents: list[Document]) -> Any:
    return of(documents, "Deployment")["spec"]["template"]


def _pod(documents: list[Document]) -> Any:
    return _template(documents)["spec"]


def proxy(documents: list[Document]) -> Any:
    """The proxy's container."""
    pod = _pod(documents)
    return next(
        one for one in pod.get("initContainers", []) + pod["containers"] if one["name"] == "handshake-proxy"
    )


def _app(documents: list[Document]) -> Any:
    return next(one for one in _pod(documents)["containers"] if one["name"] == "attendance")


def volume(documents: list[Document], name: str) -> Any:
    return next(volume for volume in _pod(documents)["volumes"] if volume["name"] == name)


def _security(documents: list[Document]) -> Any:
    return proxy(documents)["securityContext"]


def _init(**more: object) -> Edit:
    """Puts an init container that runs to its end before all others."""

    def edit(documents: list[Document]) -> None:
        security = copy.deepcopy(_security(documents))
        one = {"name": "migrate", "image": "migrate:1", "securityContext": security, **more}
        _pod(documents)["initContainers"].insert(0, one)

    return edit


def _config(text: str) -> Edit:
    """Puts another configuration into the ConfigMap, with the upstream in it."""
    url = "upstreams: {main: {url: https://main.example.org}}\n"

    def edit(documents: list[Document]) -> None:
        of(documents, "ConfigMap")["data"]["config.yaml"] = url + text

    return edit


def _replace(documents: list[Document], old: str, new: str) -> None:
    data = of(documents, "ConfigMap")["data"]
    data["config.yaml"] = data["config.yaml"].replace(old, new)


structure, security, sidecar = rules_structure, rules_security, rules_sidecar

BROKEN: list[tuple[str, Rule, Edit]] = [
    ("a container twice", structure.names_are_unique, lambda d: _pod(d)["containers"].append(_app(d))),
    (
        "a volume twice",
        structure.names_are_unique,
        lambda d: _pod(d)["volumes"].append({"name": "tmp", "emptyDir": {}}),
    ),
    (
        "two volumes at one path",
        structure.names_are_unique,
        lambda d: _app(d)["volumeMounts"].append({"name": "handshake-proxy-tmp", "mountPath": "/tmp"}),  # noqa: S108 - a mount path
    ),
    (
        "a variable twice",
        structure.names_are_unique,
        lambda d: _app(d)["env"].append({"name": "MAIN_SERVICE_URL", "value": "https://main.example.org"}),
    ),
    (
        "a variable of two sources",
        structure.variables_have_one_source,
        lambda d: _app(d)["env"][0].update(valueFrom={"secretKeyRef": {"name": "a", "key": "b"}}),
    ),
    ("no image", structure.containers_have_images, lambda d: proxy(d).pop("image")),
    (
        "a long port name",
        structure.ports_are_known_by_what_everybody_sees,
        lambda d: _app(d)["ports"][0].update(name="attendance-service"),
    ),
    (
        "a named sidecar port",
        structure.ports_are_known_by_what_everybody_sees,
        lambda d: proxy(d)["ports"][0].update(name="ops"),
    ),
    (
        "a probe on an init container",
        structure.probes_are_where_they_may_be,
        _init(readinessProbe={"tcpSocket": {"port": 1}}),
    ),
    ("a hook on an init container", structure.probes_are_where_they_may_be, _init(lifecycle={"preStop": {}})),
    (
        "a mount without a volume",
        structure.mounts_and_volumes_match,
        lambda d: _pod(d)["volumes"].remove(volume(d, "tmp")),
    ),
    (
        "a volume without a mount",
        structure.mounts_and_volumes_match,
        lambda d: proxy(d)["volumeMounts"].pop(),
    ),
    (
        "a subPath",
        structure.mounts_and_volumes_match,
        lambda d: proxy(d)["volumeMounts"][0].update(subPath="config.yaml"),
    ),
    ("no ConfigMap", structure.references_exist, lambda d: d.remove(of(d, "ConfigMap"))),
    (
        "a ConfigMap of another namespace",
        structure.references_exist,
        lambda d: of(d, "ConfigMap")["metadata"].update(namespace="default"),
    ),
    (
        "a variable from nowhere",
        structure.references_exist,
        lambda d: _app(d)["env"].append(
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "a"}}}
        ),
    ),
    (
        "variables from nowhere",
        structure.references_exist,
        lambda d: _app(d).update(envFrom=[{"configMapRef": {"name": "nowhere"}}]),
    ),
    ("an unknown account", structure.references_exist, lambda d: _pod(d).update(serviceAccountName="nobody")),
    (
        "pods that are not the Deployment's",
        structure.selectors_select,
        lambda d: of(d, "Deployment")["spec"]["selector"]["matchLabels"].update(a="b"),
    ),
    *(
        (
            f"a {kind} for nobody",
            structure.selectors_select,
            lambda d, kind=kind: of(d, kind)["metadata"].update(namespace="default"),
        )
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor")
    ),
    (
        "a Service for a port by name",
        structure.ports_asked_for_are_declared,
        lambda d: of(d, "Service")["spec"]["ports"][0].update(targetPort="http"),
    ),
    (
        "a Service for the sidecar",
        structure.ports_asked_for_are_declared,
        lambda d: of(d, "Service")["spec"]["ports"][0].update(targetPort=9464),
    ),
    (
        "a monitor of another port",
        structure.ports_asked_for_are_declared,
        lambda d: of(d, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(portNumber=9090),
    ),
    *(
        (name, security.pods_share_nothing_with_the_node, lambda d, name=name: _pod(d).update({name: True}))
        for name in ("hostNetwork", "hostPID", "hostIPC")
    ),
    (
        "a host path",
        security.pods_share_nothing_with_the_node,
        lambda d: volume(d, "tmp").update(hostPath={"path": "/"}),
    ),
    (
        "a host port",
        security.pods_share_nothing_with_the_node,
        lambda d: _app(d)["ports"][0].update(hostPort=3000),
    ),
    (
        "a kernel setting",
        security.pods_share_nothing_with_the_node,
        lambda d: _pod(d)["securityContext"].update(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    ),
    (
        "a probe with a host",
        security.pods_share_nothing_with_the_node,
        lambda d: proxy(d)["livenessProbe"]["httpGet"].update(host="127.0.0.1"),
    ),
    (
        "a hook with a host",
        security.pods_share_nothing_with_the_node,
        lambda d: _app(d).update(lifecycle={"preStop": {"tcpSocket": {"host": "h", "port": 1}}}),
    ),
    *(
        (f"{key}: {value}", security.containers_have_no_privileges, edit)
        for key, value in (
            ("runAsUser", 0),
            ("runAsNonRoot", False),
            ("allowPrivilegeEscalation", True),
            ("privileged", True),
            ("procMount", "Unmasked"),
            ("capabilities", {"drop": ["NET_RAW"]}),
            ("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
            ("seccompProfile", {"type": "Unconfined"}),
            ("seLinuxOptions", {"type": "spc_t"}),
            ("appArmorProfile", {"type": "Unconfined"}),
            ("windowsOptions", {"hostProcess": True}),
        )
        for edit in [lambda d, key=key, value=value: _security(d).update({key: value})]
    ),
    (
        "no capabilities said",
        security.containers_have_no_privileges,
        lambda d: _security(d).pop("capabilities"),
    ),
    ("a pod as root", security.containers_have_no_privileges, lambda d: _pod(d).pop("securityContext")),
    (
        "a root user for the pod",
        security.containers_have_no_privileges,
        lambda d: _pod(d)["securityContext"].update(runAsUser=0),
    ),
    (
        "a lenient namespace",
        security.namespaces_enforce_it,
        lambda d: of(d, "Namespace")["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "baseline"}
        ),
    ),
    ("a token", security.pods_have_no_token, lambda d: _pod(d).pop("automountServiceAccountToken")),
    (
        "no proxy",
        sidecar.labelled_workloads_have_one_proxy,
        lambda d: _pod(d)["initContainers"].remove(proxy(d)),
    ),
    (
        "a proxy without the label",
        sidecar.labelled_workloads_have_one_proxy,
        lambda d: of(d, "Deployment")["metadata"].pop("labels"),
    ),
    (
        "pods without the label",
        sidecar.labelled_workloads_have_one_proxy,
        lambda d: _template(d)["metadata"]["labels"].pop("handshake-proxy/sidecar"),
    ),
    ("no upstream", sidecar.configuration_is_in_effect, lambda d: _replace(d, "url:", "timeout: 1s #")),
    ("an unknown key", sidecar.configuration_is_in_effect, _config("stroe: {}")),
    ("another file", sidecar.configuration_is_in_effect, lambda d: proxy(d)["args"].__setitem__(2, "/x")),
    (
        "another command",
        sidecar.configuration_is_in_effect,
        lambda d: proxy(d)["args"].__setitem__(0, "check-config"),
    ),
    ("no sidecar", sidecar.proxy_lives_longer_than_the_application, lambda d: proxy(d).pop("restartPolicy")),
    (
        "preStop on a native sidecar",
        sidecar.proxy_lives_longer_than_the_application,
        lambda d: proxy(d).update(lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}}),
    ),
    (
        "a short grace",
        sidecar.proxy_lives_longer_than_the_application,
        lambda d: _pod(d).update(terminationGracePeriodSeconds=20),
    ),
    (
        "a long drain",
        sidecar.proxy_lives_longer_than_the_application,
        _config("limits: {drain_timeout: 60s}"),
    ),
    *(
        (f"no {probe}", sidecar.probes_ask_the_ops_listener, lambda d, probe=probe: proxy(d).pop(probe))
        for probe in sidecar.PROBES
    ),
    (
        "a probe of another path",
        sidecar.probes_ask_the_ops_listener,
        lambda d: proxy(d)["livenessProbe"]["httpGet"].update(path="/readyz"),
    ),
    (
        "probes on loopback",
        sidecar.probes_ask_the_ops_listener,
        lambda d: proxy(d)["env"][0].update(value="127.0.0.1:9464"),
    ),
    (
        "data for everybody",
        sidecar.data_stays_on_loopback,
        lambda d: _replace(d, "url:", "listen: 0.0.0.0:8080\n    url:"),
    ),
    (
        "a declared data port",
        sidecar.data_stays_on_loopback,
        lambda d: proxy(d)["ports"].append({"containerPort": 8080}),
    ),
    (
        "a Service for data",
        sidecar.data_stays_on_loopback,
        lambda d: of(d, "Service")["spec"]["ports"][0].update(targetPort=8081),
    ),
    (
        "Prometheus kept out",
        sidecar.only_the_scraper_reaches_metrics,
        lambda d: of(d, "NetworkPolicy")["spec"]["ingress"].pop(),
    ),
    (
        "metrics for everybody",
        sidecar.only_the_scraper_reaches_metrics,
        lambda d: of(d, "NetworkPolicy")["spec"]["ingress"].append(
            {"ports": [{"port": 9000, "endPort": 9999}]}
        ),
    ),
    (
        "all ports for everybody",
        sidecar.only_the_scraper_reaches_metrics,
        lambda d: of(d, "NetworkPolicy")["spec"]["ingress"].append({}),
    ),
    (
        "a root file system that can be written",
        sidecar.what_it_writes_is_bounded,
        lambda d: _security(d).pop("readOnlyRootFilesystem"),
    ),
    (
        "a small volume",
        sidecar.what_it_writes_is_bounded,
        lambda d: volume(d, "handshake-proxy-data")["emptyDir"].update(sizeLimit="512Mi"),
    ),
    (
        "a volume without a bound",
        sidecar.what_it_writes_is_bounded,
        lambda d: volume(d, "handshake-proxy-tmp")["emptyDir"].pop("sizeLimit"),
    ),
    (
        "a claim",
        sidecar.what_it_writes_is_bounded,
        lambda d: volume(d, "handshake-proxy-data").update(
            {
                "persistentVolumeClaim": {
                    "claimName": volume(d, "handshake-proxy-data").pop("emptyDir") and "a"
                }
            }
        ),
    ),
    ("a large store", sidecar.what_it_writes_is_bounded, _config("store: {max_bytes: 512MiB}")),
    (
        "a database elsewhere",
        sidecar.what_it_writes_is_bounded,
        lambda d: proxy(d)["env"][1].update(value="sqlite:////var/handshake.db"),
    ),
    (
        "a CPU limit",
        sidecar.memory_is_bounded_and_the_processor_is_not,
        lambda d: proxy(d)["resources"]["limits"].update(cpu="1"),
    ),
    (
        "a low memory request",
        sidecar.memory_is_bounded_and_the_processor_is_not,
        lambda d: proxy(d)["resources"]["requests"].update(memory="128Mi"),
    ),
    (
        "a large memory tier",
        sidecar.memory_is_bounded_and_the_processor_is_not,
        _config("memory: {max_bytes: 256MiB}"),
    ),
    (
        "ten thousand connections",
        sidecar.memory_is_bounded_and_the_processor_is_not,
        lambda d: proxy(d)["env"].pop(),
    ),
    (
        "an application that goes by",
        sidecar.the_application_asks_the_proxy,
        lambda d: _app(d)["env"][0].update(value="https://main.example.org"),
    ),
    (
        "kubectl in the wrong container",
        sidecar.kubectl_means_the_application,
        lambda d: _template(d)["metadata"].pop("annotations"),
    ),
]

BROKEN_LEGACY: list[tuple[str, Edit]] = [
    ("the application first", lambda d: _pod(d)["containers"].reverse()),
    ("no postStart", lambda d: proxy(d)["lifecycle"].pop("postStart")),
    ("no preStop", lambda d: proxy(d)["lifecycle"].pop("preStop")),
    ("a short grace", lambda d: _pod(d).update(terminationGracePeriodSeconds=25)),
    ("a Job", lambda d: of(d, "Deployment").update(kind="Job")),
]
