"""What the contract's tests say often."""

from store.base import Store
from store.entry import Column, Entry, Key


def one(key: Key, found: dict[Key, Entry]) -> Entry:
    assert set(found) == {key}
    return found[key]


async def stored(store: Store, key: Key) -> Entry:
    return one(key, await store.get_many([key]))


async def changed(store: Store, key: Key, **local: Column) -> Entry:
    entry_ = await store.change(key, local=local)
    assert entry_ is not None
    return entry_
