"""What the tests of the shared store say often."""

from typing import Any

from store.entry import Entry, Key, Write
from store.postgres.store import PostgresStore
from tests.unit.store.samples import user, write

Person = Any
"""A connection of asyncpg's, which has no types."""

A, B, C = user("a"), user("b"), user("c")


def leased(identity: str, token: int | None, item: bytes = b"{}") -> Write:
    return write(identity, item)._replace(lease=token)


async def granted(
    store: PostgresStore, token: int, *keys: Key, seconds: float = 60.0, is_forced: bool = False
) -> set[Key]:
    claims = await store.claim_many(keys, token, seconds=seconds, is_forced=is_forced)
    return {key for key, claim in claims.items() if claim.is_granted}


async def put(store: PostgresStore, *writes: Write) -> set[Key]:
    return set(await store.put_many(writes))


async def item(store: PostgresStore, key: Key) -> bytes | None:
    row: Entry | None = (await store.get_many([key])).get(key)
    return None if row is None else row.item
