"""The image as it is built and run: what it holds, what it may do, what it answers."""

import asyncio
import datetime as dt
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from proxy.demo.services import Services
from tests.image import pip_settings
from tests.image.base import PROJECT, base_name
from tests.image.engine import Engine, assert_without_rights, running, status_of

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]
USER = 65532
SITE = "/opt/handshake-proxy/lib/python3.11/site-packages"
SBOM = "/usr/share/sbom/handshake-proxy.cdx.json"
PACKAGES = ("config", "proxy", "store")
MOST = 120 * 10**6
"""Bytes of the image beyond its base, so that a growth is noticed. They are some 75 MB."""
LOGIN = {"userId": "user-01", "businessId": "biz-01"}


def alone(engine: Engine, image: str, *command: str) -> str:
    """What a command of the image prints, in a container without network."""
    program, *arguments = command
    return engine.podman(
        "run", "--rm", "--pull=never", "--network=none", f"--entrypoint={program}", image, *arguments
    )


async def test_it_answers_for_a_user_and_a_login(engine: Engine, image: str, services: Services) -> None:
    async with running(engine, image, services.url, "answers") as container:
        first = await container.users("user-01")
        assert first.json() == {"users": [json.loads(services.users["user-01"])], "count": 1}
        assert first.field("cache-status") == "handshake-proxy; fwd=uri-miss; stored"
        second = await container.users("user-01")
        assert second.body == first.body
        assert second.field("cache-status").startswith("handshake-proxy; hit")
        login = await container.call("POST", "/v1/login", LOGIN)
        assert login.status == 200
        assert login.json()["source"] == {"user": "hit", "business": "miss"}
        assert (login.json()["user"]["userId"], login.json()["business"]["businessId"]) == (
            "user-01",
            "biz-01",
        )
    assert services.fetched == {"user-01": 1, "biz-01": 1}


async def test_it_runs_without_rights_and_writes_to_its_volume_alone(
    engine: Engine, image: str, services: Services
) -> None:
    async with running(engine, image, services.url, "rights") as container:
        assert_without_rights(status_of(container.execute("cat", "/proc/1/status")), USER)
        mounts = [line.split() for line in container.execute("cat", "/proc/1/mounts").splitlines()]
        assert [mount[3].split(",")[0] for mount in mounts if mount[1] == "/"] == ["ro"]
        for place in ("/", "/opt/handshake-proxy", SITE):
            with pytest.raises(AssertionError, match="Read-only file system"):
                container.execute("touch", f"{place}/x")
        database = container.execute("stat", "--format=%u:%g %a", "/data/handshake.db").strip()
        assert database == f"{USER}:{USER} 600"


async def test_its_health_check_tells_live_from_dead(engine: Engine, image: str, services: Services) -> None:
    check = engine.inspect(image)["Healthcheck"]["Test"]
    assert check == ["CMD", "handshake-proxy", "probe"]
    async with running(engine, image, services.url, "health") as container:
        container.execute(*check[1:], env={"HANDSHAKE_OPS__LISTEN": container.addresses["ops"]})
        elsewhere = {
            "HANDSHAKE_OPS__LISTEN": container.addresses["upstreams.main"].replace("127.0.0.1", "127.0.0.2")
        }
        with pytest.raises(AssertionError, match="podman exec"):
            container.execute(*check[1:], env=elsewhere)


async def test_sigterm_lets_a_request_finish_and_ends_it_with_0(
    engine: Engine, image: str, services: Services
) -> None:
    services.latency = 1.0
    async with running(
        engine, image, services.url, "term", HANDSHAKE_LIMITS__DRAIN_TIMEOUT="10s"
    ) as container:
        request = asyncio.create_task(container.users("user-01"))
        await services.wait_for_calls(1)
        async with asyncio.timeout(10):
            code = await container.terminate()
        assert code == 0
        answer = await request
        assert (answer.status, answer.json()["count"]) == (200, 1)


async def test_what_it_holds_outlives_the_container_on_its_volume(
    engine: Engine, image: str, services: Services
) -> None:
    async with running(engine, image, services.url, "outlives") as container:
        login = (await container.call("POST", "/v1/login", LOGIN)).json()
        assert await container.terminate() == 0
    await services.stop()
    async with running(engine, image, services.url, "outlives") as container:
        answer = await container.users("user-01")
        assert answer.json()["users"] == [json.loads(services.users["user-01"])]
        assert answer.field("cache-status").startswith("handshake-proxy; hit")
        user = (await container.call("POST", "/v1/users/ensure", {"userId": "user-01"})).json()
        assert user["id"] == login["user"]["id"]


def test_it_has_the_locked_packages_and_no_other(engine: Engine, image: str) -> None:
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    installed = {
        (name.lower().replace("_", "-"), version)
        for name, _, version in (
            line.partition("==") for line in alone(engine, image, "python", "-I", "-c", listing).split()
        )
    }
    lock = (PROJECT / "requirements" / "image.txt").read_text()
    locked = set(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", lock, re.MULTILINE))
    own = ("handshake-proxy", _version())
    # It comes with sqlite-utils, which wants it for a command that nobody gives here.
    (pip,) = [package for package in locked if package[0] == "pip"]
    assert installed == (locked - {pip}) | {own}
    # Tracing works without another image.
    alone(engine, image, "python", "-c", "import opentelemetry.exporter.otlp.proto.http.trace_exporter")


def test_its_bill_of_materials_lists_its_packages_and_no_other(engine: Engine, image: str) -> None:
    text = alone(engine, image, "cat", SBOM)
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == ("handshake-proxy", _version())
    listed = {(part["name"], part["version"]) for part in document["components"]}
    assert len(listed) == len(document["components"])
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    installed = {
        (name, version)
        for name, _, version in (
            line.partition("==") for line in alone(engine, image, "python", "-I", "-c", listing).split()
        )
    }
    assert listed == installed - {("handshake-proxy", _version())}
    for part in document["components"]:
        assert part["purl"].startswith("pkg:pypi/")
        assert part["purl"].endswith(f"@{part['version']}")
    # Two of the packages say no licence of theirs in a way that can be read.
    assert sum("licenses" in part for part in document["components"]) >= len(listed) - 2
    # Nothing of the machine that built it: no path, and no index that it fetched from.
    assert "file:" not in text
    assert "/opt/" not in text
    assert not [key for key in pip_settings.hosts() if key in text]


def test_it_has_the_sources_as_they_are_and_nothing_else_of_the_repository(
    engine: Engine, image: str
) -> None:
    places = [f"{SITE}/{package}" for package in PACKAGES]
    sums = alone(engine, image, "find", *places, "-type", "f", "-exec", "sha256sum", "{}", "+")
    there = {line.split()[1].removeprefix(f"{SITE}/") for line in sums.splitlines()}
    ours = {
        str(file.relative_to(PROJECT))
        for package in PACKAGES
        for file in (PROJECT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in there if "__pycache__" not in name} == ours
    # Compiled once, when it was built: it could not be when it runs.
    assert {Path(name).name.split(".")[0] for name in there if name.endswith(".pyc")} >= {
        "app",
        "cli",
        "resolver",
    }


def test_it_adds_the_program_and_the_data_directory_to_its_base(
    engine: Engine, image: str, places: dict[Path, Path]
) -> None:
    changes = json.loads(engine.podman("image", "diff", "--format=json", image))
    assert not changes.get("deleted")
    assert set(changes["changed"]) <= {"/etc", "/opt", "/run", "/usr", "/usr/share"}
    left_by_the_build = {str(path) for place in places.values() for path in (place, *place.parents)}
    added = {path for path in changes["added"] if not path.startswith("/opt/handshake-proxy/")}
    assert added - left_by_the_build == {"/opt/handshake-proxy", "/data", "/usr/share/sbom", SBOM}
    owner = alone(engine, image, "stat", "--format=%u:%g", "/opt/handshake-proxy", SBOM, "/data").split()
    assert owner == ["0:0", "0:0", f"{USER}:{USER}"]


def test_it_says_what_it_is(engine: Engine, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = engine.inspect(image)
    labels = document["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "handshake-proxy"
    assert labels[f"{prefix}version"] == _version()
    assert labels[f"{prefix}base.name"] == base_name()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels[f"{prefix}revision"])
    made = dt.datetime.fromisoformat(labels[f"{prefix}created"])
    assert abs(dt.datetime.now(dt.UTC) - made) < dt.timedelta(hours=1)
    assert document["Config"]["User"] == f"{USER}:{USER}"
    assert document["Config"]["Entrypoint"] == ["handshake-proxy"]
    size, base = document["Size"], engine.inspect(base_name())["Size"]
    with capsys.disabled():
        sys.stdout.write(
            f"\nthe image: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB of it over its base\n"
        )
    assert size - base < MOST


def _version() -> str:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert isinstance(version, str)
    return version
