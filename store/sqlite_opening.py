"""Opening a database in whatever state its file is, again and again, under one lock."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from store.base import DeriveId, StoreError, TableSpec
from store.migrations import check_layout
from store.operation import OnOperation
from store.sqlite import SqliteStore
from store.sqlite_files import Files, OpenError, OpenFailure, error_name
from store.sqlite_writer import in_thread


class Opened(NamedTuple):
    """What came of an opening."""

    store: SqliteStore | None
    """None when no database can be had there now."""
    why: str | None = None
    """What was wrong, for a log: it quotes nothing of what was stored."""
    set_aside: OpenFailure | None = None
    """Why a file was set aside, if one was."""
    files: Files | None = None
    """Those of the path, locked, if there is no database and nobody else has it: for the next attempt, or to be
    released."""


class Opening(Struct, frozen=True, kw_only=True):
    """Opens the database of a path, whatever state it is in: a cache can be filled again. See `SqliteStore.open`."""

    path: Path
    tables: Sequence[TableSpec]
    max_bytes: int
    derive_id: DeriveId
    on_operation: OnOperation
    clock: Callable[[], float]
    """Epoch seconds."""

    async def open(
        self, *, files: Files | None = None, damaged: str | None = None, is_erasure_due: bool = False
    ) -> Opened:
        """A file that is corrupt, newer than the program or that can't be migrated is renamed to `<name>.set-aside`, in
        place of an older one, and a new one is begun.

        `files`: those of the path, if they are locked already; they are taken over. `damaged`: what is known to be
        wrong with the file, which is then set aside unopened, or deleted if `is_erasure_due`: bytes of what was erased
        may be in it. Raises ValueError for tables that can't stand beside each other.
        """
        check_layout(self.tables)
        try:
            files = files or await self._locked()
        except OpenError as error:
            return Opened(None, str(error))
        try:
            # What is too old to be kept goes whatever else fails; what can't be removed now is tried again.
            with suppress(OSError):
                await in_thread(files.expire_set_aside)
            opened = await self._open(files, damaged, is_erasure_due=is_erasure_due)
        except BaseException:
            files.release()
            raise
        # Held throughout, so that no other process has the file between one attempt and the next.
        return opened if opened.store is not None else opened._replace(files=files)

    async def beside(self, files: Files) -> SqliteStore:
        """Another store on files that are in use, if it can be read and written. Raises StoreError."""
        store = await self._connected(files)
        try:
            await store.check()
        except BaseException:
            await store.part()
            raise
        return store

    async def _locked(self) -> Files:
        made: list[Files] = []
        try:
            await in_thread(lambda: made.append(Files(self.path, clock=self.clock)))
        except asyncio.CancelledError:
            for files in made:
                files.release()
            raise
        return made[0]

    async def _open(self, files: Files, damaged: str | None, *, is_erasure_due: bool) -> Opened:
        failure: OpenFailure = "corrupt"
        why = damaged
        try:
            if why is None:
                try:
                    return Opened(await self._opened(files))
                except OpenError as error:
                    if error.failure == "impossible":
                        return Opened(None, str(error))
                    failure, why = error.failure, str(error)
            why = f"{why}; {await in_thread(partial(_put_aside, files, is_erasure_due=is_erasure_due))}"
        except OSError as error:
            said = error_name(error)
            return Opened(None, f"open: {said}" if why is None else f"{why}; set aside: {said}")
        try:
            return Opened(await self._opened(files), why, failure)
        except StoreError as error:
            return Opened(None, f"{why.partition(';')[0]}; then {error}", failure)

    async def _opened(self, files: Files) -> SqliteStore:
        await in_thread(files.renew)
        return await self._connected(files)

    async def _connected(self, files: Files) -> SqliteStore:
        return await SqliteStore.open(
            self.path,
            self.tables,
            max_bytes=self.max_bytes,
            derive_id=self.derive_id,
            on_operation=self.on_operation,
            files=files,
        )


def _put_aside(files: Files, *, is_erasure_due: bool) -> str:
    """What became of the file, in words."""
    # What was to be erased must not be kept, whatever else is in there.
    is_erasure_due = is_erasure_due or files.has_erasure_due()
    aside = files.set_aside()
    if not is_erasure_due:
        return f"the file was renamed to {aside.name}"
    files.remove_set_aside()
    return "the file was deleted, for erased rows may have been in it"
