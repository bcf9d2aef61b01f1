"""What the figures were measured on, and of which versions."""

import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.peers.servers import find
from bench.peers.subjects import OURS, SUBJECTS
from bench.peers.usage import cores

_MODEL = re.compile(r"^model name\s*: (.+)$", re.MULTILINE)
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")


def model(cpuinfo: str) -> str:
    """The processor's name out of /proc/cpuinfo; the architecture where the kernel gives no name."""
    found = _MODEL.search(cpuinfo)
    return found[1].strip() if found is not None else platform.machine()


def first_version(output: str) -> str:
    """The version in what a program says of itself."""
    found = _VERSION.search(output)
    return found[0] if found is not None else "unknown"


def machine(subjects: Sequence[str], wrk: str) -> dict[str, str]:
    """The processor, the cores, the kernel, and the version of everything that took part."""
    server, load = cores()
    shared = "the server and the load on one core" if server == load else "the server on a core of its own"
    said = {
        "processor": model(Path("/proc/cpuinfo").read_text()),
        "cores": f"{len(server | load)}, {shared}",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        OURS: version(OURS),
        "aiohttp": version("aiohttp"),
        "uvloop": version("uvloop"),
        "wrk": _asked(wrk, "-v"),
    }
    for name in subjects:
        subject = SUBJECTS[name]
        path = find(subject.program) if subject.program is not None else None
        if path is not None:
            said[name] = _asked(path, *subject.version)
    return said


def line(said: dict[str, str]) -> str:
    """For a person."""
    names = ("processor", "cores", "kernel")
    place = f"{said['processor']}; cores: {said['cores']}; {said['kernel']}"
    return f"{place}; {', '.join(f'{name} {value}' for name, value in said.items() if name not in names)}"


def _asked(program: str, *options: str) -> str:
    done = subprocess.run([program, *options], capture_output=True, text=True, check=False, timeout=30)
    return first_version(done.stdout + done.stderr)
