"""The manifests under test, rendered once."""

import base64
import shutil
from pathlib import Path

import pytest
import yaml

from tests.postgres.fixtures import database, postgres
from tests.unit.k8s.manifests import EXAMPLE, K8S, SHARED, WEBHOOKS, Document, render
from tests.unit.k8s.page import Application

__all__ = ["adopted", "application", "database", "example", "legacy", "postgres", "shared", "webhooks"]

SECRET = f"whsec_{base64.b64encode(b's' * 32).decode()}"


@pytest.fixture(scope="session")
def example() -> list[Document]:
    """The attendance example."""
    return render(EXAMPLE)


@pytest.fixture(scope="session")
def shared() -> list[Document]:
    """The example of replicas that share a store."""
    return render(SHARED)


@pytest.fixture(scope="session")
def webhooks(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """The example of replicas that are told what has changed, with a secret of somebody's own."""
    root = tmp_path_factory.mktemp("webhooks") / "k8s"
    shutil.copytree(K8S, root)
    directory = root / WEBHOOKS.relative_to(K8S)
    with (directory / "webhook-secrets").open("a") as file:
        file.write(f"{SECRET}\n")
    return render(directory)


@pytest.fixture(scope="session")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """The attendance example as it is on a cluster without native sidecars."""
    root = tmp_path_factory.mktemp("legacy")
    shutil.copytree(K8S / "components", root / "components")
    directory = root / "examples" / "attendance"
    shutil.copytree(EXAMPLE, directory)
    _edit_kustomization(directory / "kustomization.yaml")
    _edit_patch(directory / "use-proxy.yaml")
    return render(directory)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """The application of the page's reader, before the page is followed."""
    return Application.without_proxy(tmp_path)


@pytest.fixture
def adopted(application: Application) -> Application:
    """The first section of the page followed."""
    application.adopt()
    return application


def _edit_kustomization(file: Path) -> None:
    kustomization = yaml.safe_load(file.read_text())
    components = kustomization["components"]
    components[components.index("../../components/sidecar")] = "../../components/sidecar-legacy"
    file.write_text(yaml.safe_dump(kustomization))


def _edit_patch(file: Path) -> None:
    patch = yaml.safe_load(file.read_text())
    pod = patch["spec"]["template"]["spec"]
    pod["containers"][:0] = pod.pop("initContainers")
    file.write_text(yaml.safe_dump(patch))
