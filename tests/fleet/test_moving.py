"""Rows go from SQLite to the database that replicas share, and back, with all that belongs to them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.model import Config
from proxy.transfer import export_to, import_from
from store.base import StoreError
from store.entry import Entry
from tests.fleet.in_process import joined, replica, seen
from tests.fleet.replicas import RESOURCES as RESOURCES_OF_REPLICAS
from tests.fleet.replicas import item, owner
from tests.integration.lines import (
    OWN_ID,
    RESOURCES,
    configured,
    entry,
    fill,
    rows,
    user,
    users,
    write_lines,
)
from tests.integration.lines import ROWS as ROWS_OF_EACH_KIND
from tests.postgres.server import Database

COMMAND = (sys.executable, "-m", "proxy.cli", "import")
PATIENCE = 30.0
ROWS = [*ROWS_OF_EACH_KIND, entry("n\0l", b'{"id":"n\\u0000l"}')]


def _shared(directory: Path, database: Database) -> Config:
    return configured(directory, HANDSHAKE_STORE__URL=database.url)


def _in_order(found: Sequence[Entry]) -> list[Entry]:
    return sorted(found, key=lambda row: row.key)


def test_there_and_back_all_is_as_it_was(
    database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, shared, last = (
        configured(tmp_path / "first"),
        _shared(tmp_path / "shared", database),
        configured(tmp_path / "last"),
    )
    fill(first, *ROWS)
    before = _in_order(rows(first))
    assert len(before) == len(ROWS)
    assert export_to(tmp_path / "out", first) == 0
    assert import_from(tmp_path / "out", shared) == 0
    assert _in_order(rows(shared)) == before
    assert export_to(tmp_path / "back", shared) == 0
    assert import_from(tmp_path / "back", last) == 0
    assert _in_order(rows(last)) == before
    kept = users(shared)["moved"]
    assert (kept.internal_id, kept.version) == (OWN_ID, 3)
    assert kept.local == {"department_id": "7", "is_field_worker": 0}
    assert capfd.readouterr().err.count(f"imported {len(ROWS)} rows (added {len(ROWS)}, ") == 2


def test_what_was_imported_twice_is_there_once(database: Database, tmp_path: Path) -> None:
    first, shared = configured(tmp_path / "first"), _shared(tmp_path / "shared", database)
    fill(first, *ROWS)
    assert export_to(tmp_path / "out", first) == 0
    for _ in range(2):
        assert import_from(tmp_path / "out", shared) == 0
    assert _in_order(rows(shared)) == _in_order(rows(first))


def _environment(database: Database, resources: str) -> dict[str, str]:
    return {
        **os.environ,
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
        "HANDSHAKE_RESOURCES": resources,
        "HANDSHAKE_STORE__URL": database.url,
    }


def _held(config: Config) -> int:
    try:
        return len(rows(config))
    except StoreError:  # it has not been made yet
        return 0


def test_an_import_that_was_killed_half_way_is_started_again(database: Database, tmp_path: Path) -> None:
    """What it had taken by then is there; the same lines again bring the rest, and change nothing of that."""
    shared = _shared(tmp_path / "shared", database)
    lines = [user(f"u{number}", local={"departmentId": str(number)}) for number in range(3000)]
    file = write_lines(tmp_path / "in", lines)
    text = file.read_bytes()
    with subprocess.Popen(
        [*COMMAND, "-"], env=_environment(database, RESOURCES), stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(text[: 2 * len(text) // 3])
        process.stdin.flush()
        while not _held(shared):
            assert process.poll() is None
        process.kill()
        process.wait(PATIENCE)
    taken = users(shared)
    assert 0 < len(taken) < len(lines)
    assert import_from(file, shared) == 0
    kept = users(shared)
    assert len(kept) == len(lines)
    assert {name: kept[name].internal_id for name in taken} == {
        name: row.internal_id for name, row in taken.items()
    }
    assert all(row.local["department_id"] == name[1:] for name, row in kept.items())


async def test_replicas_that_run_hear_of_what_is_imported(database: Database, tmp_path: Path) -> None:
    async with (
        owner("known", "other") as source,
        replica(source, tmp_path / "a", database.url) as one,
        replica(source, tmp_path / "b", database.url) as two,
    ):
        await joined(one, two)
        for proxy in (one, two):
            assert await seen(proxy, "known", "other") == [1, 1]
            await proxy.durable()
        mine = await one.call("POST", "/v1/users/ensure", {"userId": "known"})
        later = {"lastSyncedAt": datetime.now(UTC).isoformat()}
        lines = [
            user("known", id=OWN_ID, item=json.loads(item("known", 5)), local={"departmentId": "7"}, **later),
            user("new", item=json.loads(item("new", 3)), **later),
        ]
        file = await asyncio.to_thread(write_lines, tmp_path / "in", lines)
        environment = _environment(database, json.dumps(RESOURCES_OF_REPLICAS))
        process = await asyncio.create_subprocess_exec(*COMMAND, str(file), env=environment)
        assert await process.wait() == 0
        source.forget()
        for proxy in (one, two):
            async with asyncio.timeout(PATIENCE):
                while await seen(proxy, "known") != [5]:
                    pass
            assert await seen(proxy, "known", "other", "new") == [5, 1, 3]
            found = (await proxy.call("POST", "/v1/users/ensure", {"userId": "known"})).json()
            assert (found["id"], found["departmentId"]) == (OWN_ID, "7")
            assert found["id"] != mine.json()["id"]
            assert await seen(proxy, "other") == [1]
        assert not source.fetched
