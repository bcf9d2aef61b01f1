"""What the tests of a failing database have in common: a proxy that heals in a hurry, and what it says of itself."""

import asyncio
import fcntl
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.handshake import Handshake, handshake, user_item
from tests.integration.harness import PATIENCE

GIVEN = "00000000-0000-4000-8000-00000000000a"
"""An internal id that an import has given, and that nobody could derive."""

_LOCK = """
import sqlite3, sys
shell = sqlite3.connect(sys.argv[1], isolation_level=None)
shell.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy looks after its database many times a second, and waits for nobody's lock for long."""
    monkeypatch.setattr("proxy.storage.LOOK_EVERY", 0.02)
    monkeypatch.setattr("proxy.storage.FIRST_DELAY", 0.02)
    monkeypatch.setattr("proxy.storage.MAX_DELAY", 0.05)
    monkeypatch.setattr("store.recovering.FIRST_DELAY", 0.02)
    monkeypatch.setattr("store.recovering.MAX_DELAY", 0.05)
    monkeypatch.setattr("store.sqlite_pragmas.BUSY_TIMEOUT_MS", 20)


@dataclass
class Stored:
    """A proxy with its handshake API, its database in a directory of its own, and what it logs."""

    there: Handshake
    directory: Path
    lines: list[Any] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.directory / "handshake.db"

    @property
    def aside(self) -> Path:
        return self.directory / "handshake.db.set-aside"

    @property
    def degraded(self) -> bool:
        tiers = self.there.proxy.app._storage.tiers
        return tiers.degraded

    def logged(self, event: str, **members: object) -> int:
        return sum(line["event"] == event and members.items() <= line.items() for line in self.lines)

    def metric(self, name: str, **labels: str) -> float:
        return self.there.proxy.metric(name, **labels)

    def rows(self, user: str) -> int:
        """How many rows a user has in the file."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as shell:
            found: int = shell.execute("SELECT count(*) FROM users WHERE user_id = ?", (user,)).fetchone()[0]
        return found

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The lock file is replaced by one that somebody else has locked. No turn of the loop may come between."""
        lock = Path(f"{self.path}.lock")
        lock.unlink()
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition, as long as a test is patient; the disk takes its time."""
        async with asyncio.timeout(2 * PATIENCE):
            while not holds():
                await asyncio.sleep(0)

    async def healed(self, openings: int = 2) -> None:
        """Wait until the database has been opened so many times, and works."""
        await self.until(lambda: self.logged("store_open") >= openings and not self.degraded)

    async def import_user(self, user: str, internal_id: str) -> None:
        """A row as an import brings it."""
        with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as shell, shell:
            shell.execute(
                "INSERT INTO users (id, user_id, last_synced_at, received_at, lifetime, initial_age, invalidated)"
                " VALUES (?, ?, '2026-01-01T00:00:00.000Z', 0.0, 0.0, 0.0, 1)",
                (internal_id, user),
            )

    async def works(self, user: str) -> Any:
        """Somebody new is given an id that is found again in the file."""
        self.there.services.users[user] = user_item(user)
        made = await self.there.ensure(user)
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as shell:
            rows = shell.execute("SELECT id FROM users WHERE user_id = ?", (user,)).fetchall()
        assert rows == [(made["id"],)]
        return made


@asynccontextmanager
async def stored(tmp_path: Path, **sections: Any) -> AsyncIterator[Stored]:
    directory = tmp_path / "data"
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    sections = {"store": {"url": f"sqlite:///{directory / 'handshake.db'}"}, **sections}
    with capture_logs() as lines:
        async with handshake(tmp_path, **sections) as there:
            yield Stored(there, directory, lines)


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Another process holds the whole database, until the function is called."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"locked\n"

            def unlock() -> None:
                process.kill()
                process.wait()

            yield unlock
        finally:
            process.kill()
