"""Answers to hits, put together ahead: every request that asks for the same and nothing else gets the same bytes.

They are so for as long as the entries stand where they stood, and until a number in the head moves on: Age, the seconds
of freshness that are left, and Date. Then the head is written anew.
"""

from collections.abc import Iterable, Sequence
from math import floor
from typing import Protocol

from proxy.core.budget import FREE
from proxy.core.http.fields import RawField, render
from proxy.core.http.plain import PlainHead
from proxy.messages import reason_phrase
from proxy.tallies import Tally
from store.entry import Entry
from store.slot import ROUNDING, Slot


class Face(Protocol):
    """What answers plain requests of one kind, as far as memory has what they ask for."""

    head: PlainHead
    """What such a request may bear."""
    tally: Tally

    def ready(self, entity: str, body: bytes, now: float) -> "Ready | None":
        """The answer at `now` to a request for what its path names, or its body asks for, if it is a hit."""
        ...

    def head_of(self, oldest: Entry, soonest: Entry, length: int, now: float) -> bytes:
        """The head of an answer with a body of so many bytes, at `now` (epoch seconds). Of its entries `oldest` has the
        greatest age, and the freshness of `soonest` ends first."""
        ...

    def use(self, slots: Sequence[Slot], now: float) -> None:
        """Count these places as used."""
        ...

    @property
    def is_doubtful(self) -> bool:
        """Whether what memory has may have been changed by others, so that nothing is a hit for being fresh."""
        ...


class Ready:
    """An answer that is put together, of entries that are fresh where they stand."""

    __slots__ = (
        "_end",
        "_oldest",
        "_others",
        "_soonest",
        "answer",
        "born",
        "bucket",
        "entry",
        "face",
        "ids",
        "is_heavy",
        "is_used",
        "length",
        "slot",
        "tally",
        "until",
    )

    def __init__(
        self, face: Face, slots: Sequence[Slot], entries: Sequence[Entry], body: bytes, now: float
    ) -> None:
        self.face = face
        self.tally = face.tally
        self.slot, self.entry = slots[0], entries[0]
        """The first of its entries, and where that stands: of most answers the only one."""
        self._others = tuple(zip(slots[1:], entries[1:], strict=True))
        self.ids = len(entries)
        self.length = len(body)
        self.is_heavy = self.ids > 1 or self.length > FREE
        """Whether there is more to look at than one entry: others, or room for what is so large."""
        self.born = self.entry.received_at - self.entry.initial_age
        """When its oldest entry was of age zero, in epoch seconds."""
        self._end = self.slot.fresh_until
        self._oldest = self._soonest = [self.entry]
        if self._others:
            self._compare(slots, entries)
        self.is_used = False
        """Whether its head was written anew since whoever keeps it looked last."""
        self._write(body, now)

    def _compare(self, slots: Sequence[Slot], entries: Sequence[Entry]) -> None:
        """Find out which of its entries its head speaks of."""
        born = [entry.received_at - entry.initial_age for entry in entries]
        ends = [slot.fresh_until for slot in slots]
        self.born, self._end = min(born), min(ends)
        # Several, where sums of times can't tell which it is; of those that came in one answer, one.
        self._oldest = _different(
            one for one, at in zip(entries, born, strict=True) if at <= self.born + ROUNDING
        )
        self._soonest = _different(
            one for one, at in zip(entries, ends, strict=True) if at <= self._end + ROUNDING
        )

    def stands(self) -> bool:
        """Whether none of its entries was replaced, dropped or invalidated."""
        if self.slot.entry is not self.entry:
            return False
        for slot, entry in self._others:  # noqa: SIM110 - a generator would take as long as all the rest
            if slot.entry is not entry:
                return False
        return True

    def is_current(self, now: float) -> bool:
        """Whether these are the bytes to answer with at `now`; the head is written anew if need be."""
        return self.stands() and (now < self.until or self._renew(now))

    def _renew(self, now: float) -> bool:
        """Have the head say what is so at `now`. False when that is too late: something in it is stale, or may be."""
        if self._end <= now or self.face.is_doubtful:
            return False
        self._write(self.answer[len(self.answer) - self.length :], now)
        self.is_used = True
        self.face.use([self.slot, *(slot for slot, _ in self._others)], now)
        return True

    def _write(self, body: bytes, now: float) -> None:
        oldest = soonest = self.entry
        if self._others:
            oldest = max(self._oldest, key=lambda one: one.age(now))
            soonest = min(self._soonest, key=lambda one: one.ttl(now))
        self.answer = self.face.head_of(oldest, soonest, self.length, now) + body
        """Head and body."""
        end = self._end + ROUNDING
        # Where a number moves on just now, it may have done so in the head or not: then this is over at once.
        self.until = min(
            self.born + floor(now - self.born - ROUNDING) + 1 - ROUNDING,  # Age
            end - floor(end - now + ROUNDING) - ROUNDING,  # the seconds that are left, and the end of them
            floor(now) + 1,  # Date
        )
        """Until when these are the very bytes, in epoch seconds."""
        self.bucket = self.tally.bucket_of(now - self.born)
        """Where the age is counted until then: the bounds are whole seconds."""


def _different(entries: Iterable[Entry]) -> list[Entry]:
    """One of each that differs from others in its times."""
    return list({(one.received_at, one.initial_age, one.lifetime): one for one in entries}.values())


def head(status: int, fields: Sequence[RawField], length: int) -> bytes:
    """The head of an answer over HTTP/1.1, on a connection that goes on."""
    line = b"HTTP/1.1 %d %b" % (status, reason_phrase(status))
    return render(line, [*fields, (b"Content-Length", b"%d" % length)])
