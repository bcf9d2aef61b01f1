"""The role of docs/kubernetes.md, made in a real PostgreSQL by the page's own statements: it may do what the store
does, and owns nothing but its schema."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from store.postgres.changes import begin
from store.postgres.schema import prepare
from tests.postgres.server import Database
from tests.unit.k8s.manifests import SHARED
from tests.unit.k8s.page import scripts
from tests.unit.store.samples import TABLES


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """Made as the page says, by a superuser in a database of somebody else's."""
    (script,) = scripts(language="sql")
    name = urlsplit((SHARED / "store.env").read_text().rpartition("url=")[2].strip()).username
    assert name is not None
    try:
        database.sql(*(statement.strip() for statement in script.split(";") if statement.strip()))
        yield name
    finally:
        database.sql(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


async def test_the_role_of_the_page_is_all_that_the_store_needs(database: Database, role: str) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=database.server.port,
        database=database.name,
        user=role,
        password="REPLACE-ME",
    )
    try:
        assert await prepare(connection, TABLES, str(uuid4())) == []
        assert (await begin(connection)).snapshot
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE SCHEMA another")
        schemas = "SELECT DISTINCT schemaname::text FROM pg_tables WHERE tableowner = $1"
        assert [row[0] for row in await connection.fetch(schemas, role)] == ["handshake_proxy"]
    finally:
        await connection.close()
