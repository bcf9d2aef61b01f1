"""A real PostgreSQL that tests start, stop, kill and promote.

All of it blocks, and needs neither an event loop nor a driver: what runs beside a proxy in one event loop calls it by
`asyncio.to_thread`.
"""

import itertools
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

import psutil

from tests.needed import missing
from tests.postgres.installation import Installation, ProgramFailed
from tests.postgres.watcher import lives

PATIENCE = 30.0
"""Seconds after which a test gives up on a server. It starts in a tenth of one."""
HOST = "127.0.0.1"
ROLE = "handshake"
"""Owns the databases of tests, and may do nothing else."""
PASSWORD = "pass/word@1"
"""Of the role. A URL has to quote it."""

End = Literal["fast", "immediate", "kill"]
"""How a server ends: connections are told, and all is written; connections are told; nobody is told, nothing is
tidied up. What is committed is there at the next start, whichever it was."""

# Below the ports that a system gives to outgoing connections (Linux from 32768, else RFC 6335, section 6: 49152), so
# that nobody takes the port of a server that is to start again.
_PORTS = range(20_000, 32_000)
_POLL = 0.005
# Nothing needs to outlive the machine, and a commit outlives the processes without being flushed. The time zone is
# there to show who takes that of the session for UTC.
_SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 200
fsync = off
full_page_writes = off
scram_iterations = 1
max_wal_size = 64MB
wal_retrieve_retry_interval = 100ms
timezone = 'Asia/Kathmandu'
"""
# Who is to be a superuser comes by the socket in the data directory, where only the server's user and root get to.
_ADMISSION = f"""
local all         postgres              trust
local replication postgres              trust
host  all         all      {HOST}/32 scram-sha-256
"""


class StartFailed(RuntimeError):
    """A server has ended at its start, or has not become ready in time; says what it has logged."""


def address(database: str, *ports: int, **parameters: str) -> str:
    """The URL for the role, with these parameters; of several servers, where there are several ports."""
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    query = f"?{urlencode(parameters)}" if parameters else ""
    return f"postgresql://{ROLE}:{quote(PASSWORD, safe='')}@{hosts}/{database}{query}"


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    name: str
    server: "Server"

    @property
    def url(self) -> str:
        """For the role that owns the database."""
        return self.at(self.server.port)

    def at(self, *ports: int, **parameters: str) -> str:
        """The same through a relay, or on several servers, for which a parameter says which of them to take."""
        return address(self.name, *ports, **parameters)

    def sql(self, *statements: str) -> list[str]:
        """Run statements as a superuser, each by itself; the lines of the answers, columns parted by `|`."""
        return self.server.sql(*statements, database=self.name)


class Server:
    """One server: its data directory, its port, and its process while it runs."""

    def __init__(self, installation: Installation, data: Path) -> None:
        self.installation = installation
        self.data = data
        self.port = _free_port()
        self.log = data.parent / "log"
        """What the server says, from all its starts."""
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: End = "fast"
        self._numbers = itertools.count(1)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, again or for the first time, and recover what there is to recover. Raises StartFailed."""
        assert not self.running
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self.installation.programs / "postgres", "-D", self.data),
                    *("-p", str(self.port), "-k", self.data),
                ],
                user=self.installation.user,
                env=self.installation.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C is for the tests, which then end the server.
                start_new_session=True,
            )
        try:
            wait(lambda: self._is_ready() or not self.running)
        except TimeoutError:
            self.stop("kill")
        if not self.running:
            raise StartFailed(f"PostgreSQL does not start: {self.log.read_text()[-2000:]}")

    def stop(self, how: End = "fast") -> None:
        """End it and wait until all of it is gone."""
        assert self._process is not None
        if how == "kill":
            self._kill(self._process)
        else:
            self._process.send_signal(signal.SIGINT if how == "fast" else signal.SIGQUIT)
        self._process.wait(PATIENCE)
        self._ended = how

    def close(self) -> None:
        """End it for good, whatever a test has left. Idempotent."""
        if not self.running and self._ended == "kill":
            # Who was killed has left System V shared memory, which a start of the same data directory removes.
            self.start()
        if self.running:
            self.stop("immediate")

    def sql(self, *statements: str, database: str = "postgres") -> list[str]:
        """Run statements as a superuser, each by itself; the lines of the answers. Raises ProgramFailed."""
        reached = ("-h", self.data, "-p", str(self.port), "-U", "postgres", "-d", database)
        asked = [part for statement in statements for part in ("-c", statement)]
        return self.installation.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *reached, *asked).splitlines()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """An empty database that the role owns. At the end it is dropped, with the connections to it."""
        name = f"{ROLE}_{next(self._numbers)}"
        # As files it is the quickest by far where nothing is flushed.
        self.sql(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE template0 STRATEGY file_copy")
        try:
            yield Database(name, self)
        finally:
            if self.running:
                self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _is_ready(self) -> bool:
        assert self._process is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # Its lines are in miscadmin.h (LOCK_FILE_LINE_*): the first is the process, the eighth its state.
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """As the kernel does it that is out of memory: all at once. Stopped, the first makes no more of them."""
        process.send_signal(signal.SIGSTOP)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in children:
            if lives(child):
                child.kill()
        process.wait(PATIENCE)
        # Whoever adopts them may never ask how they ended.
        wait(lambda: not any(lives(child) for child in children))


class Standby(Server):
    """A replica that follows a primary, and can be read from, until it is promoted."""

    def __init__(self, primary: Server, data: Path) -> None:
        super().__init__(primary.installation, data)
        self._primary = primary

    def catch_up(self) -> None:
        """Wait until all that is committed on the primary can be read here."""
        (end,) = self._primary.sql("SELECT pg_current_wal_lsn()")
        wait(lambda: self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == ["t"])

    def promote(self) -> None:
        """Become a primary, and wait until it takes writes. What it has not received is lost."""
        assert self.sql(f"SELECT pg_promote(wait_seconds => {PATIENCE:.0f})") == ["t"]


@contextmanager
def running(version: int | None = None) -> Iterator[Server]:
    """A server of its own, for whoever breaks it. Takes about two seconds. Skips where it can't be had."""
    installation = Installation.found(version)
    with installation.directory() as data:
        server = Server(installation, data)
        try:
            _make(server)
            server.start()
        except (OSError, ProgramFailed, StartFailed) as error:
            missing(f"PostgreSQL does not start: {error}")
        with _closing(server):
            server.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
            yield server


@contextmanager
def following(primary: Server) -> Iterator[Standby]:
    """A streaming replica of a running server, as it is now, asynchronous; it has caught up."""
    with primary.installation.directory() as data:
        standby = Standby(primary, data)
        reached = ("-h", primary.data, "-p", str(primary.port), "-U", "postgres")
        primary.installation.run("pg_basebackup", "-D", data, "-R", "-N", "-c", "fast", *reached)
        standby.start()
        with _closing(standby):
            standby.catch_up()
            yield standby


@contextmanager
def _closing(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.close()


def _make(server: Server) -> None:
    quick = ("--no-sync", "--no-instructions", "--wal-segsize=1")
    # Nobody's test depends on the locale of whoever runs it.
    same = ("--no-locale", "--encoding=UTF8", "-U", "postgres", "--auth=trust")
    server.installation.run("initdb", "-D", server.data, *quick, *same)
    with (server.data / "postgresql.conf").open("a") as settings:
        settings.write(_SETTINGS)
    (server.data / "pg_hba.conf").write_text(_ADMISSION)


def wait(done: Callable[[], bool]) -> None:
    """There is no word of what happens in another process: look until it has. Raises TimeoutError."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(_POLL)


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, port))
            except OSError:
                continue
            return port
