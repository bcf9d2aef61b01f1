"""The manifests under the schemas of Kubernetes and of the Prometheus operator, and under checkov's policies."""

import copy
import importlib
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.needed import missing
from tests.unit.k8s.manifests import REPOSITORY, Document

OPERATOR: Final = "monitoring.coreos.com/v1"

CHECKOV: Final = REPOSITORY / ".venv" / "checkov" / "bin" / "checkov"
EXCEPTIONS: Final = {
    "CKV_K8S_11": "no CPU limit: a throttled proxy is a slow application",
    "CKV_K8S_15": "a released tag does not change, and a restart must not depend on a registry",
    "CKV_K8S_43": "the digest is that of the image in the user's registry: it goes into their `images:`",
}
"""What checkov may find, and why it is so. Each must still be found, or it has to go."""
EXCEPTIONS_SHARED: Final = EXCEPTIONS | {
    "CKV_K8S_35": "the store's URL is a setting, and what is not for a ConfigMap is set by a variable",
}
"""Of replicas that share a store, told what has changed or not."""


def _native(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document["apiVersion"] != OPERATOR]


def _operators(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document["apiVersion"] == OPERATOR]


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_the_example_fits_the_schemas_of_kubernetes(example: list[Document], version: str) -> None:
    for document in _native(example):
        assert kubernetes_validate.validate(document, version, strict=True) == version


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_replicas_that_share_a_store_fit_the_schemas_of_kubernetes(
    shared: list[Document], version: str
) -> None:
    for document in _native(shared):
        assert kubernetes_validate.validate(document, version, strict=True) == version


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_replicas_that_are_told_what_has_changed_fit_the_schemas_of_kubernetes(
    webhooks: list[Document], version: str
) -> None:
    for document in _native(webhooks):
        assert kubernetes_validate.validate(document, version, strict=True) == version


@pytest.mark.parametrize("version", ["1.25", "1.28", "1.33"])
def test_the_legacy_variant_fits_the_schemas_of_kubernetes(legacy: list[Document], version: str) -> None:
    for document in _native(legacy):
        assert kubernetes_validate.validate(document, version, strict=True) == version


def test_a_misspelt_key_does_not_fit(example: list[Document]) -> None:
    (deployment,) = (copy.deepcopy(document) for document in example if document["kind"] == "Deployment")
    (proxy,) = deployment["spec"]["template"]["spec"]["initContainers"]
    proxy["startupprobe"] = proxy.pop("startupProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.33", strict=True)


def _as_the_operator_reads_it(document: Document) -> Any:
    # Imported by name: its models take seconds to build, and mypy as long to read.
    models = importlib.import_module("cloudcoil.models.prometheus_operator.v1")
    model = getattr(models, document["kind"]).model_validate(document)
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def test_the_monitor_and_the_rules_fit_the_operators_models(example: list[Document]) -> None:
    documents = _operators(example)
    assert {document["kind"] for document in documents} == {"PodMonitor", "PrometheusRule"}
    # The models drop what they do not know, so what they give back has to be the same.
    assert [_as_the_operator_reads_it(document) for document in documents] == documents


def test_a_misspelt_key_is_dropped_by_the_operators_models(example: list[Document]) -> None:
    (monitor,) = (copy.deepcopy(one) for one in example if one["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    endpoint["portnumber"] = endpoint.pop("portNumber")
    assert _as_the_operator_reads_it(monitor) != monitor


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_checkov_finds_only_what_is_excepted(
    example: list[Document],
    legacy: list[Document],
    shared: list[Document],
    webhooks: list[Document],
    tmp_path: Path,
) -> None:
    if not CHECKOV.exists():
        missing("checkov is missing: make checkov")
    files = {"example": example, "legacy": legacy, "shared": shared, "webhooks": webhooks}
    for name, documents in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(documents))
    done = subprocess.run(
        [
            CHECKOV,
            *("--framework", "kubernetes", "--compact", "--quiet", "--skip-download", "--output", "json"),
            *(argument for name in files for argument in ("-f", f"{name}.yaml")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    for name in files:
        failed = [check for check in report["results"]["failed_checks"] if name in check["file_path"]]
        excepted = EXCEPTIONS_SHARED if name in {"shared", "webhooks"} else EXCEPTIONS
        assert {check["check_id"] for check in failed} == excepted.keys()
