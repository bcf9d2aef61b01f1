"""Podman and buildah on a store of their own, which goes with the test run: a user's images are not touched."""

import asyncio
import json
import os
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration.harness import Reachable
from tests.needed import missing, tool

PACKAGES = ("buildah", "podman", "runc", "catatonit", "debootstrap")
"""Debian's names of what is needed, and the names of the programs."""
PATIENCE = 30.0
"""Seconds for a call of podman; most take a fraction of one."""
BUILD_PATIENCE = 600.0

# The descriptors of podman's own default are more than some machines allow, and then nothing starts.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = "{directory}/tmp"
"""
_STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{directory}/graph"
runroot = "{directory}/run"
"""


def needed() -> None:
    """Skip the test, or fail it in CI, if something is missing that Debian has."""
    for name in PACKAGES:
        tool(name, f"install Debian's packages {', '.join(PACKAGES)}")
    if os.geteuid() != 0:
        missing("debootstrap and a chroot need root")


class Engine:
    """A container engine with its whole state below `directory`, whose path must be short."""

    def __init__(self, directory: Path) -> None:
        files = {"CONTAINERS_CONF": _CONTAINERS_CONF, "CONTAINERS_STORAGE_CONF": _STORAGE_CONF}
        for name, text in files.items():
            (directory / name).write_text(text.format(directory=directory))
        self.environment = {
            **os.environ,
            **{name: str(directory / name) for name in files},
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, *command: str, timeout: float = PATIENCE, cwd: Path | None = None) -> str:
        """Standard output of a command. Raises AssertionError with all that it said if it fails."""
        path = os.pathsep.join((sysconfig.get_path("scripts"), self.environment["PATH"]))
        done = subprocess.run(
            command,
            env={**self.environment, "PATH": path},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def podman(self, *arguments: str, timeout: float = PATIENCE) -> str:
        return self.run("podman", *arguments, timeout=timeout)

    def inspect(self, image: str) -> Any:
        (document,) = json.loads(self.podman("image", "inspect", image))
        return document

    def commit(self, source: str, image: str, added: Mapping[Path, str], *configured: str) -> None:
        """Make an image of another, or of `scratch`, with files or unpacked archives added at their places."""
        container = self.run("buildah", "from", "--pull-never", source).strip()
        for file, place in added.items():
            self.run("buildah", "add", "--quiet", container, str(file), place, timeout=BUILD_PATIENCE)
        if configured:
            self.run("buildah", "config", *configured, container)
        self.run("buildah", "commit", "--quiet", "--rm", container, image, timeout=BUILD_PATIENCE)

    def forget(self) -> None:
        """End and remove every container and pod of this store."""
        self.podman("pod", "rm", "--force", "--all", "--time", "0")
        self.podman("rm", "--force", "--all", "--time", "0")


class Container(Reachable):
    """A running container of the image, on the host's loopback."""

    def __init__(self, engine: Engine, name: str, process: asyncio.subprocess.Process) -> None:
        self.engine = engine
        self.name = name
        self.process = process
        self.addresses: dict[str, str] = {}

    def execute(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command inside. Raises AssertionError if it fails."""
        variables = [f"--env={name}={value}" for name, value in (env or {}).items()]
        return self.engine.podman("exec", *variables, self.name, *command)

    async def terminate(self) -> int:
        """Send SIGTERM to the proxy; the exit code of the container."""
        await asyncio.to_thread(self.engine.podman, "kill", "--signal", "TERM", self.name)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def running(
    engine: Engine, image: str, upstream: str, volume: str, **environment: str
) -> AsyncIterator[Container]:
    """The image as Kubernetes would run it under Restricted Pod Security, before `upstream`, /data on `volume`."""
    settings = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": upstream,
        "HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_OPS__LISTEN": "127.0.0.1:0",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        *(
            "podman",
            "run",
            "--rm",
            f"--name={volume}-proxy",
            "--pull=never",
            "--no-healthcheck",
            "--network=host",
        ),
        *("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *("--tmpfs=/tmp", f"--volume={volume}:/data"),
        *(f"--env={name}={value}" for name, value in settings.items()),
        image,
        env=engine.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    container = Container(engine, f"{volume}-proxy", process)
    try:
        async with asyncio.timeout(PATIENCE):
            ready = json.loads(await process.stdout.readline() or b"{}")
        assert ready.get("event") == "ready", ready
        container.addresses = ready["addresses"]
        yield container
    finally:
        if process.returncode is None:
            engine.podman("rm", "--force", "--ignore", "--time", "0", container.name)
        async with asyncio.timeout(PATIENCE):
            await process.wait()


def status_of(text: str) -> dict[str, str]:
    """The lines of a /proc/<pid>/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def assert_without_rights(status: Mapping[str, str], user: int) -> None:
    """A process of that user and group that has no capability, can't get one, and may not make every system call."""
    assert status["Uid"].split() == status["Gid"].split() == [str(user)] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # a filter
