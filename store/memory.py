"""The first tier: entities in memory, bounded by bytes, forgotten when they can't be used any more."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from sys import getsizeof
from typing import TypeGuard

from cachetools import Cache, TLRUCache

from store.base import Position
from store.entry import NO_LOCALS, Entry, Key
from store.slot import Slot

OVERHEAD = 880
"""Bytes that an entry costs besides its strings: Entry, Key, Slot, floats, the cache's heap item, its links and its
places in five tables. Measured with tracemalloc from 680 to 22,000 entries: 720 to 855 when freshly filled,
944 to 1,078 after every entry was replaced (the heap keeps a dead item, the cache the first key object); what it moves
within is the doubling of the tables. tests/unit/store/test_memory.py measures it again."""

HEADER_OVERHEAD = 64
"""Bytes of the tuple of a header field and of its place in the outer tuple; the two byte strings are counted."""

VARIANT_OVERHEAD = 250
"""Bytes of a variant's places in the index of variants: 30 for one of many of an entity, 310 for the only one."""

INDEX_OVERHEAD = 50
"""Bytes of the place in the index of internal ids: 20 to 80, as its table doubles."""

# Seconds within which another use of an entry makes no difference to the order in which entries go.
_USED_EVERY = 1.0

EVICTED_REMEMBERED = 8_192
"""So many evicted keys are remembered by hash, to tell a miss that more memory would have saved. About 1.5 MB;
more would itself be the memory that is missing."""


def size_of(entry: Entry) -> int:
    """Bytes that the entry takes in memory, everything that hangs on it included."""
    size = OVERHEAD + getsizeof(entry.key.id)
    if entry.key.variant:
        size += VARIANT_OVERHEAD + getsizeof(entry.key.variant)
    if entry.item is not None:
        size += getsizeof(entry.item)
    if entry.internal_id is not None:
        size += getsizeof(entry.internal_id)
    if entry.source_version is not None:
        size += getsizeof(entry.source_version)
    if entry.local is not NO_LOCALS:
        # Their names are the table's, and shared by all its entries.
        size += getsizeof(entry.local) + sum(map(getsizeof, entry.local.values()))
    if _is_indexed(entry):
        size += INDEX_OVERHEAD
    for name, value in entry.headers:
        size += HEADER_OVERHEAD + getsizeof(name) + getsizeof(value)
    return size


def _is_representation(entry: Entry | None) -> TypeGuard[Entry]:
    """An absence may carry the body of its 404, and is no representation for that."""
    return entry is not None and entry.item is not None and not entry.absent


def _is_indexed(entry: Entry) -> bool:
    """Whether nothing but memory could find it by its internal id."""
    return entry.internal_id is not None and not entry.durable


def next_position(entries: Sequence[Entry], limit: int) -> Position | None:
    """From where a list by last sync goes on behind these, of which there were to be up to `limit` (at least 1)."""
    if len(entries) < limit:
        return None
    return Position(entries[-1].last_synced_at, entries[-1].internal_id or "")


def _slot_size(slot: Slot) -> int:
    return slot.size


def _slot_end(_key: Key, slot: Slot, _now: float) -> float:
    return slot.usable_until


class _Cache(TLRUCache[Key, Slot, float]):
    """A TLRUCache that says what leaves it by itself, and why."""

    def __init__(
        self, max_bytes: int, clock: Callable[[], float], on_gone: Callable[[Key, Slot, str], None]
    ) -> None:
        super().__init__(max_bytes, _slot_end, self._look_at_clock, getsizeof=_slot_size)
        self._clock = clock
        self._on_gone = on_gone
        self.now = -inf
        """When it last looked at its clock."""

    def _look_at_clock(self) -> float:
        now = self.now = self._clock()
        return now

    def expire(self, time: float | None = None) -> list[tuple[Key, Slot]]:
        gone = super().expire(time)
        for key, slot in gone:
            self._on_gone(key, slot, "expired")
        return gone

    def popitem(self) -> tuple[Key, Slot]:
        key, slot = super().popitem()
        self._on_gone(key, slot, "size")
        return key, slot

    def plain_keys(self) -> list[Key]:
        # Its own iteration and access look at the clock for each key, a hundred times as long, and the latter makes
        # each the most recently used.
        return list(Cache.__iter__(self))

    def plain(self, key: Key) -> Slot | None:
        return Cache.__getitem__(self, key) if Cache.__contains__(self, key) else None

    def make_first_to_go(self, key: Key) -> None:
        # It has the order in which entries go in a private table, and offers no other way to its front.
        self._TLRUCache__items.move_to_end(key, last=False)  # type: ignore[attr-defined]


class MemoryTier:
    """Key → Slot → Entry, least recently used first out, never more than `max_bytes` by its own accounting.

    Representations that have an internal id and no database that holds them are found by that, too.

    Synchronous and for one thread. `clock` gives seconds since the epoch; should it step back, entries live
    longer by that much. `on_evict(resource, reason)` is told of each representation that had to go, with reason
    "size" or "expired".
    """

    def __init__(
        self, max_bytes: int, *, clock: Callable[[], float], on_evict: Callable[[str, str], None]
    ) -> None:
        self.max_bytes = max_bytes
        self._on_evict = on_evict
        self._cache = _Cache(max_bytes, clock, self._gone)
        self._counts: dict[str, int] = {}
        self._variants: dict[tuple[str, str], set[str]] = {}  # of each entity that is here with any
        self._plain: dict[str, dict[str, Slot]] = {}  # by resource and id, what has no variant
        self._indexed: dict[str, dict[str, Slot]] = {}  # by resource and internal id
        self._evicted: OrderedDict[int, None] = OrderedDict()

    def get(self, key: Key) -> Entry | None:
        """The entry, while it is usable; it counts as used now."""
        slot = self.slot(key)
        return None if slot is None else slot.entry

    def slot(self, key: Key) -> Slot | None:
        """The place of the entry, while it is usable; it counts as used now."""
        cache = self._cache
        try:
            slot = cache[key]
        except KeyError:
            # What is past its end is there until somebody looks: let it go now, so that its slot is empty.
            cache.expire()
            return None
        slot.used_at = cache.now
        return slot

    def fresh(self, resource: str, ids: Sequence[str], now: float) -> list[Slot] | None:
        """The places of these ids, if each holds a representation without a variant that is fresh at `now`.

        They count as used, to the second: it is for those who ask thousands of times in one.
        """
        index = self._plain.get(resource)
        if index is None:
            return None
        try:
            slots = [index[entity] for entity in ids]
        except KeyError:
            return None
        if min([slot.fresh_until for slot in slots], default=-inf) <= now:
            return None
        self.use(slots, now)
        return slots

    def lacking(self, resource: str, ids: Sequence[str], now: float) -> list[str] | None:
        """Those of the ids of which nothing is here; None if there is one that is here and not fresh at `now`."""
        index = self._plain.get(resource, {})
        slots = [index.get(entity) for entity in ids]
        if any(slot is not None and slot.fresh_until <= now for slot in slots):
            return None
        return [entity for entity, slot in zip(ids, slots, strict=True) if slot is None]

    def variants(self, key: Key) -> list[str]:
        """The variants of an entity that are here, but for the one that is none."""
        return list(self._variants.get(key[:2], ()))

    def use(self, slots: Iterable[Slot], now: float) -> None:
        """Count these places as used, unless that was done within the last second."""
        for slot in slots:
            if now - slot.used_at >= _USED_EVERY and slot.entry is not None:
                slot.used_at = now
                with suppress(KeyError):  # it has just come to its end
                    self._cache[slot.entry.key]

    def find(self, resource: str, internal_id: str) -> Entry | None:
        """The entry with that internal id, while it is usable, if no database holds it; it does not count as used."""
        self._cache.expire()
        slot = self._indexed.get(resource, {}).get(internal_id)
        return None if slot is None else slot.entry

    def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """Of what `find` finds, up to `limit` entries that were last synced before `before` (epoch seconds), the
        longest unsynced first, from behind `after` on. Looks at each of the resource: some 30 ms for 100,000."""
        self._cache.expire()
        entries = {
            internal_id: entry
            for internal_id, slot in self._indexed.get(resource, {}).items()
            if (entry := slot.entry) is not None and entry.last_synced_at < before
        }
        # Plain tuples: a function that is called for each entry, such as a key, takes longer than all the rest.
        begin = after or (-inf, "")
        places = (
            place
            for internal_id, entry in entries.items()
            if (place := (entry.last_synced_at, internal_id)) > begin
        )
        return [entries[internal_id] for _, internal_id in heapq.nsmallest(limit, places)]

    def put(self, entry: Entry, usable_until: float) -> bool:
        """Keep the entry until `usable_until` (epoch seconds), in the slot of the one that it replaces.

        What replaces nothing counts as used now: somebody has missed it. Returns whether it is kept: an entry larger
        than the tier, or not usable now, is not, and what it would have replaced goes all the same.
        """
        key = entry.key
        # One reading of the clock for all that follows: the old entry must not expire half-way.
        with self._cache.timer as now:
            self._cache.expire(now)
            self._evicted.pop(hash(key), None)
            size = size_of(entry)
            if size > self.max_bytes or not usable_until > now:
                self._drop(key)
                return False
            # The look-up makes it the most recently used, so that room for it is never made at its own expense. A new
            # one counts as used so early that the first hit is another use.
            is_new = self._cache.plain(key) is None
            slot = Slot(used_at=now - _USED_EVERY) if is_new else self._cache[key]
            self._fill(slot, entry, now)
            slot.size = size
            slot.usable_until = usable_until
            slot.fresh_until = min(slot.fresh_until, usable_until)
            self._cache[key] = slot
        return True

    def put_last(self, entry: Entry, usable_until: float, *, used_at: float) -> bool:
        """Keep an entry of which nothing is here, last used at `used_at` (epoch seconds) as the database has noted it:
        of all it is the first to go. Whether it is kept, as `put` says."""
        key = entry.key
        is_kept = self.put(entry, usable_until)
        slot = self._cache.plain(key)
        if slot is not None:
            slot.noted_at = used_at
            # A clock that was set back since must not keep later uses from counting.
            slot.used_at = min(used_at, self._cache.now)
            self._cache.make_first_to_go(key)
        return is_kept

    def discard(self, key: Key) -> None:
        """Forget the entity, every variant of it; not an eviction.

        A variant that was evicted before goes on being remembered for that: the index has only what is here.
        """
        with self._cache.timer as now:
            self._cache.expire(now)
            for variant in ("", *self._variants.get(key[:2], ())):
                one = key._replace(variant=variant)
                self._evicted.pop(hash(one), None)
                self._drop(one)

    def drop_variants(self, key: Key) -> None:
        """Forget every variant of the entity, but not what has none; not an eviction."""
        for variant in list(self._variants.get(key[:2], ())):
            self.drop(key._replace(variant=variant))

    def drop(self, key: Key) -> None:
        """Forget this key alone; not an eviction."""
        with self._cache.timer as now:
            self._cache.expire(now)
            self._evicted.pop(hash(key), None)
            self._drop(key)

    def unconfirm(self, key: Key) -> None:
        """No database holds the entry any more, if one did."""
        slot = self._cache.plain(key)
        if slot is not None and slot.entry is not None and slot.entry.durable:
            self.put(slot.entry.unconfirmed(), slot.usable_until)

    def clear(self) -> None:
        """Forget everything; not an eviction."""
        for key in list(self._cache):
            self.discard(key)
        self._evicted.clear()

    @property
    def bytes(self) -> int:
        """What the usable entries take, by the accounting of `size_of`."""
        return int(self._cache.currsize)

    def count(self, resource: str) -> int:
        """How many usable representations of the resource there are; absences don't count."""
        self._cache.expire()
        return self._counts.get(resource, 0)

    def counts(self) -> dict[str, int]:
        """`count` of each resource that has ever been here."""
        self._cache.expire()
        return dict(self._counts)

    def keys(self) -> list[Key]:
        """Of all that is usable now: 1 ms for 65,000."""
        self._cache.expire()
        return self._cache.plain_keys()

    def plain_slots(self, resource: str) -> list[tuple[str, Slot]]:
        """Ids and places of all of the resource that is usable now and has no variant: some 10 ms for 65,000."""
        self._cache.expire()
        return list(self._plain.get(resource, {}).items())

    def places(self, resource: str) -> list[Slot]:
        """The places alone: 1 ms for 65,000."""
        self._cache.expire()
        return list(self._plain.get(resource, {}).values())

    def look_at(self, key: Key) -> Entry | None:
        """The entry, if there is one; it does not count as used."""
        slot = self._cache.plain(key)
        return None if slot is None else slot.entry

    def evicted_recently(self, key: Key) -> bool:
        """Whether the key was among the last that had to go for want of space, and has not come back."""
        return hash(key) in self._evicted

    def _drop(self, key: Key) -> None:
        slot = self._cache.pop(key, None)
        if slot is not None:
            self._fill(slot, None)

    def _fill(self, slot: Slot, entry: Entry | None, now: float = -inf) -> None:
        old = slot.entry
        slot.fill(entry, now)
        if _is_representation(old):
            self._counts[old.key.resource] -= 1
        if _is_representation(entry):
            self._counts[entry.key.resource] = self._counts.get(entry.key.resource, 0) + 1
        if old is None and entry is not None:
            self._add(slot, entry.key)
        elif old is not None and entry is None:
            self._remove(old.key)
        if old is not None and old.internal_id is not None:
            self._unindex(slot, old.key.resource, old.internal_id)
        if entry is not None and entry.internal_id is not None and not entry.durable:
            self._indexed.setdefault(entry.key.resource, {})[entry.internal_id] = slot

    def _unindex(self, slot: Slot, resource: str, internal_id: str) -> None:
        index = self._indexed.get(resource, {})
        # Two entities may have been given one id: then it is the later one's.
        if index.get(internal_id) is slot:
            del index[internal_id]

    def _add(self, slot: Slot, key: Key) -> None:
        if key.variant:
            self._variants.setdefault(key[:2], set()).add(key.variant)
        else:
            self._plain.setdefault(key.resource, {})[key.id] = slot

    def _remove(self, key: Key) -> None:
        if not key.variant:
            del self._plain[key.resource][key.id]
            return
        variants = self._variants[key[:2]]
        variants.discard(key.variant)
        if not variants:
            del self._variants[key[:2]]

    def _gone(self, key: Key, slot: Slot, reason: str) -> None:
        represented = _is_representation(slot.entry)
        self._fill(slot, None)
        if reason == "size":
            self._evicted[hash(key)] = None
            if len(self._evicted) > EVICTED_REMEMBERED:
                self._evicted.popitem(last=False)
        if represented:
            self._on_evict(key.resource, reason)
