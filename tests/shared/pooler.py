"""A pooler in transaction mode in front of a database: each transaction gets whichever of its connections is free."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.needed import missing
from tests.postgres.server import HOST, PASSWORD, PATIENCE, ROLE, Database, address

_CONNECTIONS = 3
"""To the server: fewer than are asked for, so that they are shared."""


@contextmanager
def pooling(database: Database, directory: Path) -> Iterator[str]:
    """The URL of the database through a PgBouncer of its own. Skips where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing("pgbouncer is missing")
    with socket.socket() as one:
        one.bind((HOST, 0))
        port = one.getsockname()[1]
    there = f"host={HOST} port={database.server.port} dbname={database.name} user={ROLE} password={PASSWORD}"
    settings = directory / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database.name} = {there}\n[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {_CONNECTIONS}\n"
    )
    settings.chmod(0o644)
    # It refuses to be root, and reads its settings as whoever it is then: by an open file.
    with settings.open("rb") as opened:
        process = subprocess.Popen(
            [program, "/dev/stdin"],
            stdin=opened,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user="nobody" if os.geteuid() == 0 else None,
            cwd="/",
        )
        try:
            _wait_for(port, process)
            yield address(database.name, port)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            time.sleep(0.01)  # there is no word of what happens in another process
        else:
            return
    raise AssertionError("pgbouncer does not listen")
