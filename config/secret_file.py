"""A secret that lives in a file and may be replaced while the program runs."""

import os
from pathlib import Path
from typing import Final

from config.errors import Problem, SecretUnreadable

_MAX_BYTES: Final = 64 * 1024
"""Tokens and keys are short; what is longer is the wrong file."""

KEY_AT_LEAST: Final = 16
"""Characters of a key that nobody should guess: 64 bits even in hexadecimal digits."""

_Signature = tuple[int, int, int]


class SecretFile:
    """Reads a text file and notices when it changes.

    Every `read` costs one stat. Kubernetes replaces a mounted secret by moving a symbolic link, which shows in the
    inode. `one_line` refuses content with line ends inside: a bearer token with one would split a header.
    `at_least` is the least number of characters. Without `serves_on`, what can't be read any more counts no longer.
    """

    __slots__ = ("_at_least", "_one_line", "_serves_on", "_signature", "_value", "path")

    def __init__(
        self, path: Path, *, one_line: bool = False, at_least: int = 1, serves_on: bool = True
    ) -> None:
        self.path = path
        self._one_line = one_line
        self._at_least = at_least
        self._serves_on = serves_on
        self._signature: _Signature | None = None
        self._value: str | None = None

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r})"

    def read(self) -> str:
        """The secret without the line end that editors leave, as the file holds it now.

        Raises SecretUnreadable when the first read fails; later the last good value goes on to serve, if it may.
        """
        last = self._value if self._serves_on else None
        try:
            if self._value is None or _signature(self.path.stat()) != self._signature:
                self._signature, self._value = self._load()
        except SecretUnreadable:
            if last is None:
                raise
            return last
        except OSError as error:
            if last is None:
                raise self._unreadable(f"cannot be read: {error.strerror or 'input/output error'}") from None
            return last
        return self._value

    def _load(self) -> tuple[_Signature, str]:
        with self.path.open("rb") as file:
            # Of the open file, so that signature and content belong together.
            signature = _signature(os.fstat(file.fileno()))
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise self._unreadable(f"is larger than {_MAX_BYTES // 1024}KiB: not a secret")
        try:
            value = content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise self._unreadable("is not UTF-8 text") from None
        if not value.strip():
            raise self._unreadable("is empty")
        if len(value) < self._at_least:
            raise self._unreadable(f"is shorter than {self._at_least} characters")
        if self._one_line and not value.isprintable():
            raise self._unreadable("must hold one line of printable text")
        return signature, value

    def _unreadable(self, message: str) -> SecretUnreadable:
        return SecretUnreadable([Problem(str(self.path), message)])


def _signature(stat: os.stat_result) -> _Signature:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
