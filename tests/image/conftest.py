"""One store of images for all tests here, with the image in it that the Dockerfile makes."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.demo.services import Services
from tests.image import pip_settings
from tests.image.base import PROJECT, base_name, make_base
from tests.image.engine import BUILD_PATIENCE, Engine, needed

IMAGE = "localhost/handshake-proxy:tested"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    needed()
    # On a disk, and by a short path: podman puts its sockets below it.
    directory = Path(tempfile.mkdtemp(prefix="hsp-", dir="/var/tmp"))
    try:
        engine = Engine(directory)
        yield engine
        engine.forget()
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """Files of this machine that the build sees, and where."""
    return pip_settings.places(tmp_path_factory.mktemp("pip"))


@pytest.fixture(scope="session")
def image(engine: Engine, places: dict[Path, Path]) -> str:
    """The real Dockerfile on the stand-in base, built as `make image` builds it."""
    make_base(engine)
    volumes = " ".join(f"--volume={source}:{place}:ro" for source, place in places.items())
    engine.run(
        *("make", "image", "BUILDER=buildah", f"IMAGE={IMAGE}", f"PYTHON_IMAGE={base_name()}"),
        f"BUILD_ARGS=--pull-never {volumes}",
        timeout=BUILD_PATIENCE,
        cwd=PROJECT,
    )
    return IMAGE


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    upstream = Services()
    await upstream.start()
    yield upstream
    await upstream.stop()
