"""Export and import through the command's own functions, on real databases."""

import asyncio
import io
import json
import sqlite3
from pathlib import Path

import pytest

from proxy import transfer
from proxy.progress import Progress
from proxy.stores import derive_id, open_for_export, open_for_import
from proxy.transfer import export_to, import_from
from store.entry import Key
from tests.integration.harness import running
from tests.integration.lines import OWN_ID, ROWS, configured, entry, fill, rows, user, users, write_lines
from tests.integration.people import services


def test_what_was_exported_is_imported_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "_PAGE_ROWS", 2)
    monkeypatch.setattr(transfer, "_BATCH_ROWS", 2)
    first, second = configured(tmp_path / "first"), configured(tmp_path / "second")
    fill(first, *ROWS)
    assert export_to(tmp_path / "out", first) == 0
    assert import_from(tmp_path / "out", second) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0].startswith("exported 6 rows in ")
    assert told.err.splitlines()[1].startswith(
        "imported 6 rows (added 6, updated 0, renamed 0, replaced 0) in "
    )
    assert rows(second) == rows(first)
    assert {row.key: row.item for row in rows(second)} == {row.key: row.item for row in ROWS}
    assert users(second)["moved"].internal_id == OWN_ID
    assert export_to(None, second) == 0
    assert capfd.readouterr().out == (tmp_path / "out").read_text()


def test_the_columns_of_an_item_are_filled(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write_lines(tmp_path / "in", [user("a", item={"id": "a", "name": "Ana"})])
    assert import_from(tmp_path / "in", config) == 0
    with sqlite3.connect(tmp_path / "handshake.db") as connection:
        assert connection.execute("SELECT user_id, name FROM users").fetchall() == [("a", "Ana")]
    connection.close()


def test_a_file_is_for_its_owner_and_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    config = configured(tmp_path)
    fill(config, entry("a"))
    file, link = tmp_path / "out", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o644)
    link.symlink_to(file)
    assert export_to(link, config) == 0
    assert link.is_symlink()
    assert json.loads(file.read_bytes())["externalId"] == "a"
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_export_leaves_out_what_a_person_has_broken_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    fill(config, entry("a"), entry("b"))
    with sqlite3.connect(tmp_path / "handshake.db") as connection:
        connection.execute("UPDATE users SET last_synced_at = 'secret' WHERE user_id = 'a'")
    connection.close()
    assert export_to(tmp_path / "out", config) == 0
    assert [json.loads(line)["externalId"] for line in (tmp_path / "out").read_text().splitlines()] == ["b"]
    said = capfd.readouterr().err
    assert said.startswith("exported 1 rows (1 left out, which were not as they had been put there) in ")


def test_an_export_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path)
    fill(config, entry("a"))
    with sqlite3.connect(tmp_path / "handshake.db") as connection:
        connection.execute("UPDATE users SET last_synced_at = 'secret'")
    connection.close()
    monkeypatch.setattr("store.sqlite_read.is_whole", lambda _connection: False)
    directory = tmp_path / "there"
    directory.mkdir()
    (directory / "out").write_text("old")
    assert export_to(directory / "out", config) == 1
    assert [file.read_text() for file in directory.iterdir()] == ["old"]
    assert capfd.readouterr().err == "page: SUSPECT_ROW\n"


@pytest.mark.parametrize("name", ["handshake.db", "a-directory", "no/such/directory"])
def test_what_must_not_or_cannot_be_written_is_not(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    fill(config, entry("a"))
    (tmp_path / "a-directory").mkdir()
    assert export_to(tmp_path / name, config) == 1
    assert str(tmp_path) in capfd.readouterr().err
    assert set(users(config)) == {"a"}


def test_an_export_does_not_make_a_database(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path)
    assert export_to(None, config) == 1
    assert capfd.readouterr().err == f"{tmp_path / 'handshake.db'}: there is no database\n"
    assert list(tmp_path.iterdir()) == []


async def test_an_export_reads_while_a_process_serves(tmp_path: Path) -> None:
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.users("1", "2")
        await proxy.durable()
        store = await open_for_export(proxy.app.config)
        sink = (tmp_path / "out").open("wb")
        try:
            await transfer.export_rows(
                store, proxy.app.config, sink, Progress("exported", io.StringIO(), has_bar=False)
            )
        finally:
            sink.close()
            await store.close()
        assert (await proxy.users("1", "3")).status == 200
    lines = [json.loads(line) for line in (tmp_path / "out").read_bytes().splitlines()]
    assert {line["externalId"] for line in lines} == {"1", "2"}


def test_ids_that_are_given_are_adopted_and_stay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path)
    fill(config, entry("known"), entry("other"))
    other = users(config)["other"]
    write_lines(
        tmp_path / "in",
        [
            user("new", id=OWN_ID.upper()),
            user("known", id=OWN_ID.replace("0", "1")),
            user("renamed", id=other.internal_id),
            {"resource": "user", "externalId": "ids alone", "lastSyncedAt": "2023-11-14T22:13:20Z"},
        ],
    )
    assert import_from(tmp_path / "in", config) == 0
    assert "imported 4 rows (added 2, updated 2, renamed 1, replaced 1) in " in capfd.readouterr().err
    kept = users(config)
    assert {name: row.internal_id for name, row in kept.items()} == {
        "new": OWN_ID,
        "known": OWN_ID.replace("0", "1"),
        "renamed": other.internal_id,
        "ids alone": derive_id(config.handshake.namespace, Key("user", "ids alone"), 0),
    }
    assert kept["ids alone"].item is None

    async def evict() -> None:
        store = await open_for_import(config)
        await store.prune(older_than=1e11)
        await store.close()

    asyncio.run(evict())
    assert {name: row.internal_id for name, row in users(config).items() if name != "ids alone"} == {
        name: row.internal_id for name, row in kept.items() if name != "ids alone"
    }


def test_the_copy_that_was_synced_later_wins_and_local_attributes_are_set(tmp_path: Path) -> None:
    config = configured(tmp_path)
    local = {"department_id": "1"}
    fill(config, entry("old", local=local, version=5), entry("new", local=local, version=5))
    write_lines(
        tmp_path / "in",
        [
            user("old", item={"id": "old", "v": 2}, lastSyncedAt="2023-11-15T00:00:00Z"),
            user(
                "new",
                lastSyncedAt="2023-11-14T00:00:00Z",
                item={"id": "new", "v": 2},
                local={"departmentId": "2"},
            ),
        ],
    )
    for _ in range(2):
        assert import_from(tmp_path / "in", config) == 0
        kept = users(config)
        assert (kept["old"].item, kept["new"].item) == (b'{"id": "old", "v": 2}', b'{"id":"new"}')
        assert (kept["old"].local, kept["new"].local) == ({"department_id": "1"}, {"department_id": "2"})
        assert min(kept["old"].version, kept["new"].version) == 5
