"""Databases, rows and lines for the tests of export and import."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from config.load import load
from config.model import Config
from proxy.stores import open_for_export, open_for_import
from store.entry import Entry, Key, Write

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


ROWS: Final = [
    entry("a", headers=((b"ETag", b'"\xe9"'),), stale_if_error=1.5, must_revalidate=True, version=7),
    entry("pretty", b'{\n "id": "pretty",\n "name": "Ana"\n}\n', shareable=True),
    entry("odd", b'{"id":"odd","n":"\\ud800"}', initial_age=1 / 3),
    entry("moved", internal_id=OWN_ID, local={"department_id": "7", "is_field_worker": 0}, version=3),
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
"""One of each kind."""


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
