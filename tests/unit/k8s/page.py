"""The pages as something to follow: their blocks, and an application that adopts the proxy by them."""

import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.needed import tool
from tests.unit.k8s.manifests import EXAMPLE, K8S, REPOSITORY, Document, render

PAGE: Final = REPOSITORY / "docs" / "kubernetes.md"
UPGRADE: Final = REPOSITORY / "docs" / "upgrade.md"

_BLOCK: Final = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path = PAGE) -> dict[str, Any]:
    """The YAML blocks by their first line, which names a file and, where there are several, what for."""
    found = {}
    for language, text in _BLOCK.findall(page.read_text()):
        if language == "yaml":
            title, _, content = textwrap.dedent(text).partition("\n")
            found[title.removeprefix("# ")] = yaml.safe_load(content)
    return found


def scripts(page: Path = PAGE, language: str = "sh") -> list[str]:
    """The shell blocks, or those of another language."""
    return [text for found, text in _BLOCK.findall(page.read_text()) if found == language]


def commands() -> list[str]:
    """The lines of the shell blocks."""
    return [line.strip() for text in scripts() for line in text.splitlines()]


@dataclass(frozen=True)
class Application:
    """The attendance service of the page's reader: a directory with a kustomization."""

    directory: Path

    @classmethod
    def without_proxy(cls, directory: Path) -> "Application":
        """As it is before the page is followed, the release unpacked beside it."""
        application = cls(directory)
        shutil.copytree(K8S, directory / "handshake-proxy" / "k8s")
        application.write("kustomization.yaml", {})
        application.add("serviceaccount.yaml")
        application.add("deployment.yaml")
        return application

    def add(self, name: str) -> None:
        """Add a resource: the example's, but without the label."""
        document = yaml.safe_load((EXAMPLE / name).read_text())
        document["metadata"].get("labels", {}).pop("handshake-proxy/sidecar", None)
        self.write(name, document)
        self.merge("kustomization.yaml", {"resources": [name]})

    def write(self, name: str, content: Document) -> None:
        """Write a file anew."""
        (self.directory / name).write_text(yaml.safe_dump(content))

    def merge(self, name: str, content: Document) -> None:
        """Add to a file, as a reader does who is shown a part of it: maps key by key, lists at their end."""
        self.write(name, _merged(yaml.safe_load((self.directory / name).read_text()), content))

    def edit(self, name: str, change: Callable[[Document], object]) -> None:
        """Change a file."""
        content = yaml.safe_load((self.directory / name).read_text())
        change(content)
        self.write(name, content)

    def adopt(self) -> None:
        """Follow the first section of the page."""
        (copy,) = (line for line in commands() if line.startswith("cp -r "))
        subprocess.run(shlex.split(copy), cwd=self.directory, check=True, timeout=30)
        shown = blocks()
        self.merge("deployment.yaml", shown["deployment.yaml"])
        self.write("config.yaml", shown["config.yaml"])
        self.write("use-proxy.yaml", shown["use-proxy.yaml"])
        self.merge("kustomization.yaml", shown["kustomization.yaml"])

    def copy(self, example: str) -> None:
        """Run the page's command that copies files of an example."""
        prefix = f"cp handshake-proxy/k8s/examples/{example}/"
        (line,) = (line for line in commands() if line.startswith(prefix))
        command = [tool("bash", "it is the page's shell"), "-c", line]
        subprocess.run(command, cwd=self.directory, check=True, timeout=30)

    def share(self) -> None:
        """Follow the section about replicas that share a store."""
        self.copy("postgres")
        self.merge("kustomization.yaml", blocks()["kustomization.yaml, with a shared store"])

    def take_events(self) -> None:
        """Follow the section about webhooks."""
        self.copy("webhooks")
        self.merge("kustomization.yaml", blocks()["kustomization.yaml, with webhooks"])

    def list_component(self, name: str, *, instead_of: str | None = None) -> None:
        """Add a component to the list, or put it in the place of another."""

        def change(kustomization: Document) -> None:
            listed = kustomization.setdefault("components", [])
            if instead_of is not None:
                listed.remove(f"handshake-proxy-components/{instead_of}")
            listed.append(f"handshake-proxy-components/{name}")

        self.edit("kustomization.yaml", change)

    def rendered(self) -> list[Document]:
        """What `kubectl kustomize .` makes of it."""
        return render(self.directory)


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _merged(below.get(key), value) for key, value in above.items()}
    if isinstance(below, list) and isinstance(above, list):
        return below + above
    return above
