"""Export and import through the command's own functions, on real databases."""

import asyncio
import io
import itertools
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.model import Config
from proxy import transfer
from proxy.core import json_lines
from proxy.progress import Progress
from proxy.stores import derive_id, open_for_export, open_for_import
from proxy.transfer import export_to, import_from
from store.entry import Entry, Key, Write
from store.sqlite_files import Files
from tests.integration.harness import running
from tests.integration.people import services

NOW = 1_700_000_000.0
OWN_ID = "0b9f3a6e-7f0b-4d53-9c0c-2f5a3c1de0a7"
RESOURCES = """{
    user: {id: /id, columns: {name: /name}, bulk: {path: /users, ids: /userIds, items: /users}},
    business: {id: /id, columns: {name: /name}, bulk: {path: /businesses, ids: /businessIds, items: /businesses}},
    place: {id: /id, storage: memory, bulk: {path: /places, ids: /placeIds, items: /places}},
}"""


def configured(directory: Path, **settings: str) -> Config:
    """A configuration whose database is in the directory."""
    directory.mkdir(exist_ok=True)
    return load(
        None,
        {
            "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
            "HANDSHAKE_RESOURCES": RESOURCES,
            "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
            **settings,
        },
    )


def entry(identity: str, item: bytes | None = None, *, resource: str = "user", **members: Any) -> Entry:
    plain = Entry(
        key=Key(resource, identity),
        item=b'{"id":"%s"}' % identity.encode() if item is None else item,
        received_at=NOW + 1 / 3,
        lifetime=3600.0,
        last_synced_at=NOW + 0.123,
    )
    return replace(plain, **members)


def fill(config: Config, *entries: Entry) -> None:
    async def work() -> None:
        store = await open_for_import(config)
        try:
            await store.adopt_many([Write(one, {}) for one in entries])
        finally:
            await store.close()

    asyncio.run(work())


def rows(config: Config) -> list[Entry]:
    """Every row of the database."""

    async def work() -> list[Entry]:
        store = await open_for_export(config)
        try:
            pages = [await store.page(name, after=None, limit=10_000) for name in config.resources]
            return [row for page in pages for row in page]
        finally:
            await store.close()

    return asyncio.run(work())


def users(config: Config) -> dict[str, Entry]:
    return {row.key.id: row for row in rows(config) if row.key.resource == "user"}


def write_lines(file: Path, lines: Sequence[dict[str, Any] | bytes]) -> Path:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    file.write_bytes(b"".join(text + b"\n" for text in texts))
    return file


def user(identity: str, **members: Any) -> dict[str, Any]:
    """The members of a line."""
    return {"resource": "user", "externalId": identity, "item": {"id": identity}} | members


ROWS = [
    entry("a", headers=((b"ETag", b'"\xe9"'),), stale_if_error=1.5, must_revalidate=True, version=7),
    entry("pretty", b'{\n "id": "pretty",\n "name": "Ana"\n}\n', shareable=True),
    entry("odd", b'{"id":"odd","n":"\\ud800"}', initial_age=1 / 3),
    entry("moved", internal_id=OWN_ID, local={"department_id": "7", "is_field_worker": 0}),
    Entry(
        key=Key("user", "husk"),
        item=None,
        received_at=NOW,
        lifetime=0.0,
        local={"is_field_worker": 1},
        last_synced_at=NOW,
        source_version="2",
    ),
    entry("a", resource="business"),
]


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


def test_an_export_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    fill(config, entry("a"))
    with sqlite3.connect(tmp_path / "handshake.db") as connection:
        connection.execute("UPDATE users SET last_synced_at = 'secret'")
    connection.close()
    directory = tmp_path / "there"
    directory.mkdir()
    (directory / "out").write_text("old")
    assert export_to(directory / "out", config) == 1
    assert [file.read_text() for file in directory.iterdir()] == ["old"]
    assert capfd.readouterr().err == "page: ValueError\n"


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


@pytest.mark.parametrize("batch", [2, 3, 10])
def test_an_import_stops_at_a_bad_line_and_is_started_again(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "_BATCH_ROWS", batch)
    config = configured(tmp_path)
    lines: list[dict[str, Any] | bytes] = [user("a"), b"", user("b"), b" \r", user("c"), user("")]
    file = write_lines(tmp_path / "in", [*lines, user("d")])
    assert import_from(file, config) == 1
    assert capfd.readouterr().err == (
        "line 6: externalId: must be text of 1 to 1,024 bytes\n"
        "The lines before it are imported (3 rows). Correct it, then the import may be started again: what is there"
        " already is recognized.\n"
    )
    assert set(users(config)) == {"a", "b", "c"}
    write_lines(file, [*lines[:-1], user("corrected"), user("d")])
    assert import_from(file, config) == 0
    assert "imported 5 rows (added 2, updated 3, renamed 0, replaced 0) in " in capfd.readouterr().err
    assert set(users(config)) == {"a", "b", "c", "corrected", "d"}


def test_the_last_line_needs_no_line_feed(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "in").write_text(json.dumps(user("a")))
    assert import_from(tmp_path / "in", config) == 0
    assert set(users(config)) == {"a"}


def test_a_resource_in_memory_has_no_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "in", [{"resource": "place", "externalId": "a"}])
    assert import_from(file, configured(tmp_path)) == 1
    assert capfd.readouterr().err.startswith(
        "line 1: resource: must be one that has storage: database (user, business)\n"
    )


def test_a_line_has_a_bound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, HANDSHAKE_LIMITS__CACHED_RESPONSE="3KiB")
    bound = (4 << 10) + (1 << 20)
    fits = json.dumps(user("a")).encode()
    fits += b" " * (bound - len(fits) - 1)
    file = write_lines(tmp_path / "in", [fits, b" " + fits, user("b")])
    assert import_from(file, config) == 1
    assert capfd.readouterr().err.startswith(
        "line 2: is longer than 1,052,672 bytes (see limits.cached_response)\n"
    )
    assert set(users(config)) == {"a"}


def test_large_rows_are_a_batch_before_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BATCH_BYTES", 1_000)
    config = configured(tmp_path)
    lines = [user(name, item={"id": name, "n": "x" * 600}) for name in "abcde"]
    assert import_from(write_lines(tmp_path / "in", lines), config) == 0
    assert set(users(config)) == set("abcde")


def test_at_the_bound_an_import_says_which_key_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "_BATCH_ROWS", 50)
    lines = [user(f"u-{number}", item={"id": f"u-{number}", "n": "x" * 1_000}) for number in range(500)]
    file = write_lines(tmp_path / "in", lines)
    small = configured(tmp_path, HANDSHAKE_STORE__MAX_BYTES="256KiB")
    assert import_from(file, small) == 1
    told = capfd.readouterr().err
    assert "the database is full: raise store.max_bytes (256KiB now)" in told
    # Nothing that was there made room for it.
    assert set(users(small)) == {f"u-{number}" for number in range(len(users(small)))}
    assert f"{len(users(small)):,} rows are imported, none of the batch that follows them" in told
    assert len(users(small)) % 50 == 0
    assert import_from(file, configured(tmp_path)) == 0
    assert len(users(small)) == 500


def test_a_database_that_another_process_has_is_let_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    file = write_lines(tmp_path / "in", [user("a")])
    other = Files(tmp_path / "handshake.db")
    try:
        assert import_from(file, config) == 1
    finally:
        other.release()
    assert "in use by another process: stop `handshake-proxy serve` first" in capfd.readouterr().err
    assert import_from(file, config) == 0


def test_a_database_that_is_corrupt_is_not_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    (tmp_path / "handshake.db").write_bytes(b"no database" * 1_000)
    file = write_lines(tmp_path / "in", [user("a")])
    for run in (partial(import_from, file), partial(export_to, None)):
        assert run(config) == 1
        assert "open: SQLITE_NOTADB" in capfd.readouterr().err
    assert (tmp_path / "handshake.db").read_bytes().startswith(b"no database")
    assert not list(tmp_path.glob("*.set-aside"))


def test_a_file_that_is_not_there_is_named_and_no_database_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert import_from(tmp_path / "in", configured(tmp_path)) == 1
    assert capfd.readouterr().err == f"{tmp_path / 'in'}: No such file or directory\n"
    assert list(tmp_path.iterdir()) == []


def test_postgresql_is_for_later(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, HANDSHAKE_STORE__URL="postgresql://proxy:secret@db.example.org/proxy")
    file = write_lines(tmp_path / "in", [user("a")])
    for run in (partial(import_from, file), partial(export_to, None)):
        assert run(config) == 1
        assert capfd.readouterr().err == "store.url: postgresql arrives in a later version\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_half_written(
    number: signal.Signals,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = configured(tmp_path / "store")
    file = write_lines(tmp_path / "in", [user(name) for name in "abcdef"])
    monkeypatch.setattr(transfer, "_BATCH_ROWS", 2)
    monkeypatch.setattr(transfer, "_PAGE_ROWS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "parse", _killing(json_lines.parse, number, at=4))
        assert import_from(file, config) == code
    assert capfd.readouterr().err == "stopped: imported 2 rows so far\n"
    assert set(users(config)) == {"a", "b"}
    assert import_from(file, config) == 0
    assert "(added 4, updated 2," in capfd.readouterr().err
    (tmp_path / "out").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "render", _killing(json_lines.render, number, at=4))
        assert export_to(tmp_path / "out", config) == code
    assert capfd.readouterr().err == "stopped: exported 2 rows so far\n"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "in", "out"}
    assert (tmp_path / "out").read_text() == "old"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _killing(function: Callable[..., Any], number: signal.Signals, *, at: int) -> Callable[..., Any]:
    """The function, but its call number `at` has a signal sent to the process."""
    calls = itertools.count(1)

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), number)
        return function(*arguments, **named)

    return call
