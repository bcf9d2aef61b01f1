"""The files of a SQLite database: made for the owner's eyes only, locked by one process, set aside when unusable."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Literal

from store.base import StoreError

OWNER_ONLY = 0o600

COMPANIONS = ("", "-wal", "-shm")
"""What SQLite appends to a database's name to get the names of all its files."""

FOREIGN_ERRORS = (sqlite3.Error, OSError, ValueError, OverflowError)
"""What the driver raises: its own, the file system's, and those of values that SQLite can't take."""

_NOT_THE_FILES_FAULT = (
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_PERM",
    "SQLITE_NOMEM",
)

OpenFailure = Literal["impossible", "corrupt", "newer", "migration"]


class OpenError(StoreError):
    """The database could not be opened. `failure` says whether setting it aside would help: all but "impossible"."""

    def __init__(self, message: str, failure: OpenFailure) -> None:
        super().__init__(message)
        self.failure: OpenFailure = failure


def error_name(error: BaseException) -> str:
    """The name of a driver's error without its text, which can quote what was stored."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return type(error).__name__


def store_error(operation: str, error: BaseException) -> StoreError:
    """The one place where the driver's errors become ours. Raise it `from None`: the original can quote data."""
    return StoreError(f"{operation}: {error_name(error)}")


def open_error(operation: str, error: BaseException) -> OpenError:
    """`store_error` of an opening: whether the file is at fault, or the place where it is."""
    name = error_name(error)
    failure: OpenFailure = "migration"
    if isinstance(error, OSError) or name.startswith(_NOT_THE_FILES_FAULT):
        failure = "impossible"
    elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        failure = "corrupt"
    return OpenError(f"{operation}: {name}", failure)


class Files:
    """The files of one database, held by this process until `release`. Raises OpenError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        self._database = -1
        try:
            self._take_lock()
            self.create()
        except OSError as error:
            self.release()
            raise open_error("open", error) from None

    def create(self) -> None:
        """Make the file if it is not there. SQLite gives -wal and -shm the mode of the database. Raises OSError."""
        is_new = not self.path.exists()
        self._close_database()
        self._database = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        os.fchmod(self._database, OWNER_ONLY)
        if is_new:
            self._sync_directory()

    def set_aside(self) -> Path:
        """Rename the files, over those that were set aside before, so that at most one set takes space.

        Raises OSError.
        """
        aside = self._aside()
        for companion in COMPANIONS:
            source, target = Path(f"{self.path}{companion}"), Path(f"{aside}{companion}")
            target.unlink(missing_ok=True)
            if source.exists():
                source.chmod(OWNER_ONLY)
                source.rename(target)
        self._sync_directory()
        self.create()
        return aside

    def remove_set_aside(self) -> None:
        """Remove what `set_aside` has kept, if there is any. Raises OSError."""
        found = [path for companion in COMPANIONS if (path := Path(f"{self._aside()}{companion}")).exists()]
        for path in found:
            path.unlink()
        if found:
            self._sync_directory()

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the database as they are in the file, up to its end. Raises OSError.

        Through a descriptor that stays open: closing any of a file lets go all locks that this process has on it,
        those of SQLite too.
        """
        return os.pread(self._database, size, offset)

    def size(self) -> int:
        """Bytes of the database and its write-ahead log."""
        return size_of(self.path)

    def log_size(self) -> int:
        """Bytes of the write-ahead log."""
        return _size(self.path, "-wal")

    def release(self) -> None:
        """Let another process have the database, which is closed. Idempotent. The lock file stays: removing it would
        race."""
        self._close_database()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        # A lock beside the database, and not SQLite's exclusive mode: a person may read it while we run. The
        # kernel lets it go when the process dies, however it dies.
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise OpenError("open: the database is in use by another process", "impossible") from None

    def _sync_directory(self) -> None:
        # A new name is durable only once its directory is.
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _aside(self) -> Path:
        return self.path.with_name(self.path.name + ".set-aside")

    def _close_database(self) -> None:
        if self._database >= 0:
            os.close(self._database)
            self._database = -1


def size_of(path: Path) -> int:
    """Bytes of a database and its write-ahead log."""
    return sum(_size(path, companion) for companion in ("", "-wal"))


def _size(path: Path, companion: str) -> int:
    try:
        return Path(f"{path}{companion}").stat().st_size
    except FileNotFoundError:
        return 0
