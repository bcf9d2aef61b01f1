"""Export and import: the store as JSON lines, in a file or through a pipe (docs/import.md).

Neither ever holds more than a batch. An import commits batch by batch; what it is given a second time it recognizes,
so that one which has stopped is simply started again.
"""

import asyncio
import os
import random
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from config.model import Config
from config.units import format_size
from proxy.core.json_lines import BadLine, parse, render
from proxy.progress import Progress
from proxy.stores import Source, open_for_export, open_for_import, row_shapes
from store.base import Adopted, Store, StoreError
from store.entry import Write

_PAGE_ROWS = 1_000
"""Rows of one look into the store."""

_BATCH_ROWS = 10_000
"""Rows of one transaction. Ids come in no order, so that each row of a small one writes pages of its own: with 1,000
rows an import takes half as long again. Nobody else waits for the store meanwhile."""

_BATCH_ROWS_SHARED = 1_000
"""The same where replicas use the store meanwhile: a request of theirs may wait for a row that this has changed."""

_BATCH_BYTES = 8 << 20
"""Lines of so many bytes are a batch, too, if rows are that large."""

_BUFFER = 1 << 20
_AGAIN = "the import may be started again: what is there already is recognized"


class TransferError(Exception):
    """What ended a transfer, for the operator; names no entity."""


async def export_rows(store: Source, config: Config, sink: BinaryIO, progress: Progress) -> None:
    """Write every row to `sink`. Raises StoreError, OSError."""
    for resource, shape in row_shapes(config).items():
        after: str | None = None
        while page := await store.page(resource, after=after, limit=_PAGE_ROWS):
            sink.write(b"".join([render(entry, shape.attributes) for entry in page]))
            progress.advance(len(page), len(page))
            after = page[-1].internal_id


class Import:
    """One run of an import. What it has come to stands in `adopted`, whatever ends it."""

    def __init__(
        self,
        store: Store,
        config: Config,
        progress: Progress,
        *,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.adopted = Adopted()
        self._store = store
        self._progress = progress
        self._parse = partial(parse, shapes=row_shapes(config), now=clock(), rng=rng)
        # A whole answer as base64, and room for the rest of the line.
        self._max_line = config.limits.cached_response // 3 * 4 + (1 << 20)
        self._max_store = config.store.max_bytes
        self._batch_rows = _BATCH_ROWS_SHARED if config.store.is_shared else _BATCH_ROWS
        self._line = 0

    def __str__(self) -> str:
        done = self.adopted
        return f"added {done.added:,}, updated {done.updated:,}, renamed {done.renamed:,}, replaced {done.replaced:,}"

    async def run(self, source: BinaryIO) -> None:
        """Take over the rows of all lines. Raises TransferError, OSError."""
        batch: list[Write] = []
        size = 0
        try:
            for line in self._lines(source):
                if not line.isspace():
                    batch.append(self._parse(line))
                size += len(line)
                if len(batch) == self._batch_rows or size >= _BATCH_BYTES:
                    await self._adopt(batch, size)
                    batch, size = [], 0
        except BadLine as error:
            await self._adopt(batch, size)
            raise TransferError(
                f"line {self._line:,}: {error}\n"
                f"The lines before it are imported ({self._progress.rows:,} rows). Correct it, then {_AGAIN}."
            ) from None
        await self._adopt(batch, size)

    def _lines(self, source: BinaryIO) -> Iterator[bytes]:
        while line := source.readline(self._max_line + 1):
            self._line += 1
            if len(line) > self._max_line:
                raise BadLine("", f"is longer than {self._max_line:,} bytes (see limits.cached_response)")
            yield line

    async def _adopt(self, batch: list[Write], size: int) -> None:
        try:
            adopted = await self._store.adopt_many(batch)
        except StoreError as error:
            raise TransferError(
                f"{self._why(error)}\n"
                f"{self._progress.rows:,} rows are imported, none of the batch that follows them; {_AGAIN}."
            ) from None
        now = self.adopted
        self.adopted = Adopted(
            now.added + adopted.added,
            now.updated + adopted.updated,
            now.renamed + adopted.renamed,
            now.replaced + adopted.replaced,
        )
        self._progress.advance(len(batch), size)

    def _why(self, error: StoreError) -> str:
        if "SQLITE_FULL" in str(error):
            bound = format_size(self._max_store)
            return f"the database is full: raise store.max_bytes ({bound} now), or make room on its disk"
        return str(error)


def export_to(file: Path | None, config: Config) -> int:
    """The command: to a file, or None: to standard output. Returns the exit code."""
    has_bar = sys.stderr.isatty() and not (file is None and sys.stdout.isatty())
    progress = Progress("exported", sys.stderr, has_bar=has_bar)

    async def work() -> str:
        store = await open_for_export(config)
        try:
            total = await store.count()
            with _sink(file, config) as sink, progress.shown(total):
                await export_rows(store, config, sink, progress)
        finally:
            await store.close()
        return (
            f" ({store.left_out:,} left out, which were not as they had been put there)"
            if store.left_out
            else ""
        )

    return _run(work, progress)


def import_from(file: Path | None, config: Config) -> int:
    """The command: from a file, or None: from standard input. Returns the exit code."""
    progress = Progress("imported", sys.stderr, has_bar=sys.stderr.isatty())

    async def work() -> str:
        with _source(file) as source:
            store = await open_for_import(config)
            try:
                taking = Import(store, config, progress)
                with progress.shown(_size(source)):
                    await taking.run(source)
            finally:
                await store.close()
        return f" ({taking})"

    return _run(work, progress)


def _run(work: Callable[[], Coroutine[None, None, str]], progress: Progress) -> int:
    started = time.monotonic()
    try:
        with _ended_by_signals():
            details = asyncio.run(work())
    except BrokenPipeError:
        # Whoever read has enough. What Python still has for it must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TransferError, StoreError) as error:
        progress.say(str(error))
        return 1
    except OSError as error:
        why = error.strerror or type(error).__name__
        progress.say(f"{error.filename}: {why}" if error.filename else why)
        return 1
    except SystemExit as told:
        progress.say(f"stopped: {progress} so far")
        return int(told.code or 0)
    progress.say(f"{progress}{details} in {time.monotonic() - started:.1f} s")
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end it with SystemExit, wherever it is, be it waiting for a pipe."""

    def end(number: int, _frame: FrameType | None) -> None:
        # What is tidied up after the first is not to be disturbed by a second.
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _source(file: Path | None) -> Iterator[BinaryIO]:
    if file is None:
        yield sys.stdin.buffer
    else:
        with file.open("rb", buffering=_BUFFER) as source:
            yield source


def _size(source: BinaryIO) -> int | None:
    found = os.fstat(source.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def _sink(file: Path | None, config: Config) -> Iterator[BinaryIO]:
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not file.is_file():
        raise TransferError(f"{file}: is no regular file; without FILE the rows go to standard output")
    target, database = file.resolve(), config.store.sqlite_path
    if database is not None and target == database.resolve():
        raise TransferError(f"{file}: is the database itself")
    with _replacing(target) as sink:
        yield sink


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file for the owner's eyes only that stands in the target's place in the end, or is gone again."""
    descriptor, name = tempfile.mkstemp(prefix=".handshake-export-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb", buffering=_BUFFER) as sink:
            yield sink
            sink.flush()
            os.fsync(descriptor)
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    # A new name is durable only once its directory is.
    directory = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
