"""The answers that the fast lane keeps: by what is asked for, and by the exact bytes that ask for it.

Bounded in bytes. What was asked for once may never be again, and a field that differs each time would flood the table;
so a thing is kept when it is seen for the second time within a while.
"""

from collections import OrderedDict
from sys import getsizeof

from proxy.ready import Ready

Asked = bytes
"""Method, target and body of a plain request, from `asked_by`."""

# Bytes of an answer's own objects and of its places in the tables, and of its pair of slot and entry for each entity;
# tests/unit/test_lane_table.py measures both.
_OVERHEAD = 560
_PAIR_OVERHEAD = 64
# The same of the bytes of a request: its place in the table, and in the list of its answer.
_EXACT_OVERHEAD = 65
# Ways to write one request, at the most: clients of a pod are few, and each has one.
_WAYS = 4
# Sightings that are remembered before the older half is forgotten; about 100 bytes each.
_SIGHTINGS = 2048
# Of those that would come in when there is no room: measured with 5,000 that are asked for in turn.
_ONE_IN = 16
# How many that were used lately are spared before one goes all the same: making room must not take long.
_SPARED = 8


# What all tables have of `memory.max_bytes`: of 64 MiB it holds some 2,000 answers, with the bytes that ask for them.
# That is for what is asked for all the time; all else is found in the entities.
_PART = 16


def part_of(max_bytes: int) -> int:
    """What the tables of all listeners have of `memory.max_bytes`. The rest is for entities."""
    return max_bytes // _PART


def asked_by(method: bytes, target: bytes, body: bytes) -> Asked:
    """What a plain request asks for."""
    return b"%b %b\n%b" % (method, target, body)


class _Sightings:
    """What was seen lately, by hash: the last 2,048 things at least. One that is taken for another does no harm."""

    def __init__(self) -> None:
        self._now: set[int] = set()
        self._before: set[int] = set()

    def again(self, thing: object) -> bool:
        """Whether it was seen lately. From here on it was."""
        name = hash(thing)
        if name in self._now or name in self._before:
            return True
        if len(self._now) >= _SIGHTINGS:
            self._before, self._now = self._now, set()
        self._now.add(name)
        return False


class _Kept:
    """An answer that is kept, with what it takes, and the ways to ask for it."""

    __slots__ = ("ready", "size", "ways")

    def __init__(self, ready: Ready, size: int) -> None:
        self.ready = ready
        self.size = size
        self.ways: list[bytes] = []


class Table:
    """Answers, of `max_bytes` by their own accounting. For one thread."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.exact: dict[bytes, Ready] = {}
        """By the bytes of a whole request. To be looked into, and no more."""
        self._kept: OrderedDict[Asked, _Kept] = OrderedDict()  # in the order in which they go
        self._sightings = _Sightings()
        self._refused = 0

    def __len__(self) -> int:
        """Answers that are kept."""
        return len(self._kept)

    def get(self, asked: Asked) -> Ready | None:
        """The answer to a plain request, if it is kept."""
        kept = self._kept.get(asked)
        return None if kept is None else kept.ready

    def add(self, asked: Asked, ready: Ready) -> None:
        """A plain request was answered so; what is answered again is kept."""
        if not self._sightings.again(asked):
            return
        size = _size_of(asked, ready)
        if size <= self.max_bytes and self._may_come_in(size):
            self.drop(asked)
            self._kept[asked] = _Kept(ready, size)
            self.bytes += size
            self._make_room()

    def add_exact(self, asked: Asked, request: bytes) -> None:
        """These bytes have asked it; if they do so again, and its answer is kept, the answer is theirs."""
        kept = self._kept.get(asked)
        if kept is None or request in self.exact or not self._sightings.again(request):
            return
        if len(kept.ways) >= _WAYS:
            self._forget_way(kept, kept.ways[0])
        kept.ways.append(request)
        self.exact[request] = kept.ready
        self._grow(kept, getsizeof(request) + _EXACT_OVERHEAD)
        self._make_room()

    def drop(self, asked: Asked) -> None:
        """Forget the answer to that, if it is kept."""
        kept = self._kept.pop(asked, None)
        if kept is not None:
            for request in kept.ways:
                del self.exact[request]
            self.bytes -= kept.size

    def clear(self) -> None:
        """Drop every answer."""
        for asked in list(self._kept):
            self.drop(asked)

    def sweep(self) -> None:
        """Drop every answer that does not stand any more: nobody may ask for it again."""
        for asked in [asked for asked, kept in self._kept.items() if not kept.ready.stands()]:
            self.drop(asked)

    def _grow(self, kept: _Kept, size: int) -> None:
        kept.size += size
        self.bytes += size

    def _forget_way(self, kept: _Kept, request: bytes) -> None:
        kept.ways.remove(request)
        del self.exact[request]
        self._grow(kept, -getsizeof(request) - _EXACT_OVERHEAD)

    def _may_come_in(self, size: int) -> bool:
        """Whether one more is let in: where another has to go for it only now and then. What is asked for all the time
        comes again soon; all else would only take turns."""
        if self.bytes + size <= self.max_bytes:
            return True
        self._refused = (self._refused + 1) % _ONE_IN
        return not self._refused

    def _make_room(self) -> None:
        """The oldest go; of those, the ones that were used since are spared once."""
        spared = 0
        while self.bytes > self.max_bytes:
            asked, kept = next(iter(self._kept.items()))
            if kept.ready.is_used and spared < _SPARED:
                spared += 1
                kept.ready.is_used = False
                self._kept.move_to_end(asked)
            else:
                self.drop(asked)


def _size_of(asked: Asked, ready: Ready) -> int:
    return _OVERHEAD + _PAIR_OVERHEAD * ready.ids + getsizeof(asked) + getsizeof(ready.answer)
