"""The stored responses of one opaque resource: which of them answers a request, and what a new one replaces.

| rule | RFC 9111 |
|---|---|
| the key is the raw target with its query, and who may see the answer | section 2 |
| of several responses to one target the fields that Vary names decide; of those that match the newest | 4, 4.1 |
| a part answers requests for what is in it | 3.3, 3.4 |
| an invalidated target is forgotten with all its variants, and what is under way for it is not kept | 4.4 |
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from proxy.core.http.dates import parse_date
from proxy.core.http.fields import RawField, values
from proxy.core.http.vary import nominated, selecting
from store.entry import Entry, Key, RawHeaders
from store.generation import Generations, Watch
from store.memory import MemoryTier
from store.slot import Slot

_PARTIAL_CONTENT = 206
# Lists of fields that Vary has for one target: an origin has one, or another for some of its answers.
_LISTS = 4
# Bytes of all of those, for some 16,000 targets: the variants of one beyond that are not found any more, and go as what
# is not used goes. Of each list, and of each name in it, so many besides its characters.
_VARIED_BYTES, _LIST_BYTES, _NAME_BYTES = 4 * 1024 * 1024, 200, 40


class Selected(NamedTuple):
    """What is held for a request."""

    whole: Entry | None
    part: Entry | None
    """An incomplete representation (a 206 with its Content-Range)."""
    is_varied: bool
    """Whether there are responses that other requests select."""


# What the variant of a part ends with; and one that nothing selects by, which is none at all unless it is of a part.
_PART, _ONLY = "part", "\n\n\n"


def _variant(scope: str, names: tuple[bytes, ...], fields: Collection[RawField]) -> str:
    """The variant of a whole response: who may see it, what Vary names, and a digest of what the request had there."""
    if not scope and not names:
        return ""
    # No field name, and no digest, has a line break.
    return f"{scope}\n{b','.join(names).decode('latin-1')}\n{selecting(fields, names)}\n"


class Representations:
    """Those of one resource, over a memory tier that it may share with others. For one event loop.

    `usable_until(entry)` is when an entry is of no use any more (epoch seconds).
    """

    def __init__(self, name: str, memory: MemoryTier, *, usable_until: Callable[[Entry], float]) -> None:
        self.name = name
        self._memory = memory
        self._usable_until = usable_until
        self._generations = Generations()
        # By hash: a target may be long. To be taken for another one costs it a look or two, or what varied of it.
        self._varied: OrderedDict[int, list[tuple[bytes, ...]]] = OrderedDict()
        """The lists of fields that Vary had, by target and scope."""
        self._varied_bytes = 0

    def select(self, target: str, fields: Collection[RawField], scope: str = "") -> Selected:
        """What is held for a request with these fields; it counts as used. `scope` is a digest of what in the request
        sets its caller apart; empty: nothing does."""
        whole: list[Entry] = []
        part: list[Entry] = []
        for key in self._fitting(target, fields, scope):
            entry = self._memory.get(key)
            if entry is not None:
                (part if entry.status == _PARTIAL_CONTENT else whole).append(entry)
        varies = hash((target, scope)) in self._varied
        is_varied = varies and bool(self._memory.variants(Key(self.name, target)))
        return Selected(
            max(whole, key=_made_at, default=None), max(part, key=_made_at, default=None), is_varied
        )

    def fresh(self, target: str, now: float) -> Slot | None:
        """The place of the response that answers every request for the target which asks for no more, if there is one
        that is fresh at `now`; it counts as used, to the second."""
        if hash((target, "")) in self._varied:
            return None  # what varies may be newer
        slots = self._memory.fresh(self.name, (target,), now)
        return None if slots is None else slots[0]

    def use(self, slots: Collection[Slot], now: float) -> None:
        """What is in these places has answered again."""
        self._memory.use(slots, now)

    def was_evicted(self, target: str) -> bool:
        """Whether a response to the target was lost for want of space, not long ago."""
        return self._memory.evicted_recently(Key(self.name, target))

    def key_of(
        self, target: str, fields: Collection[RawField], stored: RawHeaders, status: int, scope: str = ""
    ) -> Key | None:
        """The key of a response with these fields to a request with those; None if its Vary can match no other."""
        names = nominated(stored)
        if names is None:
            return None
        variant = _variant(scope, names, fields)
        return Key(self.name, target, _twin(variant) if status == _PARTIAL_CONTENT else variant)

    def put(self, entry: Entry, *, seen: Watch) -> bool:
        """Keep a response in place of the one before it, unless its target was invalidated since `seen` watches it, or
        what is there came later. Whether it is kept."""
        key = entry.key
        twin = key._replace(variant=_twin(key.variant))
        if self._is_late(entry, key) or self._is_late(entry, twin):
            return False
        if not seen.is_current(key._replace(variant="")):
            return False
        names = nominated(entry.headers)
        if names:
            self._learn(entry, names)
        elif not key.variant and hash((key.id, "")) in self._varied:
            self._unlearn(entry)
        self._memory.drop(twin)
        return self._memory.put(entry, self._usable_until(entry))

    def was_replaced(self, entry: Entry) -> bool:
        """Whether another response has taken its place."""
        there = self._memory.look_at(entry.key)
        return there is not None and there is not entry

    def drop(self, key: Key) -> None:
        """Forget one response: there is a newer one that may not be kept."""
        self._memory.drop(key)

    def drop_others(self, key: Key, fields: Collection[RawField], *, until: float) -> None:
        """Forget what else a request with these fields selects, unless it came later than that (epoch seconds)."""
        for other in self._fitting(key.id, fields, key.variant.partition("\n")[0]):
            held = self._memory.look_at(other)
            if held is not None and other != key and held.received_at <= until:
                self._memory.drop(other)

    def watch(self, target: str) -> Watch:
        """Have invalidations of a target from here on counted, for `put`. Close the watch at the end."""
        return self._generations.watch((Key(self.name, target),))

    def invalidate(self, target: str) -> None:
        """Forget every response to a target, and those that are under way (section 4.4)."""
        key = Key(self.name, target)
        self._generations.invalidated(key)
        self._memory.discard(key)
        self._forget(hash((target, "")))  # of each scope it goes in time

    def _fitting(self, target: str, fields: Collection[RawField], scope: str) -> Iterator[Key]:
        """The keys of all that may be held for a request with these fields."""
        for names in [(), *self._varied.get(hash((target, scope)), ())]:
            variant = _variant(scope, names, fields)
            yield Key(self.name, target, variant)
            yield Key(self.name, target, _twin(variant))

    def _is_late(self, entry: Entry, key: Key) -> bool:
        """Whether what is held there came later than the entry."""
        held = self._memory.look_at(key)
        return held is not None and held.received_at > entry.received_at

    def _learn(self, entry: Entry, names: tuple[bytes, ...]) -> None:
        variant = entry.key.variant
        target = hash((entry.key.id, variant.partition("\n")[0]))
        lists = self._varied.setdefault(target, [])
        if names not in lists:
            lists.append(names)
            self._varied_bytes += _size(names)
            if len(lists) > _LISTS:
                self._varied_bytes -= _size(lists.pop(0))
        self._varied.move_to_end(target)
        while self._varied_bytes > _VARIED_BYTES:
            self._forget(next(iter(self._varied)))
        # Who answers with what does not vary, without a look at what does (`fresh`), must not go on with an older one.
        if variant.startswith("\n"):
            for plain in (entry.key._replace(variant=one) for one in ("", _twin(""))):
                if not self._is_late(entry, plain):
                    self._memory.drop(plain)

    def _unlearn(self, entry: Entry) -> None:
        """The newest response to those whom nothing sets apart does not vary, and so is the one to each of their
        requests (section 4): what did goes."""
        key, is_varied = entry.key, False
        for variant in self._memory.variants(key):
            if not variant.startswith("\n") or variant == _ONLY + _PART:
                continue
            old = key._replace(variant=variant)
            if self._is_late(entry, old):
                is_varied = True
            else:
                self._memory.drop(old)
        if not is_varied:
            self._forget(hash((key.id, "")))

    def _forget(self, target: int) -> None:
        self._varied_bytes -= sum(map(_size, self._varied.pop(target, ())))


def _size(names: tuple[bytes, ...]) -> int:
    return _LIST_BYTES + sum(_NAME_BYTES + len(name) for name in names)


def _twin(variant: str) -> str:
    """Of a whole the variant of its part, and the other way round: whichever came last is the one that counts."""
    if not variant.endswith(_PART):
        return (variant or _ONLY) + _PART
    whole = variant.removesuffix(_PART)
    return "" if whole == _ONLY else whole


def _made_at(entry: Entry) -> tuple[float, float]:
    """By Date (section 4); of equals the one that came last."""
    date = values(entry.headers, b"date")
    made_at = parse_date(date[0], now=entry.received_at) if date else None
    # One that is ahead of time is from a clock that is.
    return entry.received_at if made_at is None else min(made_at, entry.received_at), entry.received_at
