"""What the files of a store say after a crash, read from a copy of them by nobody but SQLite."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.crash.people import TO_THE_MILLISECOND, People, Person, TornError, epoch_seconds, item, version_of

QUERY = (
    "SELECT id, user_id, name, email, kaha_id, item, version, department_id, is_field_worker, last_synced_at"
    " FROM users"
)


def copied(directory: Path, into: Path) -> Path:
    """The database and its log as the crash has left them; reading the originals would change them."""
    into.mkdir(exist_ok=True)
    for name in ("handshake.db", "handshake.db-wal", "handshake.db-shm"):
        (into / name).unlink(missing_ok=True)
    for name in ("handshake.db", "handshake.db-wal"):
        if (directory / name).exists():
            shutil.copyfile(directory / name, into / name)
    return into / "handshake.db"


def rows(database: Path) -> dict[str, dict[str, Any]]:
    """Every user by external id. Raises TornError if the database is not whole."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise TornError(f"the database is not whole: {found[:3]}")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'users'").fetchone():
            return {}
        return {row["user_id"]: dict(row) for row in connection.execute(QUERY)}


def check_rows(found: dict[str, dict[str, Any]], people: People) -> None:
    """Each row against what was answered; then the answers that are missing are known to have come to that."""
    if strangers := found.keys() - people.by_id.keys():
        raise TornError(f"nobody has asked for {strangers}")
    for person in people.by_id.values():
        row = found.get(person.id)
        if row is None:
            _check_missing(person)
        else:
            _check_row(person, row)


def _check_missing(person: Person) -> None:
    if person.shown_in == person.erasures and not person.erasing:
        raise TornError(f"{person.id}: its internal id was shown, and its row is gone")
    if person.synced and not person.erasing:
        raise TornError(f"{person.id}: it was marked as synced, and its row is gone")
    person.erasing = False
    person.locals, person.version, person.synced = {0}, 0, 0.0


def _check_row(person: Person, row: dict[str, Any]) -> None:
    if person.is_gone:
        raise TornError(f"{person.id} was erased and is back")
    if row["id"] != person.internal:
        raise TornError(f"{person.id}: the internal id has become {row['id']}")
    _check_item(person, row)
    number = person.local_number(row["department_id"], row["is_field_worker"])
    synced = epoch_seconds(row["last_synced_at"])
    # Of an erasure that was not answered the row may be what it was, or begun anew.
    if not person.erasing:
        if number not in person.locals:
            raise TornError(f"{person.id}: local attributes {number}, not {person.locals}")
        if row["version"] < person.version:
            raise TornError(f"{person.id}: version {row['version']} after {person.version}")
        if synced < person.synced - TO_THE_MILLISECOND:
            raise TornError(f"{person.id}: the time of last sync went back")
    elif number not in person.locals | {0}:
        raise TornError(f"{person.id}: local attributes {number}, not {person.locals}")
    person.erasing = False
    person.locals, person.version = {number}, row["version"]
    person.synced = min(person.synced, synced)


def _check_item(person: Person, row: dict[str, Any]) -> None:
    columns = (row["name"], row["email"], row["kaha_id"])
    if row["item"] is None:
        if any(column is not None for column in columns):
            raise TornError(f"{person.id}: columns without an item: {columns}")
    else:
        version = version_of(person.id, row["name"])
        if row["item"].encode() != item(person.id, version):
            raise TornError(f"{person.id}: the item is not that of version {version}")
        document = json.loads(row["item"])
        if columns != (document["name"], document["email"], document["kahaId"]):
            raise TornError(f"{person.id}: the columns are not those of the item: {columns}")
        if not max(person.least, person.dead + 1) <= version <= person.current:
            raise TornError(f"{person.id}: {version} is stored, and {person.least} was confirmed")


def _last_dead(person: Person) -> int:
    return person.current if person.is_gone else person.dead


def check_erased(directory: Path, people: People) -> int:
    """No byte of what was erased is in any file beside the database, the log of the program included.

    Returns how many people and versions were looked for."""
    looked = 0
    texts = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    for person in people.by_id.values():
        wanted = [f"{person.id}-v{version}.".encode() for version in range(1, _last_dead(person) + 1)]
        if person.is_gone:
            wanted += [person.id.encode(), person.internal.encode()]
        looked += len(wanted)
        for name, text in texts.items():
            if left := [needle for needle in wanted if needle in text]:
                raise TornError(f"{left[0]!r} was erased and is in {name}")
    return looked
