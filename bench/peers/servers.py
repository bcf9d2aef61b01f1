"""Starts and ends the servers: each is a process of its own, on the core that is kept for them."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.peers.subjects import SUBJECTS, Place, Subject, has_database
from bench.peers.usage import cores, on, processes
from bench.people import write_lines

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0
_SBIN = "/usr/sbin:/sbin"
"""Where servers are installed, which the path of a user may leave out."""


class BenchError(Exception):
    """The run can't give figures; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    name: str
    address: str
    """Host and port."""
    pid: int

    @property
    def pids(self) -> list[int]:
        """Its processes now: nginx, for one, ends its cache loader after a minute."""
        return processes(self.pid)


def find(program: str) -> str | None:
    """The path of an installed program."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def missing(names: Sequence[str]) -> dict[str, str]:
    """The subjects among these that can't run here, with the reason."""
    wanted = (SUBJECTS[name] for name in names)
    return {
        one.name: f"not installed (Debian package {one.package})"
        for one in wanted
        if one.program is not None and find(one.program) is None
    }


def ask(address: str, path: str, body: bytes | None = None) -> bytes:
    """The body of one answer, asked for on a connection of its own. Raises BenchError unless it is a 200."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{address}{path} did not answer: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchError(
            f"{address}{path} answered {answer.status}: {content[:200].decode(errors='replace')}"
        )
    return content


@contextmanager
def origin() -> Iterator[str]:
    """The upstream, on the core of the load; its address."""
    _, load = cores()
    with _process([sys.executable, "-m", "bench.origin", "--port", "0"], load, None) as process:
        yield f"127.0.0.1:{_first_line(process, None)['port']}"


@contextmanager
def running(subject: Subject, directory: Path, upstream: str, entities: int = 0) -> Iterator[Server]:
    """The subject before this upstream, with its files in an empty directory. Raises BenchError if it won't start.

    With `entities`, one that has a database starts with u0, u1, … in it.
    """
    directory.mkdir(parents=True)
    place = Place(directory, _free_port(), int(upstream.rpartition(":")[2]), root=os.geteuid() == 0)
    command = subject.command(place)
    if subject.program is not None:
        command[0] = find(subject.program) or command[0]
    log = directory / "output.log"
    if entities and has_database(subject):
        _import(command, directory, entities)
    with _process(command, cores()[0], log, says_port=subject.says_port) as process:
        if subject.says_port:
            line = _first_line(process, log)
            address = (
                line["addresses"]["upstreams.main"] if "addresses" in line else f"127.0.0.1:{line['port']}"
            )
        else:
            address = f"127.0.0.1:{place.port}"
            _wait(subject, address, process, log)
        yield Server(subject.name, address, process.pid)


def _import(serve: list[str], directory: Path, entities: int) -> None:
    print(f"{entities:,} entities into the database", file=sys.stderr)
    lines = directory / "users.jsonl"
    write_lines(lines, entities)
    at = serve.index("serve")
    command = [*serve[:at], "import", str(lines), *serve[at + 1 :]]
    done = subprocess.run(command, env=_environment(), stderr=subprocess.PIPE, text=True, check=False)
    lines.unlink()
    if done.returncode:
        raise BenchError(f"the import failed:\n{done.stderr}")


@contextmanager
def _process(
    command: list[str], chosen: set[int], log: Path | None, *, says_port: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """On these cores. Servers that do not say their port write all that they say into the log."""
    with contextlib.ExitStack() as stack:
        errors: IO[str] | None = None if log is None else stack.enter_context(log.open("w"))
        with on(chosen):
            process = subprocess.Popen(
                command,
                env=_environment(),
                stdout=subprocess.PIPE if says_port else errors,
                stderr=errors,
                text=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _environment() -> dict[str, str]:
    """Without what would configure this proxy differently."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HANDSHAKE_")}


def _first_line(process: subprocess.Popen[str], log: Path | None) -> dict[str, dict[str, str]]:
    """What a server says when it is ready. Its end of the pipe closes if it fails."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchError(f"{process.args!r} did not start:\n{log.read_text() if log is not None else ''}")
    parsed: dict[str, dict[str, str]] = json.loads(line)
    return parsed


def _wait(subject: Subject, address: str, process: subprocess.Popen[str], log: Path) -> None:
    """Until it accepts connections."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchError(f"{subject.name} did not start:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
