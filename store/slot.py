"""The place of an entity in memory, which outlives what stands in it."""

from math import inf

from msgspec import Struct

from store.entry import Entry

ROUNDING = 1e-5
"""More than sums of the same times can differ by, in seconds: today a float of epoch seconds has 2.4e-7."""


class Slot(Struct, eq=False, gc=False):
    """The place of a key: filled again when its entry is replaced, emptied when the entry goes.

    Who has kept a (slot, entry) pair knows that the entry still stands while `slot.entry is entry`.
    """

    entry: Entry | None = None
    usable_until: float = 0.0
    fresh_until: float = -inf
    """Until when (epoch seconds) it holds a representation with freshness left: that answers every request that asks
    for no more. A moment early, so that it is never late."""
    size: int = 0
    """Bytes of what stands here, by `store.memory.size_of`."""
    used_at: float = -inf
    """When it was last asked for (epoch seconds, to the second); -inf: nobody has."""
    noted_at: float = -inf
    """The `used_at` that the database has noted (`store.warming`)."""

    def fill(self, entry: Entry | None, now: float) -> None:
        """Put the entry here, or nothing."""
        self.entry = entry
        # What seems to come from the future has an age that nobody knows: whoever wants it has to look closely.
        if entry is None or entry.item is None or entry.absent or entry.received_at > now:
            self.fresh_until = -inf
        else:
            self.fresh_until = entry.received_at - entry.initial_age + entry.lifetime - ROUNDING
