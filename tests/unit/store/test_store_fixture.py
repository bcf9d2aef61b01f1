"""Databases of earlier versions, kept as files: each later version must open them with their rows intact."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.entry import Entry, Key, Write
from tests.unit.store.samples import NOW, derive, entry, open_store, user, write

FIXTURES = Path(__file__).parents[2] / "fixtures"


def rows() -> list[Write]:
    detailed = entry(
        user("b"),
        b'{ "id":"b", "name":"\xff" }',
        received_at=NOW + 0.123456,
        headers=((b"etag", b'"1"'),),
        source_version="7",
    )
    return [
        write("a", '{"id":"a","name":"É"}'.encode(), name="É", email="a@example.org"),
        Write(detailed, {"name": "b"}),
        write("invalidated"),
        Write(entry(Key("business", "a"), b'{"id":"a"}'), {"name": "Shop"}),
    ]


async def build(path: Path) -> None:
    """Make a fixture of the present version."""
    store = await open_store(path)
    await store.put_many(rows())
    await store.invalidate_many([user("invalidated")])
    await store.close()
    Path(f"{path}.lock").unlink()


def expected() -> dict[Key, Entry]:
    made = {
        row.entry.key: row.entry.confirmed(internal_id=derive(row.entry.key, 0), version=1) for row in rows()
    }
    made[user("invalidated")] = replace(made[user("invalidated")], item=None)
    return made


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("store-*.db")), ids=lambda path: path.stem)
async def test_an_earlier_database_opens_with_its_rows(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    store = await open_store(copy)
    try:
        assert await store.get_many(list(expected())) == expected()
        assert (await store.stats(at=NOW)).entities == {"user": 2, "business": 1}
        confirmed = await store.put_many([write("a", b"changed"), write("invalidated"), write("new")])
        assert [entry.version for entry in confirmed.values()] == [2, 2, 1]
    finally:
        await store.close()


def test_there_is_a_fixture() -> None:
    assert (FIXTURES / "store-0001.db").stat().st_size < 100_000


if __name__ == "__main__":
    asyncio.run(build(Path(sys.argv[1])))
