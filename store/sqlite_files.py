"""The files of a SQLite database: made for the owner's eyes only, locked by one process, set aside when unusable."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
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

_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

SET_ASIDE_FOR = 7 * 86_400.0
"""Seconds for which an unusable database is kept to be looked at: it holds persons' data that nobody needs."""

REWRITE_DUE, ERASURE_DUE = 1, 2
"""Values of `user_version` while the files may hold what was deleted: by an earlier version, which did not overwrite
it; or by an erasure that has not come to its end. The next opening writes the database anew, if nothing does before."""

_USER_VERSION_AT = 60
"""Where the file's header has it (https://sqlite.org/fileformat2.html), four bytes."""

_MAGIC = b"SQLite format 3\0"
"""What the header begins with."""

OpenFailure = Literal["impossible", "corrupt", "newer", "migration"]

Displaced = Literal["deleted", "log", "taken"]
"""What became of files in use: the database's name leads to no file or to another one; or only its log's or its index's
does; or another process has locked it."""


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


class SuspectError(sqlite3.DatabaseError):
    """A row is not what was put there, or is not where an index says: the file may be damaged."""

    sqlite_errorname = "SUSPECT_ROW"


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that what is in the file is no whole database."""
    return error_name(error).startswith(_DAMAGE)


def open_error(operation: str, error: BaseException) -> OpenError:
    """`store_error` of an opening: whether the file is at fault, or the place where it is."""
    name = error_name(error)
    failure: OpenFailure = "migration"
    if isinstance(error, OSError) or name.startswith(_NOT_THE_FILES_FAULT):
        failure = "impossible"
    elif name.startswith(_DAMAGE):
        failure = "corrupt"
    return OpenError(f"{operation}: {name}", failure)


class Files:
    """The files of one database, held by this process until `release`. `clock` gives epoch seconds. Raises
    OpenError."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        # A link stays what it is: what stands beside the database stands where the file is.
        self.path = Path(os.path.realpath(path))
        self._clock = clock
        self._lock = -1
        self._database = -1
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self.keep_lock()
            self.create()
        except BaseException as error:
            self.release()
            if isinstance(error, OSError):
                raise open_error("open", error) from None
            raise

    def renew(self) -> None:
        """See to it that the lock and the database are those that their names lead to, which may have been deleted.
        Raises OpenError."""
        try:
            self.keep_lock()
            self.remove_strays()
            self.create()
        except OSError as error:
            raise open_error("open", error) from None

    def note_places(self) -> None:
        """Remember which files these are, now that SQLite has them open. Raises OSError."""
        found = {companion: _identity(Path(f"{self.path}{companion}")) for companion in COMPANIONS}
        self._places = {companion: place for companion, place in found.items() if place is not None}

    def displaced(self) -> Displaced | None:
        """What has happened to the names of the files since `note_places`, if anything: what is written into a file
        without a name is lost with the process. A name that can't be looked up now says nothing."""
        try:
            # Also where the directory has gone, and no lock file can be made.
            with suppress(OSError):
                self.keep_lock()
            for companion, place in self._places.items():
                if _identity(Path(f"{self.path}{companion}")) != place:
                    return "log" if companion else "deleted"
        except OpenError:
            return "taken"
        except OSError:
            pass
        return None

    def replace(self, copy: Callable[[Path], None]) -> None:
        """Put a whole copy in the place of the database, whose log or index has no name any more, so that nobody has
        the new one open. `copy` writes it into an empty file. Raises OSError, and what `copy` raises."""
        rescued = self._rescued()
        rescued.unlink(missing_ok=True)
        descriptor = os.open(rescued, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
        try:
            copy(rescued)
            os.fsync(descriptor)
            # What is left of them would be read into the copy.
            for companion in COMPANIONS[1:]:
                Path(f"{self.path}{companion}").unlink(missing_ok=True)
            rescued.rename(self.path)
        except BaseException:
            rescued.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._sync_directory()

    def keep_lock(self) -> None:
        """Take the lock file again if somebody has deleted it: another process would lock another file. Raises
        OpenError, also when another process has done so by now, and OSError."""
        if self._lock >= 0 and _identity(self._lock_path()) == _identity(self._lock):
            return
        lock = self._new_lock()
        self._close_lock()
        self._lock = lock

    def remove_strays(self) -> None:
        """Remove log and index that are not those of the database that has the name now: it was deleted or replaced.
        The connections to the one before must be closed; those of other processes may not be. Raises OSError."""
        self._rescued().unlink(missing_ok=True)
        now = _identity(self.path)
        if now is None or now != self._places.get("", now):
            for companion in COMPANIONS[1:]:
                path = Path(f"{self.path}{companion}")
                # One that came with the new database is a part of it.
                if now is None or _identity(path) == self._places.get(companion):
                    path.unlink(missing_ok=True)

    def create(self) -> None:
        """Make the file if it is not there. SQLite gives -wal and -shm the mode of the database. Raises OSError."""
        found = _identity(self.path)
        if self._database >= 0 and found == _identity(self._database):
            return
        is_new = found is None
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
        now = self._clock()
        # The database first: SQLite takes the log of one that is gone or empty away, and would read that of another.
        for companion in COMPANIONS:
            source, target = Path(f"{self.path}{companion}"), Path(f"{aside}{companion}")
            target.unlink(missing_ok=True)
            if source.exists():
                source.chmod(OWNER_ONLY)
                # From here on its days are counted, and not from the last write.
                os.utime(source, (now, now))
                source.rename(target)
        self._sync_directory()
        self.create()
        return aside

    def remove_set_aside(self) -> None:
        """Remove what `set_aside` has kept, if there is any. Raises OSError."""
        found = self._found_aside()
        for path in found:
            path.unlink()
        if found:
            self._sync_directory()

    def expire_set_aside(self) -> bool:
        """Remove what was set aside seven days ago; whether anything was. Raises OSError."""
        now = self._clock()
        ages = {path: now - path.stat().st_mtime for path in self._found_aside()}
        if not ages:
            return False
        for path, age in ages.items():
            if age < 0:
                # The clock has been set back: the days are counted anew, so that it is neither early nor never.
                os.utime(path, (now, now))
        if max(ages.values()) < SET_ASIDE_FOR:
            return False
        self.remove_set_aside()
        return True

    def has_erasure_due(self) -> bool:
        """Whether the database says that erased bytes may be in it still; as far as can be seen. Raises OSError."""
        return int.from_bytes(self.read(4, _USER_VERSION_AT), "big") == ERASURE_DUE

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the database as they are in the file, up to its end. Raises OSError.

        Through a descriptor that stays open: closing any of a file lets go all locks that this process has on it,
        those of SQLite too.
        """
        return os.pread(self._database, size, offset)

    def is_database(self) -> bool:
        """Whether the file still begins as one does. SQLite does not look while it has the page in its cache."""
        try:
            return self.read(len(_MAGIC), 0) == _MAGIC
        except OSError:
            return True  # nothing is known

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
        self._close_lock()

    def _new_lock(self) -> int:
        # A lock beside the database, and not SQLite's exclusive mode: a person may read it while we run. The
        # kernel lets it go when the process dies, however it dies.
        lock = os.open(self._lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                raise OpenError("open: the database is in use by another process", "impossible") from None
            raise
        return lock

    def _sync_directory(self) -> None:
        # A new name is durable only once its directory is.
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _lock_path(self) -> Path:
        return Path(f"{self.path}.lock")

    def _rescued(self) -> Path:
        return self.path.with_name(self.path.name + ".rescued")

    def _found_aside(self) -> list[Path]:
        # A directory of that name is somebody else's, and nothing was set aside into it.
        return [path for companion in COMPANIONS if (path := Path(f"{self._aside()}{companion}")).is_file()]

    def _aside(self) -> Path:
        return self.path.with_name(self.path.name + ".set-aside")

    def _close_database(self) -> None:
        if self._database >= 0:
            os.close(self._database)
            self._database = -1

    def _close_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def size_of(path: Path) -> int:
    """Bytes of a database and its write-ahead log."""
    return sum(_size(path, companion) for companion in ("", "-wal"))


def _identity(path: Path | int) -> tuple[int, int] | None:
    """Device and inode of what a name leads to, or a descriptor; None if that is nothing. Raises OSError."""
    try:
        found = path.stat() if isinstance(path, Path) else os.fstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _size(path: Path, companion: str) -> int:
    try:
        return Path(f"{path}{companion}").stat().st_size
    except FileNotFoundError:
        return 0
