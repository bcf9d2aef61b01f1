"""A stand-in for the image that the Dockerfile builds on: a Debian with its Python, for where no registry is."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from tests.image.engine import BUILD_PATIENCE, Engine

PROJECT = Path(__file__).parents[2]
_PACKAGES = "python3-minimal,ca-certificates,python3-venv"
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


def base_name() -> str:
    """What the Dockerfile builds on unless it is told otherwise, without the digest: a stand-in has another."""
    found = re.search(
        r"^ARG PYTHON_IMAGE=([^\s@]+)@sha256:[0-9a-f]{64}$",
        (PROJECT / "Dockerfile").read_text(),
        re.MULTILINE,
    )
    assert found is not None
    return found[1]


def make_base(engine: Engine) -> None:
    """Put the stand-in into the store under the name of the real one."""
    engine.commit("scratch", base_name(), {_root_file_system(engine): "/"}, "--env", f"PATH={_PATH}")


def _root_file_system(engine: Engine) -> Path:
    """An archive of it, kept from run to run: making it takes minutes."""
    suite = base_name().rpartition("-")[2]
    recipe = hashlib.sha256(f"{_PACKAGES} {_PATH}".encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handshake-proxy-tests"
    archive = cache / f"debian-{suite}-{recipe}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="base-", dir=cache))
    try:
        root = work / "root"
        engine.run(
            *("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(root)),
            timeout=BUILD_PATIENCE,
        )
        for left in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / left)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        engine.run(
            "tar",
            "--create",
            f"--file={work / 'root.tar'}",
            f"--directory={root}",
            ".",
            timeout=BUILD_PATIENCE,
        )
        return (work / "root.tar").rename(archive)
    finally:
        shutil.rmtree(work)
